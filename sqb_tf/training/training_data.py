"""What a fine-tuning learns from, and the samples that its bundle keeps."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from sqb_tf.checkpoint.bundle import BundleInfo
from sqb_tf.data.example import Example
from sqb_tf.data.reservoir import ReservoirSample
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError, unknown_name
from sqb_tf.heads.task_head import TaskHead
from sqb_tf.progress import log
from sqb_tf.survey.survey import Survey, survey
from sqb_tf.training.abstention import read_others, wanted_precision
from sqb_tf.training.options import FinetuneOptions

# As many as conversion reads (`sqb_tflite.conversion.calibration`).
CALIBRATION_EXAMPLES = 512
# With 512 examples a bound of half a point of accuracy allows 2 changed answers; 256 would allow one.
VERIFICATION_EXAMPLES = 512


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """A task, and what one pass over its splits collects.

    Attributes:
        task: the splits, as streams.
        head: with the data's labels and the run's settings.
        settings: the head's settings, as `TaskInfo.settings` records them.
        metric: the name of dev's metric that decides which weights are best.
        num_examples: training examples.
        label_counts: label -> training rows (for tags: words) that have it.
        calibration: a sample of the training examples.
        verification: a sample of the held-out examples.
        content: a sum of the files that were read.
    """

    task: Task
    head: TaskHead
    settings: dict[str, Any]
    metric: str
    num_examples: int
    label_counts: Mapping[str, int]
    calibration: list[Example]
    verification: list[Example]
    content: str

    @classmethod
    def read(cls, task: Task, options: FinetuneOptions) -> tuple[TrainingData, Survey]:
        """Reads every split once; `InputError` as `survey`, or for an option of another head.

        The survey comes apart: it is larger than what a run must keep.
        """
        description = task.learner
        metric = options.metric or task.metric_name
        if metric not in description.metrics:
            raise unknown_name("metric", metric, description.metrics)
        for name in ("class_weights", "abstain"):
            if getattr(options, name) is not None and not description.one_class:
                raise InputError(
                    f"{name}: goes with examples of one class each, not with a {description.name}"
                )
        if options.abstain is not None and wanted_precision(options.abstain) is None:
            read_others(options.abstain, task.columns.text)  # raises for a bad file
        settings = description.training_settings(task.spec.settings, options)
        log(f"reading {task.data}")
        samples: dict[str, ReservoirSample[Example]] = {
            "train": ReservoirSample(CALIBRATION_EXAMPLES),
            "dev": ReservoirSample(VERIFICATION_EXAMPLES),
        }
        surveyed = survey(task, samples)
        labels = surveyed.labels
        settings |= description.settings_for(surveyed.train.numbers)
        head = description(labels, task.paired, settings)
        head.check_metric(metric)
        counts, (train, dev) = surveyed.train, (sample.items for sample in samples.values())
        content = _sum_of(split.file for split in surveyed.splits.values())
        data = cls(
            task, head, settings, metric, counts.rows, dict(counts.labels), train, dev, content
        )
        return data, surveyed

    def is_of(self, info: BundleInfo) -> bool:
        """Whether a bundle has the data's head and labels, in any order, so that a run trains its head on."""
        return info.task.kind == self.task.head and sorted(info.labels) == sorted(self.labels)

    def class_weights(self) -> list[float]:
        """The weight of each class by which all of them count the same; their mean over the rows is 1."""
        counts = [self.label_counts[label] for label in self.labels]
        return [self.num_examples / (len(counts) * max(count, 1)) for count in counts]

    @property
    def labels(self) -> list[str]:
        """Label names in the order of the outputs."""
        return list(self.head.labels)


def _sum_of(files: Iterable[str]) -> str:
    """sha256 of the contents of files, each once."""
    digest = hashlib.sha256()
    for path in dict.fromkeys(files):
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
