"""The tasks and the models of `pareto.py`, and the fine-tuning of one on the other."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import output
from benchmarks.random_bundle import SHARED_DATA

if TYPE_CHECKING:
    from sqb_tf.config import SqueezeBertConfig

BATCH_SIZE = 32  # texts
WEIGHTS = {".safetensors", ".bin", ".h5"}  # of a folder of `transformers`, or a bundle
GLUE, INTENTS = SHARED_DATA / "glue", SHARED_DATA / "intents"


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A task, evaluated on its published dev or test split.

    Attributes:
        task: what `--task` names.
        data: the folder of train and dev, or one file, a tenth of which decides which checkpoint is best.
        test: the folder and the split that are reported; None: `data`'s dev.
        epochs: passes over the training data.
        seq_length: in tokens; batches are padded to their own longest text.
        seeds: runs, more where the data is small.
    """

    task: str
    data: Path
    test: tuple[Path, str] | None = None
    epochs: int = 5
    seq_length: int = 128
    seeds: int = 1

    @property
    def evaluated(self) -> tuple[Path, str]:
        """The data and the split that are reported."""
        return self.test or (self.data, "dev")


BENCHMARKS = {
    "SST-2": Benchmark("sst2", GLUE / "SST-2", epochs=2),
    "MRPC": Benchmark("mrpc", GLUE / "MRPC", seeds=3),
    "CoLA": Benchmark("cola", GLUE / "CoLA", seeds=3),
    "RTE": Benchmark("rte", GLUE / "RTE", seq_length=256, seeds=3),
    "CLINC150": Benchmark("classification", INTENTS / "clinc150", (INTENTS / "clinc150", "test")),
    "BANKING77": Benchmark(
        "classification", INTENTS / "banking77" / "train.tsv", (INTENTS / "banking77", "test"), 10
    ),
    "SNIPS": Benchmark("classification", INTENTS / "snips", epochs=3),
    "WNUT-17": Benchmark(
        "conll",
        SHARED_DATA / "ner" / "wnut17train.conll",
        (SHARED_DATA / "ner", "emerging.dev"),
        seeds=3,
    ),
    "SNIPS slots": Benchmark("conll", INTENTS / "snips"),
    # Nine tenths of the paragraphs of the dev file; the published training file is not there.
    "SQuAD": Benchmark("squad", SHARED_DATA / "squad" / "dev-v1.1.json", epochs=3, seq_length=384),
}


@dataclasses.dataclass(frozen=True)
class Contender:
    """A model that is fine-tuned: a preset from scratch, or one to start from, perhaps trimmed."""

    preset: str | None = None
    init: str | None = None
    trim: str | None = None
    precision: str = "float32"

    def digest(self, benchmark: Benchmark, *settings: Any) -> str:
        """Of the start's weights, the training's settings, and those of what is measured after it.

        Not of the data, which is published, nor of where files are: the same on every machine.
        """
        start = weights_digest(self.init) if self.init else self.preset
        training = (benchmark.task, benchmark.epochs, benchmark.seq_length, BATCH_SIZE)
        return output.digest(start, self.trim, self.precision, *training, *settings)

    def config(self) -> SqueezeBertConfig:
        """The architecture."""
        from sqb_tf.checkpoint import source
        from sqb_tf.config import SqueezeBertConfig

        return (
            source.read_info(self.init).config
            if self.init
            else SqueezeBertConfig.from_preset(self.preset)
        )

    def train(self, benchmark: Benchmark, seed: int, folder: Path) -> None:
        """Fine-tunes on the benchmark, unless `folder` has the result; a killed run is resumed."""
        from sqb_tf.data.task import Task
        from sqb_tf.training.finetune import finetune
        from sqb_tf.training.options import FinetuneOptions

        if (folder / "metrics.json").is_file():
            return
        options = FinetuneOptions(
            preset=self.preset,
            init=self.init,
            trim_vocabulary=self.trim,
            precision=self.precision,
            epochs=benchmark.epochs,
            batch_size=BATCH_SIZE,
            seq_length=benchmark.seq_length,
            seed=seed,
        )
        finetune(Task(benchmark.task, benchmark.data), folder, options, resume=True)


def weights_digest(source: str) -> str:
    """The sha256 of the weights of a checkpoint, a folder or a repository of the hub."""
    from sqb_tf.checkpoint import pretrained, transformers_folder

    if pretrained.is_name(source):
        return pretrained.CHECKPOINTS[source]
    folder = transformers_folder.fetch(source)
    weights = (path for path in sorted(folder.iterdir()) if path.suffix in WEIGHTS)
    return hashlib.sha256(b"".join(path.read_bytes() for path in weights)).hexdigest()


def score(backend: Any, benchmark: Benchmark) -> float:
    """The task's metric of a bundle or a package."""
    from sqb_tf.data.task import Task
    from sqb_tflite.evaluation.evaluate import evaluate

    data, split = benchmark.evaluated
    return evaluate(backend, Task(benchmark.task, data), split)["metric"]["value"]


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Adds `--precision`."""
    from sqb_tf.training.options import PRECISIONS

    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="of training (default: %(default)s)",
    )
