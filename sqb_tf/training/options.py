"""What shapes a fine-tuning, checked."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from sqb_tf.errors import InputError
from sqb_tf.text.vocabulary import MIN_VOCAB_SIZE

# Default learning rates at `RATED_BATCH` examples a step: of fresh weights, and of a bundle's. With other
# batches they go by the root of the size, as does the noise in the sum of gradients.
SCRATCH_RATE, TRAINED_RATE, RATED_BATCH = 1e-3, 1e-4, 32
PRECISIONS = ("float32", "mixed_bfloat16")


@dataclasses.dataclass(frozen=True)
class Rounding:
    """Bits of the blocks' kernels and of the embedding tables; kernels elsewhere, and activations, have 8.

    `per_token`: each token has scales of its own, for activations and its row of a table; else all have one.
    """

    kernel_bits: int
    table_bits: int
    per_token: bool = True


# As the recipes of these names in `sqb_tflite.conversion.recipes` have it.
QUANTIZE_AWARE = {
    "int8": Rounding(8, 8),
    "int4": Rounding(4, 8),
    "int4-all": Rounding(4, 4),
    "int8-full": Rounding(8, 8, per_token=False),
}


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
    # A recipe that every forward pass is rounded for (quantization_aware.py); None: none.
    quantize_aware: str | None = None
    # A folder to learn from beside the labels (teacher.py), and how (distillation.py).
    teacher: str | None = None
    temperature: float = 2.0
    alpha: float = 0.5  # the teacher's share of the loss
    hidden_weight: float = 0.0  # of the distance from the teacher's hidden states; 0: not asked for
    seed: int = 0

    def __post_init__(self) -> None:
        if self.init is not None and (self.dropout is not None or self.vocabulary is not None):
            raise InputError(
                "dropout and vocabulary go with a preset: the bundle of init has its own"
            )
        if self.quantize_aware is not None:
            if self.quantize_aware not in QUANTIZE_AWARE:
                names = ", ".join(QUANTIZE_AWARE)
                raise InputError(f"quantize_aware {self.quantize_aware}: expected one of {names}")
            if self.init is None:
                raise InputError("quantize_aware goes with init: train the model first")
        check_least(self, epochs=1, batch_size=1, evaluate_every=1, vocab_size=MIN_VOCAB_SIZE)
        check_training(self)
        if not 0 < self.temperature < math.inf:
            raise InputError(f"temperature {self.temperature}: expected a number above 0")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha {self.alpha}: expected 0 to 1")
        if not 0 <= self.hidden_weight < math.inf:
            raise InputError(f"hidden_weight {self.hidden_weight}: expected 0 or above")

    @property
    def peak_rate(self) -> float:
        """The highest learning rate: the given one, or what suits fresh or trained weights."""
        if self.learning_rate is not None:
            return self.learning_rate
        return default_rate(self.init is not None, self.batch_size)


def default_rate(trained: bool, batch_size: int) -> float:
    """AdamW's rate for weights that are fresh or `trained`, at so many examples a step."""
    rate = TRAINED_RATE if trained else SCRATCH_RATE
    return rate * math.sqrt(batch_size / RATED_BATCH)


def check_least(options: Any, **least_values: int) -> None:
    """`InputError` unless each option named is at least so much."""
    for name, least in least_values.items():
        if getattr(options, name) < least:
            raise InputError(f"{name} {getattr(options, name)}: expected at least {least}")


def check_training(options: Any) -> None:
    """`InputError` for a bad value among the options that fine-tuning and pretraining share."""
    if (options.preset is None) == (options.init is None):
        raise InputError("give either preset or init, not both")
    if options.learning_rate is not None and not 0 < options.learning_rate < math.inf:
        raise InputError(f"learning_rate {options.learning_rate}: expected a number above 0")
    if not 0 <= options.warmup < 1:
        raise InputError(f"warmup {options.warmup}: expected 0 <= share < 1")
    if not 0 <= options.weight_decay < math.inf:
        raise InputError(f"weight_decay {options.weight_decay}: expected 0 or above")
    if options.dropout is not None and not 0 <= options.dropout < 1:
        raise InputError(f"dropout {options.dropout}: expected 0 <= rate < 1")
    if options.precision not in PRECISIONS:
        raise InputError(f"precision {options.precision}: expected one of {', '.join(PRECISIONS)}")
    if not 0 <= options.seed < 2**32:
        raise InputError(f"seed {options.seed}: expected 0 to 2**32 - 1")
