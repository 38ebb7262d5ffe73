"""The demo: fine-tunes a classifier on the requests that ship with the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqb_tf.data.task import DEMO, Task
from sqb_tf.training.finetune import finetune
from sqb_tf.training.options import FinetuneOptions

# From the checkpoint that ships; about a minute on 2 cores.
OPTIONS = FinetuneOptions(
    epochs=3, batch_size=32, learning_rate=8e-4, seq_length=64, trim_vocabulary="6000"
)


def finetune_demo(output: str | Path, command: str = "") -> dict[str, Any]:
    """Fine-tunes the demo's classifier and writes its bundle to `output`; returns its metrics."""
    return finetune(Task("classification", DEMO), output, OPTIONS, resume=True, command=command)
