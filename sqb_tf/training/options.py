"""What shapes a training run: options that fine-tuning and pretraining share, then fine-tuning's own."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from sqb_tf.checkpoint import pretrained
from sqb_tf.config import PRESETS, SqueezeBertConfig
from sqb_tf.errors import InputError
from sqb_tf.heads.long_texts import POLICIES, TRUNCATE, WINDOWS
from sqb_tf.options import check_choices, inherited, option
from sqb_tf.quantization import QUANTIZE_AWARE
from sqb_tf.text.vocabulary import MIN_VOCAB_SIZE

# Default learning rates for batches of `REFERENCE_BATCH` examples: of fresh weights, and of trained ones.
# For other batches they scale with the square root of the size, as does the noise in the summed gradients.
SCRATCH_RATE, TRAINED_RATE, REFERENCE_BATCH = 1e-3, 1e-4, 32
# A fresh head on a trained encoder gets `TRAINED_RATE` at this many layers times channels, more on a smaller
# one: 3 layers, 384 wide, on CLINC150 have 0.49 after an epoch at 1e-4, 0.81 at 1e-3. Fewer than 4 layers
# count as 4: 2 layers on SST-2, which has four times as many texts, have 0.876 at 3e-4, 0.852 at 6e-4.
_REFERENCE_SIZE, _FEWEST_LAYERS = 6 * 768, 4
DEFAULT_PRESET = "squeezebert-small"
VOCAB_SIZE = 6000
INIT_SOURCES = (
    f"a bundle, a checkpoint that ships ({', '.join(pretrained.CHECKPOINTS)}), a transformers folder of a "
    "SqueezeBERT or a BERT, or the name of one on the hub"
)
PRECISIONS = ("float32", "mixed_bfloat16")
CLASS_WEIGHTS = ("balanced",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """What every run shares: its steps, their size and rate, and how exactly they are computed."""

    batch_size: int = option(16, "examples per step", group="training")
    learning_rate: float | None = option(
        None,
        "peak learning rate",
        group="training",
        fallback=f"{SCRATCH_RATE:g} times sqrt(batch size / {REFERENCE_BATCH})",
    )
    warmup: float = option(
        0.1, "share of the steps over which the learning rate rises", group="training"
    )
    weight_decay: float = option(
        0.01, "decay of all weights but norms and biases", group="training"
    )
    evaluate_every: int = option(
        500,
        "steps between evaluations on held-out examples; fine-tuning evaluates after each epoch too, and "
        "keeps the best weights",
        group="training",
    )
    # Weights and the bundle are float32 always.
    precision: str = option(
        "float32",
        "dtype that layers compute in; mixed_bfloat16 is a third faster on CPUs with AVX512-BF16 or AMX",
        group="training",
        choices=PRECISIONS,
    )
    seed: int = option(0, "runs with the same seed on CPU give the same weights", group="training")

    def __post_init__(self) -> None:
        check_choices(self)
        check_at_least(self, batch_size=1, evaluate_every=1)
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate {self.learning_rate}: expected a number above 0")
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup {self.warmup}: expected 0 <= share < 1")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"weight_decay {self.weight_decay}: expected 0 or above")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed {self.seed}: expected 0 to 2**32 - 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextRunOptions(OptimizerOptions):
    """What runs on shards of text share: steps instead of epochs, gradients that may be accumulated."""

    steps: int = option(10_000, "updates of the weights; 0 only makes shards", group="training")
    batch_size: int = option(32, "examples per step", group="training")
    micro_batch_size: int | None = option(
        None,
        "examples computed at once; their gradients are summed to a step's",
        group="training",
        fallback="--batch-size",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, steps=1)
        micro = self.micro_batch_size
        if micro is not None and (micro < 1 or self.batch_size % micro):
            raise InputError(
                f"micro_batch_size {micro}: expected a divisor of batch_size {self.batch_size}"
            )

    @property
    def computed_at_once(self) -> int:
        """Examples of a micro batch."""
        return self.micro_batch_size or self.batch_size

    @property
    def accumulation(self) -> int:
        """Micro batches of a step."""
        return self.batch_size // self.computed_at_once


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions(OptimizerOptions):
    """What fine-tuning and pretraining share: a new model of `preset`, or the model `init`, never both."""

    preset: str | None = option(
        None,
        "architecture of a new model",
        group="model",
        choices=tuple(PRESETS),
        fallback=DEFAULT_PRESET,
    )
    init: str | None = option(
        None,
        f"start from this model instead of a preset: {INIT_SOURCES}",
        group="model",
        metavar="DIR or NAME",
    )
    dropout: float | None = option(
        None, "dropout rate of a new model", group="model", fallback="the preset's"
    )

    def __post_init__(self) -> None:
        if self.init is None:
            object.__setattr__(self, "preset", self.preset or DEFAULT_PRESET)
        elif self.preset is not None:
            raise InputError("preset and init: the model of init has its own: give one of the two")
        elif self.dropout is not None:
            raise InputError("dropout goes with a preset: the model of init has its own")
        super().__post_init__()
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise InputError(f"dropout {self.dropout}: expected 0 <= rate < 1")

    def new_config(self, vocab_size: int = SqueezeBertConfig.vocab_size) -> SqueezeBertConfig:
        """The config of a new model: the preset's; `dropout`, unless None, replaces its rates."""
        assert self.preset is not None, "init has a config of its own"
        overrides: dict[str, Any] = {"vocab_size": vocab_size}
        if self.dropout is not None:
            overrides |= dict.fromkeys(
                ("hidden_dropout_prob", "attention_probs_dropout_prob"), self.dropout
            )
        return SqueezeBertConfig.from_preset(self.preset, **overrides)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How text becomes ids: the vocabulary and the length of an input."""

    vocabulary: str | None = option(
        None,
        "vocab.txt, one token per line",
        group="model",
        names="--vocab",
        metavar="FILE",
        fallback="learned from the training text",
    )
    vocab_size: int = option(VOCAB_SIZE, "tokens of a learned vocabulary", group="model")
    lowercase: bool = option(True, "keep upper case and accents", group="model", names="--cased")
    seq_length: int = option(128, "longest input in tokens, special tokens included", group="model")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneOptions(TextOptions, TrainingOptions):
    """What shapes a fine-tuning. Two runs with equal options on CPU give equal weights.

    Without `preset`, `init` and all that only a new model has, it starts from `pretrained.DEFAULT`.
    """

    preset: str | None = inherited(
        TrainingOptions,
        "preset",
        fallback=f"{DEFAULT_PRESET}, if --dropout, --vocab, --vocab-size or --cased ask for a new model",
    )
    init: str | None = inherited(
        TrainingOptions, "init", fallback=f"{pretrained.DEFAULT}, unless a new model is asked for"
    )
    vocab_size: int | None = inherited(  # type: ignore[assignment]  # None: no new model is asked for
        TextOptions, "vocab_size", fallback=str(VOCAB_SIZE)
    )
    learning_rate: float | None = inherited(
        OptimizerOptions,
        "learning_rate",
        fallback="1e-3 for fresh weights, 1e-4 to train the same head on; for a new head on a trained model "
        "1e-4 times 4608 / (layers * hidden size), layers 4 at least, 1e-3 at most; times "
        "sqrt(batch size / 32)",
    )
    epochs: int = option(2, "passes over the training data", group="training")
    patience: int | None = option(
        None,
        "stop after so many epochs that did not improve dev's metric",
        group="training",
        fallback="never",
    )
    metric: str | None = option(
        None,
        "dev's metric that decides which weights are kept: for classes accuracy, macro_f1, f1 (of the second "
        "class) or matthews; for numbers pearson or spearman; for pairs that belong together "
        "mean_reciprocal_rank or accuracy_at_1; for tags entity_f1 or tag_accuracy; for answers f1 or "
        "exact_match",
        group="training",
        fallback="the task's",
    )
    class_weights: str | None = option(
        None,
        "balanced: every class counts the same in the loss, however many rows it has",
        group="training",
        choices=CLASS_WEIGHTS,
        fallback="every row counts the same",
    )
    doc_stride: int | None = option(
        None,
        "question answering: most tokens between the starts of two windows of a long context",
        group="model",
        fallback="128, or a third of a --seq-length below 384",
    )
    long_texts: str | None = option(
        None,
        "what is seen of a single text longer than --seq-length: its beginning (truncate), its first quarter "
        "and its end (head-tail), or all of it, by the mean over overlapping windows; kept in the package",
        group="model",
        choices=POLICIES,
        fallback="truncate",
    )
    # See temperature.py.
    calibrate: bool = option(
        True,
        "keep the scores as training left them; by default those of a classifier are calibrated on dev",
        group="training",
        names="--uncalibrated",
    )
    # See abstention.py.
    abstain: str | None = option(
        None,
        "classification: give no label to a text whose best score is too low; fitted on dev so that this "
        "share of the answers is right, or to tell dev's texts from a file's, which belong to no class",
        group="training",
        metavar="SHARE or FILE",
        fallback="always give the best label",
    )
    # See vocabulary_trim.py.
    trim_vocabulary: str | None = option(
        None,
        "keep the embeddings of N tokens of a trained model, the most frequent ones of the training texts "
        "first; auto: every token of those texts, at least 6000, and enough for 99% of the dev split's",
        group="model",
        metavar="N or auto",
        fallback="all",
    )
    # See quantization_aware.py.
    quantize_aware: str | None = option(
        None,
        "with --init: train on with weights and activations rounded as in a package of this recipe, for a "
        "model that loses too much accuracy by it",
        group="training",
        metavar="RECIPE",
        choices=QUANTIZE_AWARE,
    )
    # See teacher.py and distillation.py.
    teacher: str | None = option(
        None, "folder of the teacher, see below", group="distillation", metavar="DIR"
    )
    temperature: float = option(
        2.0, "divides both models' logits before they are compared", group="distillation"
    )
    alpha: float = option(0.5, "the teacher's share of the loss", group="distillation")
    hidden_weight: float = option(
        0.0,
        "weight of the distance from the teacher's hidden states (0 to 4), added to that loss",
        group="distillation",
    )

    def __post_init__(self) -> None:
        if self.quantize_aware is not None and self.init is None:
            raise InputError("quantize_aware goes with init: train the model first")
        if self.init is None and not self._is_new:
            object.__setattr__(self, "init", pretrained.DEFAULT)
        super().__post_init__()
        if self.init is not None and self.vocabulary is not None:
            raise InputError("vocabulary goes with a preset: the model of init has its own")
        if self.trim_vocabulary is not None:
            if self.init is None:
                raise InputError(
                    "trim_vocabulary: a new model has --vocab-size: leave one of them out"
                )
            if self.trim_vocabulary != "auto" and not (
                self.trim_vocabulary.isdecimal()
                and len(self.trim_vocabulary) < 10
                and int(self.trim_vocabulary) >= MIN_VOCAB_SIZE
            ):
                raise InputError(
                    f"trim_vocabulary {self.trim_vocabulary!r}: expected auto, or a number of tokens of at "
                    f"least {MIN_VOCAB_SIZE}"
                )
        if self.teacher is not None and self.long_texts not in (None, TRUNCATE):
            raise InputError(
                f"long_texts {self.long_texts}: goes without teacher, which sees the beginning of a text: "
                "leave one of the two out"
            )
        if self.class_weights is not None and self.long_texts == WINDOWS:
            raise InputError(
                "class_weights: they are by rows, and with long_texts windows every window counts: leave one "
                "of the two out"
            )
        if self.class_weights is not None and self.teacher is not None:
            raise InputError("class_weights goes without teacher: its loss has no classes to weigh")
        check_at_least(self, epochs=1, patience=1, vocab_size=MIN_VOCAB_SIZE)
        if not 0 < self.temperature < math.inf:
            raise InputError(f"temperature {self.temperature}: expected a number above 0")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha {self.alpha}: expected 0 to 1")
        if not 0 <= self.hidden_weight < math.inf:
            raise InputError(f"hidden_weight {self.hidden_weight}: expected 0 or above")

    def peak_rate(self, config: SqueezeBertConfig, fresh_head: bool) -> float:
        """The highest learning rate for a model of `config`, whose head is `fresh_head` or trained."""
        if self.learning_rate is not None:
            return self.learning_rate
        if self.init is None:
            rate = SCRATCH_RATE
        elif not fresh_head:
            rate = TRAINED_RATE
        else:
            size = max(config.num_hidden_layers, _FEWEST_LAYERS) * config.hidden_size
            rate = min(TRAINED_RATE * _REFERENCE_SIZE / size, SCRATCH_RATE)
        return scaled_rate(rate, self.batch_size)

    @property
    def _is_new(self) -> bool:
        """Whether anything asks for fresh weights."""
        fresh = (self.preset, self.dropout, self.vocabulary, self.vocab_size)
        return not self.lowercase or any(value is not None for value in fresh)

    @property
    def trimmed_size(self) -> int | None:
        """How many tokens `trim_vocabulary` keeps; None: as many as the texts need."""
        size = self.trim_vocabulary
        return None if size in (None, "auto") else int(size)


def scaled_rate(rate: float, batch_size: int) -> float:
    """A learning rate for batches of `REFERENCE_BATCH` examples, for another batch size."""
    return rate * math.sqrt(batch_size / REFERENCE_BATCH)


def check_at_least(options: Any, **least_values: int) -> None:
    """`InputError` unless each option is at least its value here; None passes."""
    for name, least in least_values.items():
        value = getattr(options, name)
        if value is not None and value < least:
            raise InputError(f"{name} {value}: expected at least {least}")
