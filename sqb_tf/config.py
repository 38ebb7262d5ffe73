"""SqueezeBertConfig: the architecture's hyperparameters, validated, and the presets."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError, unknown_name
from sqb_tf.json_schema import read_json_file

# The activations whose names mean the same in Keras, in `transformers` and in the lowering.
# `gelu` is the exact (erf) form, as in BERT; `gelu_new` and `gelu_pytorch_tanh` are its tanh form.
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh")
# The layer that moves information between the tokens in a block. The paper has only self-attention.
TOKEN_MIXERS = ("self_attention", "separable_conv")
# The fields that `transformers` does not have.
OWN_FIELDS = ("block_norm_eps", "token_mixer", "mixer_kernel_size")
# The fields of the grouped convolutions. With 1 in each, a SqueezeBERT is a BERT.
GROUP_FIELDS = (
    "q_groups",
    "k_groups",
    "v_groups",
    "post_attention_groups",
    "intermediate_groups",
    "output_groups",
)

# Of the values: sizes are int32 and numbers float32 in what a config becomes.
MAX_INT, MAX_FLOAT = 2**31 - 1, 3e38


@dataclasses.dataclass(frozen=True)
class SqueezeBertConfig:
    """Hyperparameters of SqueezeBERT (Iandola et al. 2020, arXiv 2006.11316, section 3).

    Field names and defaults are those of `transformers`' `SqueezeBertConfig`; the defaults are the
    paper's model. `*_groups` is the number of groups of the grouped convolution that replaces a
    position-wise dense layer (1 is a dense layer). `layer_norm_eps` applies to the norms of the embeddings
    and of the masked LM, `block_norm_eps` to those of the blocks: 1e-12 in `transformers`' SqueezeBERT,
    `layer_norm_eps` in its BERT.

    `token_mixer` and `mixer_kernel_size` are this project's. "separable_conv" is NOT the paper's
    architecture: a depthwise convolution over `mixer_kernel_size` tokens (an odd number) replaces
    self-attention, and the projection behind it (`post_attention_groups`) is its pointwise half. The fields
    of attention (heads, `q_groups`, `k_groups`, `v_groups`, dropout) are then unused, as is
    `mixer_kernel_size` with "self_attention".

    Raises:
        InputError: a value of the wrong type, out of range, or that does not divide as it must.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    q_groups: int = 4
    k_groups: int = 4
    v_groups: int = 4
    post_attention_groups: int = 1
    intermediate_groups: int = 4
    output_groups: int = 4
    block_norm_eps: float = 1e-12
    token_mixer: str = "self_attention"
    mixer_kernel_size: int = 3

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_type(field.name, str(field.type), getattr(self, field.name))
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)!r:.30}: expected 0 <= value < 1")
        for name in ("initializer_range", "layer_norm_eps", "block_norm_eps"):
            if not 0 < getattr(self, name) < MAX_FLOAT:
                raise InputError(
                    f"{name}={getattr(self, name)!r:.30}: expected a value above 0 and below {MAX_FLOAT:g}"
                )
        if self.hidden_act not in ACTIVATIONS:
            raise InputError(f"hidden_act={self.hidden_act!r}: expected one of {ACTIVATIONS}")
        if self.token_mixer not in TOKEN_MIXERS:
            raise InputError(f"token_mixer={self.token_mixer!r}: expected one of {TOKEN_MIXERS}")
        # A longer kernel has weights that are never multiplied by a token.
        longest = 2 * self.max_position_embeddings - 1
        if self.mixer_kernel_size % 2 == 0 or (
            self.token_mixer == "separable_conv" and self.mixer_kernel_size > longest
        ):
            raise InputError(
                f"mixer_kernel_size={self.mixer_kernel_size}: expected an odd number of tokens, "
                f"at most 2 * max_position_embeddings - 1 = {longest}"
            )
        has_attention = self.token_mixer == "self_attention"
        if has_attention and self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size={self.hidden_size} is not divisible by "
                f"num_attention_heads={self.num_attention_heads}"
            )
        for name, sizes in {
            "q_groups": (self.hidden_size,) * has_attention,
            "k_groups": (self.hidden_size,) * has_attention,
            "v_groups": (self.hidden_size,) * has_attention,
            "post_attention_groups": (self.hidden_size,),
            "intermediate_groups": (self.hidden_size, self.intermediate_size),
            "output_groups": (self.hidden_size, self.intermediate_size),
        }.items():
            for size in sizes:
                if size % getattr(self, name):
                    raise InputError(
                        f"{name}={getattr(self, name)} does not divide {size} channels: "
                        "a grouped convolution needs equal groups"
                    )

    @property
    def pools_first_token(self) -> bool:
        """Whether the pooler reads the first token, as in BERT, instead of the mean of the tokens.

        With convolutions the first token has seen only its neighbours.
        """
        return self.token_mixer == "self_attention"

    @property
    def head_size(self) -> int:
        """Channels of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def min_weights(self) -> int:
        """Weights of its embedding tables and kernels. A model has these, biases, norms and a head's."""
        hidden, wide = self.hidden_size, self.intermediate_size
        rows = self.vocab_size + self.max_position_embeddings + self.type_vocab_size
        groups = [self.post_attention_groups]
        block = hidden * wide // self.intermediate_groups + hidden * wide // self.output_groups
        if self.token_mixer == "self_attention":
            groups += [self.q_groups, self.k_groups, self.v_groups]
        else:
            block += hidden * self.mixer_kernel_size
        block += sum(hidden * hidden // count for count in groups)
        return rows * hidden + self.num_hidden_layers * block

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> SqueezeBertConfig:
        """The preset `name` (see `PRESETS`), with fields replaced by `overrides`."""
        if name not in PRESETS:
            raise unknown_name("preset", name, PRESETS)
        return cls.from_dict({**PRESETS[name], **overrides})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SqueezeBertConfig:
        """The config of a `to_dict()`; an `InputError` for an unknown key."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"unknown config keys: {', '.join(unknown)}; known: {sorted(known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All fields, JSON-ready."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, path: str | Path) -> SqueezeBertConfig:
        """Reads a `config.json`; an `InputError` names the file if it is not a valid config."""
        values = read_json_file(path, dict[str, Any])
        try:
            return cls.from_dict(values)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def to_json(self, path: str | Path) -> None:
        """Writes `to_dict()` to `path`."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")


