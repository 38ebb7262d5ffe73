"""What shapes a fine-tuning, checked."""

from __future__ import annotations

import dataclasses
import math

from sqb_tf.errors import InputError
from sqb_tf.vocabulary import MIN_VOCAB_SIZE

# Default learning rates at `RATED_BATCH` examples a step: of fresh weights, and of a bundle's. With other
# batches they go by the root of the size, as does the noise in the sum of gradients.
SCRATCH_RATE, TRAINED_RATE, RATED_BATCH = 1e-3, 1e-4, 32
PRECISIONS = ("float32", "mixed_bfloat16")


@dataclasses.dataclass(frozen=True)
class FinetuneOptions:
    """What shapes a run. Two runs with equal options on CPU give equal weights."""

    preset: str | None = "squeezebert-tiny"  # or
    init: str | None = None  # a bundle to start from
    vocabulary: str | None = None  # vocab.txt; None: learn one from the training texts
    vocab_size: int = 6000  # of a learned vocabulary
    lowercase: bool = True
    epochs: int = 3
    batch_size: int = 16
    learning_rate: float | None = None  # None: see `peak_rate`
    warmup: float = 0.1  # share of the steps
    weight_decay: float = 0.01
    seq_length: int = 128  # tokens, the special ones included
    doc_stride: int | None = None  # of question answering; None: see tasks/spans.default_stride
    dropout: float | None = None  # None: the config's
    evaluate_every: int = 500  # steps between dev evaluations, which also end each epoch
    # What layers compute in, as Keras names it. Weights and the bundle are float32 always.
    precision: str = "float32"
    # A folder to learn from beside the labels (teacher.py), and how (distillation.py).
    teacher: str | None = None
    temperature: float = 2.0
    alpha: float = 0.5  # the teacher's share of the loss
    hidden_weight: float = 0.0  # of the distance from the teacher's hidden states; 0: not asked for
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.preset is None) == (self.init is None):
            raise InputError("give either preset or init, not both")
        if self.init is not None and (self.dropout is not None or self.vocabulary is not None):
            raise InputError(
                "dropout and vocabulary go with a preset: the bundle of init has its own"
            )
        least_values = dict(epochs=1, batch_size=1, evaluate_every=1, vocab_size=MIN_VOCAB_SIZE)
        for name, least in least_values.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} {getattr(self, name)}: expected at least {least}")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate {self.learning_rate}: expected a number above 0")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"weight_decay {self.weight_decay}: expected 0 or above")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise InputError(f"dropout {self.dropout}: expected 0 <= rate < 1")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision}: expected one of {', '.join(PRECISIONS)}")
        if not 0 < self.temperature < math.inf:
            raise InputError(f"temperature {self.temperature}: expected a number above 0")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha {self.alpha}: expected 0 to 1")
        if not 0 <= self.hidden_weight < math.inf:
            raise InputError(f"hidden_weight {self.hidden_weight}: expected 0 or above")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed {self.seed}: expected 0 to 2**32 - 1")
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup {self.warmup}: expected 0 <= share < 1")

    @property
    def peak_rate(self) -> float:
        """The highest learning rate: the given one, or what suits fresh or trained weights."""
        if self.learning_rate is not None:
            return self.learning_rate
        rate = SCRATCH_RATE if self.init is None else TRAINED_RATE
        return rate * math.sqrt(self.batch_size / RATED_BATCH)
