"""What shapes a squeezing: the teacher, the student's architecture and the loss."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from sqb_tf.config import GROUP_FIELDS, PRESETS, SqueezeBertConfig
from sqb_tf.errors import InputError
from sqb_tf.options import check_choices, option
from sqb_tf.training.options import REFERENCE_BATCH, TextRunOptions, check_at_least, scaled_rate

# Of AdamW, see `scaled_rate`.
RATE = 1.5e-3
DEFAULT_GROUPS = 4


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
        fallback="the teacher's",
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
        sizes = ("layers", "groups", "attention_groups", "feed_forward")
        check_at_least(self, **dict.fromkeys(sizes, 1))
        for name in sizes:
            if self.preset is not None and getattr(self, name) is not None:
                raise InputError(f"preset and {name}: the preset has its own: give one of the two")
        for name in ("attention_weight", "embedding_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} {getattr(self, name)}: expected 0 or above")

    @property
    def peak_rate(self) -> float:
        """The highest learning rate."""
        if self.learning_rate is not None:
            return self.learning_rate
        return scaled_rate(RATE, self.batch_size)

    def student_config(self, teacher: SqueezeBertConfig) -> SqueezeBertConfig:
        """The student's architecture: the teacher's, but for layers, groups and feed-forward channels.

        Raises:
            InputError: a teacher without self-attention; a size that the teacher does not allow.
        """
        if teacher.token_mixer != "self_attention":
            raise InputError(
                f"{self.teacher}: token_mixer={teacher.token_mixer!r}: expected a teacher with self_attention"
            )
        own = self._preset_sizes(teacher) if self.preset is not None else self._sizes(teacher)
        try:
            config = dataclasses.replace(teacher, **own)
        except InputError as error:
            raise InputError(f"{self.teacher}: no student of it: {error}") from None
        for name in ("num_hidden_layers", "intermediate_size"):
            size, most = getattr(config, name), getattr(teacher, name)
            if size > most:
                raise InputError(f"{name} {size}: expected at most the teacher's, {most}")
        return config

    def _sizes(self, teacher: SqueezeBertConfig) -> dict[str, Any]:
        groups = self.groups or DEFAULT_GROUPS
        attention_groups = self.attention_groups or groups
        return {
            "num_hidden_layers": self.layers or teacher.num_hidden_layers,
            "intermediate_size": self.feed_forward or teacher.intermediate_size,
            **dict.fromkeys(("q_groups", "k_groups", "v_groups"), attention_groups),
            # The teacher's: dense in a BERT and in the paper, where it mixes the groups.
            "post_attention_groups": teacher.post_attention_groups,
            **dict.fromkeys(("intermediate_groups", "output_groups"), groups),
        }

    def _preset_sizes(self, teacher: SqueezeBertConfig) -> dict[str, Any]:
        preset = SqueezeBertConfig.from_preset(str(self.preset))
        for name in ("hidden_size", "num_attention_heads", "token_mixer"):
            expected, actual = getattr(teacher, name), getattr(preset, name)
            if expected != actual:
                raise InputError(
                    f"preset {self.preset}: {name} is {actual}, the teacher's is {expected}: expected equal "
                    "ones: leave out --preset and give --layers and --groups"
                )
        names = ("num_hidden_layers", "intermediate_size", *GROUP_FIELDS)
        return {name: getattr(preset, name) for name in names}