def as_config(config: SqueezeBertConfig | dict[str, Any]) -> SqueezeBertConfig:
    """`config` itself, or the config of its serialized dict."""
    if isinstance(config, SqueezeBertConfig):
        return config
    return SqueezeBertConfig.from_dict(dict(config))


def _check_type(name: str, annotation: str, value: Any) -> None:
    """Checks a field's type; ints must be positive, and a bool is not an int."""
    types: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}
    fits = isinstance(value, types[annotation]) and not isinstance(value, bool)
    if not fits:
        raise InputError(f"{name}={value!r:.100}: expected {annotation}")
    if isinstance(value, int) and annotation == "int" and not 1 <= value <= MAX_INT:
        raise InputError(f"{name}={value!s:.30}: expected 1 to {MAX_INT}")


# `squeezebert-base` is the paper's. The two smaller presets keep its proportions (heads of 64 or 32 channels,
# 4x feed-forward, 4 groups); docs/presets.png plots their accuracy against their latency. They are also meant
# for training from scratch, where more layers only memorize sooner: on SST-2 after two epochs, 2 x 256 has
# 0.820 to 0.828, 4 x 256 0.814 to 0.818 (a few runs; seeds differ by 0.01 or more). BERT's initializer range
# of 0.02 is too small for their width: 4 x 256 has a dev loss of 0.48 with it, 0.42 with 0.1.
PRESETS: dict[str, dict[str, Any]] = {
    "squeezebert-base": {},
    "squeezebert-small": dict(
        hidden_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=1024,
        hidden_dropout_prob=0.2,
        attention_probs_dropout_prob=0.2,
        initializer_range=0.1,
    ),
    "squeezebert-tiny": dict(
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        initializer_range=0.1,
    ),
}
# Not the paper's architecture: squeezebert-small with convolutions instead of attention. SST-2 accuracy is
# 0.817 to 0.833 with kernels of 3 (3 seeds), 0.825 and 0.834 with 3 layers, 0.808 with kernels of 5 (one).
PRESETS["squeezebert-separable"] = PRESETS["squeezebert-small"] | dict(
    token_mixer="separable_conv", mixer_kernel_size=3
)
# The architectures of the checkpoints that ship, see sqb_tf/pretrained: MiniLM (Wang et al. 2020, arXiv
# 2002.10957) with 4 and with 2 of its 6 layers. Why without groups: docs/decisions/105-*.md.
PRESETS["squeezebert-mini"] = dict(
    hidden_size=384,
    num_hidden_layers=4,
    num_attention_heads=12,
    intermediate_size=1536,
    **dict.fromkeys(GROUP_FIELDS, 1),
)
PRESETS["squeezebert-micro"] = PRESETS["squeezebert-mini"] | dict(num_hidden_layers=2)
