"""What shapes a squeezing: the teacher, the student's architecture and the loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from sqb_tf.config import GROUP_FIELDS, PRESETS, SqueezeBertConfig
from sqb_tf.errors import InputError
from sqb_tf.options import check_choices, option
from sqb_tf.training.options import REFERENCE_BATCH, TextRunOptions, check_at_least, scaled_rate

# Of AdamW, see `scaled_rate`.
RATE = 1.5e-3
DEFAULT_GROUPS = 4
# The fields that a student may have of its own.
_SIZES = ("num_hidden_layers", "intermediate_size", *GROUP_FIELDS)
# Those that a preset shares with the teacher, and those that an earlier student does: all that decide what
# its weights compute.
_WIDTH = ("hidden_size", "num_attention_heads", "token_mixer")
_TRAINING = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")
_FUNCTION = tuple(
    field.name
    for field in dataclasses.fields(SqueezeBertConfig)
    if field.name not in (*_SIZES, *_TRAINING)
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SqueezeOptions(TextRunOptions):
    """What shapes a run. Two runs with equal options on the same shards and CPU give equal weights."""

    teacher: str = option(
        dataclasses.MISSING,
        "the model to squeeze: a bundle, a transformers folder of a BERT or a SqueezeBERT, or the name of "
        "one on the hub",
        group="model",
        metavar="DIR or REPO_ID",
    )
    init: str | None = option(
        None,
        "student to train on, such as an earlier run's bundle, on other or longer text",
        group="model",
        metavar="DIR or NAME",
        fallback="layers of the teacher",
    )
    preset: str | None = option(
        None,
        "architecture of the student, as wide as the teacher",
        group="model",
        choices=tuple(PRESETS),
        fallback="the teacher's, with --layers and --groups",
    )
    layers: int | None = option(
        None, "layers of the student", group="model", fallback="as many as the teacher has"
    )
    hidden: int | None = option(
        None,
        "channels of the student's states, a multiple of the teacher's heads",
        group="model",
        fallback="the teacher's",
    )
    groups: int | None = option(
        None,
        "groups of the query, key, value and feed-forward projections; 1: dense",
        group="model",
        fallback=str(DEFAULT_GROUPS),
    )
    attention_groups: int | None = option(
        None, "groups of query, key and value", group="model", fallback="--groups"
    )
    feed_forward: int | None = option(
        None,
        "channels between the feed-forward projections",
        group="model",
        fallback="the teacher's, with --hidden in proportion",
    )
    learning_rate: float | None = option(
        None,
        "peak learning rate",
        group="training",
        fallback=f"{RATE:g} times sqrt(batch size / {REFERENCE_BATCH})",
    )
    attention_weight: float = option(
        0.2,
        "weight of the divergence of the attention's probabilities in the loss",
        group="training",
    )
    embedding_weight: float = option(
        1.0,
        "weight of the distance (1 - cosine) of an embedder's vectors in the loss",
        group="training",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self)
        sizes = ("layers", "hidden", "groups", "attention_groups", "feed_forward")
        check_at_least(self, **dict.fromkeys(sizes, 1))
        if self.init is not None and self.preset is not None:
            raise InputError(
                "preset and init: the student of init has its own: give one of the two"
            )
        for name in sizes:
            for source in ("preset", "init"):
                if getattr(self, source) is not None and getattr(self, name) is not None:
                    raise InputError(
                        f"{source} and {name}: the {source} has its own: give one of the two"
                    )
        for name in ("attention_weight", "embedding_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} {getattr(self, name)}: expected 0 or above")

    @property
    def peak_rate(self) -> float:
        """The highest learning rate."""
        if self.learning_rate is not None:
            return self.learning_rate
        return scaled_rate(RATE, self.batch_size)

    def student_config(
        self, teacher: SqueezeBertConfig, init: SqueezeBertConfig | None = None
    ) -> SqueezeBertConfig:
        """The student's architecture: the teacher's, but for layers, groups and feed-forward channels.

        Args:
            teacher: the teacher's.
            init: that of the model `init`, if there is one.

        Raises:
            InputError: a teacher without self-attention; a size that the teacher does not allow.
        """
        if teacher.token_mixer != "self_attention":
            raise InputError(
                f"{self.teacher}: token_mixer={teacher.token_mixer!r}: expected a teacher with self_attention"
            )
        if init is not None:
            own = _sizes_of(init, f"init {self.init}", teacher, _FUNCTION)
        elif self.preset is not None:
            preset = SqueezeBertConfig.from_preset(self.preset)
            own = _sizes_of(preset, f"preset {self.preset}", teacher, _WIDTH)
        else:
            own = self._sizes(teacher)
        try:
            config = dataclasses.replace(teacher, **own)
        except InputError as error:
            raise InputError(f"{self.teacher}: no student of it: {error}") from None
        for name in ("num_hidden_layers", "hidden_size", "intermediate_size"):
            size, most = getattr(config, name), getattr(teacher, name)
            if size > most:
                raise InputError(f"{name} {size}: expected at most the teacher's, {most}")
        return config

    def _sizes(self, teacher: SqueezeBertConfig) -> dict[str, Any]:
        groups = self.groups or DEFAULT_GROUPS
        attention_groups = self.attention_groups or groups
        hidden = self.hidden or teacher.hidden_size
        feed_forward = teacher.intermediate_size * hidden // teacher.hidden_size
        return {
            "num_hidden_layers": self.layers or teacher.num_hidden_layers,
            "hidden_size": hidden,
            "intermediate_size": self.feed_forward or feed_forward,
            **dict.fromkeys(("q_groups", "k_groups", "v_groups"), attention_groups),
            # The teacher's: dense in a BERT and in the paper, where it mixes the groups.
            "post_attention_groups": teacher.post_attention_groups,
            **dict.fromkeys(("intermediate_groups", "output_groups"), groups),
        }


def _sizes_of(
    config: SqueezeBertConfig, origin: str, teacher: SqueezeBertConfig, shared: Sequence[str]
) -> dict[str, Any]:
    """Layers, groups and feed-forward channels of `config`; `InputError` unless `shared` is the teacher's."""
    for name in shared:
        expected, actual = getattr(teacher, name), getattr(config, name)
        if expected != actual:
            raise InputError(
                f"{origin}: {name} is {actual}, the teacher's is {expected}: expected equal ones: leave it "
                "out and give --layers and --groups"
            )
    return {name: getattr(config, name) for name in _SIZES}
