"""What shapes a pretraining, and the shards of text that it reads."""

from __future__ import annotations

import dataclasses
import math

from sqb_tf.errors import InputError
from sqb_tf.options import check_choices, option
from sqb_tf.text.vocabulary import MIN_VOCAB_SIZE
from sqb_tf.training.options import (
    SCRATCH_RATE,
    TRAINED_RATE,
    TextOptions,
    TextRunOptions,
    TrainingOptions,
    check_at_least,
    scaled_rate,
)
from sqb_tf.training.pretraining.shards import MIN_SEQ_LENGTH

OPTIMIZERS = ("adamw", "lamb")
# SqueezeBERT's, arXiv 2006.11316 section 4.2: LAMB, 2.5e-3 at 8192 examples a step (and a warm-up of 0.28).
PAPER_RATE, PAPER_BATCH = 2.5e-3, 8192


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainOptions(TrainingOptions, TextRunOptions):
    """What shapes a run. Two runs with equal options on the same shards and CPU give equal weights."""

    optimizer: str = option(
        "adamw", "lamb suits batches of thousands", group="training", choices=OPTIMIZERS
    )
    learning_rate: float | None = option(
        None,
        "peak learning rate",
        group="training",
        fallback="adamw 1e-3, with --init 1e-4, times sqrt(batch size / 32); lamb 2.5e-3 times "
        "sqrt(batch size / 8192), as in the paper",
    )
    whole_words: bool = option(False, "mask all pieces of a word together", group="training")
    sentence_order: bool = option(
        True,
        "masked LM alone, without predicting whether two segments are swapped",
        group="training",
        names="--no-sentence-order",
    )
    mirrored: bool = option(
        False,
        "train on all GPUs of this machine (tf.distribute.MirroredStrategy)",
        group="training",
    )

    @property
    def peak_rate(self) -> float:
        """The highest learning rate: `learning_rate`, or what suits the optimizer and the weights."""
        if self.learning_rate is not None:
            return self.learning_rate
        if self.optimizer == "lamb":
            return PAPER_RATE * math.sqrt(self.batch_size / PAPER_BATCH)
        return scaled_rate(SCRATCH_RATE if self.init is None else TRAINED_RATE, self.batch_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """The text to learn from, and what is kept of it for evaluation."""

    text: tuple[str, ...] | None = option(
        None,
        "UTF-8 text files, or folders of .txt files; blank lines separate documents",
        group="data",
        metavar="PATH",
    )
    held_out: float = option(
        5.0, "percentage of the documents that is held out for evaluation", group="data"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardOptions(CorpusOptions, TextOptions):
    """What shards are made of. Equal options on equal files give equal shards, to the byte."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_at_least(self, seq_length=MIN_SEQ_LENGTH, vocab_size=MIN_VOCAB_SIZE)
        if not 0 < self.held_out < 100:
            raise InputError(f"held_out {self.held_out}: expected per cent, above 0 and below 100")
