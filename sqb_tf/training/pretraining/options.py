"""What shapes a pretraining, checked."""

from __future__ import annotations

import dataclasses
import math

from sqb_tf.errors import InputError
from sqb_tf.training.options import check_least, check_training, default_rate

OPTIMIZERS = ("lamb", "adamw")
# SqueezeBERT's, arXiv 2006.11316 section 4.2: LAMB, 2.5e-3 at 8192 examples a step (and a warm-up of 0.28).
PAPER_RATE, PAPER_BATCH = 2.5e-3, 8192


@dataclasses.dataclass(frozen=True)
class PretrainOptions:
    """What shapes a run. Two runs with equal options on the same shards and CPU give equal weights."""

    preset: str | None = "squeezebert-small"  # or
    init: str | None = None  # a bundle to go on from, as for the second phase at 512 tokens
    steps: int = 10_000  # updates of the weights
    batch_size: int = 32  # examples an update
    micro_batch_size: int | None = None  # examples computed at once; None: all of an update's
    optimizer: str = "adamw"  # for batches of tens or hundreds; lamb for thousands
    # The highest; None: of lamb the paper's, by the root of the batch size, of adamw as in fine-tuning.
    learning_rate: float | None = None
    warmup: float = 0.1  # share of the steps
    weight_decay: float = 0.01
    dropout: float | None = None  # None: the config's
    whole_words: bool = False  # the pieces of a word are predicted together
    sentence_order: bool = True  # also learn whether two segments are swapped
    evaluate_every: int = 500  # steps between evaluations on held-out text
    precision: str = "float32"
    mirrored: bool = False  # tf.distribute.MirroredStrategy over all devices of this machine
    seed: int = 0

    def __post_init__(self) -> None:
        check_training(self)
        if self.init is not None and self.dropout is not None:
            raise InputError("dropout goes with a preset: the bundle of init has its own")
        check_least(self, steps=1, batch_size=1, evaluate_every=1)
        micro = self.micro_batch_size
        if micro is not None and (micro < 1 or self.batch_size % micro):
            raise InputError(
                f"micro_batch_size {micro}: expected a divisor of batch_size {self.batch_size}"
            )
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"optimizer {self.optimizer}: expected one of {', '.join(OPTIMIZERS)}")

    @property
    def computed_at_once(self) -> int:
        """Examples of a micro batch."""
        return self.micro_batch_size or self.batch_size

    @property
    def accumulation(self) -> int:
        """Micro batches of a step."""
        return self.batch_size // self.computed_at_once

    @property
    def peak_rate(self) -> float:
        """The highest learning rate."""
        if self.learning_rate is not None:
            return self.learning_rate
        if self.optimizer == "lamb":
            return PAPER_RATE * math.sqrt(self.batch_size / PAPER_BATCH)
        return default_rate(self.init is not None, self.batch_size)
