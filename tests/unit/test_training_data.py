"""sqb_tf.training.training_data: labels, counts and samples from one pass over the data."""

from collections import Counter

from sqb_tf.data.task import DEMO, Task
from sqb_tf.training.options import FinetuneOptions
from sqb_tf.training.training_data import (
    CALIBRATION_EXAMPLES,
    VERIFICATION_EXAMPLES,
    TrainingData,
)


class CountingTask(Task):
    """Counts how often each split is opened."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.opened: Counter[str] = Counter()

    def split(self, which, skip=None):
        self.opened[which] += 1
        return super().split(which, skip)


def test_both_splits_are_read_once():
    task = CountingTask("classification", DEMO)
    data, _ = TrainingData.read(task, FinetuneOptions())
    assert task.opened == {"train": 1, "dev": 1}
    train, dev = list(task.split("train")), list(task.split("dev"))
    assert data.num_examples == len(train)
    assert data.labels == sorted({example.label for example in train})
    assert len(data.calibration) == CALIBRATION_EXAMPLES
    assert len(data.verification) == VERIFICATION_EXAMPLES < len(dev)
    assert set(data.calibration) <= set(train) and set(data.verification) <= set(dev)
    again, _ = TrainingData.read(Task("classification", DEMO), FinetuneOptions())
    assert (data.calibration, data.verification) == (again.calibration, again.verification)
