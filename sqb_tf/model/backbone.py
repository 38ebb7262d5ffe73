"""SqueezeBertBackbone: token ids -> hidden states."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from sqb_tf.config import SqueezeBertConfig
from sqb_tf.model import layers

INPUT_NAMES = ("input_word_ids", "input_mask", "input_type_ids")


def as_config(config: SqueezeBertConfig | dict[str, Any]) -> SqueezeBertConfig:
    """`config`, or the one of a serialized dict."""
    return config if isinstance(config, SqueezeBertConfig) else SqueezeBertConfig.from_dict(config)


def token_inputs() -> dict[str, keras.KerasTensor]:
    """The three int32 `[batch, length]` inputs, by name."""
    return {name: keras.Input((None,), dtype="int32", name=name) for name in INPUT_NAMES}


class ConfiguredModel(keras.Model):
    """A functional model that serializes as its constructor's arguments.

    XLA is off unless asked for: `compile(jit_compile=True)` works, but compiling 12 layers takes
    over a minute on CPU, again for every sequence length, which Keras' "auto" would choose.
    """

    def compile(self, *args: Any, jit_compile: bool = False, **kwargs: Any) -> None:
        """As `keras.Model.compile`, with `jit_compile=False` by default."""
        super().compile(*args, jit_compile=jit_compile, **kwargs)

    def make_train_function(self, force: bool = False) -> Any:
        """As Keras', with the optimizer built first: else its first step is traced twice (33 s, not 20)."""
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.to_dict(), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        return cls(**config)


def _block_mask(config: SqueezeBertConfig, mask_bias: layers.MaskBias, inputs: dict) -> Any:
    """The mask as `layers.EncoderBlock` takes it."""
    mask = inputs["input_mask"]
    return mask_bias(mask) if config.token_mixer == "self_attention" else mask


def _pooled(
    config: SqueezeBertConfig, token_mean: layers.TokenMean, hidden: Any, inputs: dict
) -> Any:
    """What the pooler's dense layer takes, `[batch, hidden_size]`."""
    if config.pools_first_token:
        return hidden[:, 0]
    return token_mean(hidden, inputs["input_mask"])


@keras.saving.register_keras_serializable(package="sqb_tf")
class SqueezeBertBackbone(ConfiguredModel):
    """The encoder of SqueezeBERT (arXiv 2006.11316) with BERT's pooler.

    Inputs: `input_word_ids`, `input_mask` (1 token, 0 padding), `input_type_ids` (0 first text, 1
    second), each int32 `[batch, length]`, length at most `config.max_position_embeddings`.
    Outputs: `sequence_output` `[batch, length, hidden_size]`; `pooled_output` `[batch, hidden_size]`,
    the first token through a dense tanh layer. With `pooled_only=True` there is no `sequence_output`, and
    the last block computes the first token alone: the same pooled output and the same weights, with
    8% less work of a 12-layer training step.

    With `token_mixer="separable_conv"` (not the paper's) a token sees `(mixer_kernel_size - 1) / 2` others to
    either side in each block, so the pooler takes the mean of the tokens but padding, and the last block
    computes them all.
    """

    def __init__(
        self,
        config: SqueezeBertConfig | dict[str, Any],
        pooled_only: bool = False,
        name: str = "backbone",
        **kwargs: Any,
    ) -> None:
        config = as_config(config)
        embeddings = layers.Embeddings(config, name="embeddings")
        mask_bias = layers.MaskBias(name="mask_bias")
        token_mean = layers.TokenMean(dtype="float32", name="token_mean")
        blocks = [
            layers.EncoderBlock(config, name=f"encoder_{i}")
            for i in range(config.num_hidden_layers)
        ]
        pooler = keras.layers.Dense(
            config.hidden_size,
            activation="tanh",
            kernel_initializer=layers.initializer(config),
            name="pooler",
        )

        inputs = token_inputs()
        hidden = embeddings(inputs["input_word_ids"], inputs["input_type_ids"])
        mask = _block_mask(config, mask_bias, inputs)
        for block in blocks:
            first_only = pooled_only and config.pools_first_token and block is blocks[-1]
            hidden, *_ = block(hidden, mask, first_token_only=first_only)
        outputs = {"pooled_output": pooler(_pooled(config, token_mean, hidden, inputs))}
        if not pooled_only:
            outputs["sequence_output"] = hidden
        super().__init__(inputs, outputs, name=name, **kwargs)

        self.config = config
        self.pooled_only = pooled_only
        self.embeddings = embeddings
        self.mask_bias = mask_bias
        self.token_mean = token_mean
        self.blocks = blocks
        self.pooler = pooler

    def with_states(self) -> keras.Model:
        """The same layers as a model that gives what lies between them too, also of a `pooled_only` one.

        Outputs, besides the two: `hidden_states`, the embeddings' output and every block's
        (`num_hidden_layers + 1` of `[batch, length, hidden_size]`), and `attention_scores`, every block's
        (`[batch, heads, length, length]`, scaled and masked, before the softmax). They are what
        `transformers` gives for `output_hidden_states` and `output_attentions`. A separable convolution has
        no scores: there the list is empty.
        """
        inputs = token_inputs()
        hidden_states, attention_scores, pooled = self._states(inputs, first_token_only=False)
        outputs = {
            "sequence_output": hidden_states[-1],
            "pooled_output": pooled,
            "hidden_states": hidden_states,
            "attention_scores": attention_scores,
        }
        return keras.Model(inputs, outputs, name=f"{self.name}_states")

    def with_first_tokens(self) -> keras.Model:
        """The same layers as a model that gives the first token's state after every block too.

        Outputs: `pooled_output`, and `first_token_states` `[batch, num_hidden_layers, hidden_size]`. The last
        block computes the first token alone if that is what is pooled, as with `pooled_only`.
        """
        inputs = token_inputs()
        alone = self.config.pools_first_token
        hidden_states, _, pooled = self._states(inputs, first_token_only=alone)
        firsts = [state[:, 0] for state in hidden_states[1:]]
        outputs = {"pooled_output": pooled, "first_token_states": ops.stack(firsts, axis=1)}
        return keras.Model(inputs, outputs, name=f"{self.name}_first_tokens")

    def _states(
        self, inputs: dict[str, keras.KerasTensor], first_token_only: bool
    ) -> tuple[list[keras.KerasTensor], list[keras.KerasTensor], keras.KerasTensor]:
        """The embeddings' output and every block's; every block's attention scores; the pooled output.

        `first_token_only` is about the last block.
        """
        hidden = self.embeddings(inputs["input_word_ids"], inputs["input_type_ids"])
        mask = _block_mask(self.config, self.mask_bias, inputs)
        hidden_states, attention_scores = [hidden], []
        for block in self.blocks:
            alone = first_token_only and block is self.blocks[-1]
            hidden, *scores = block(hidden, mask, first_token_only=alone)
            hidden_states.append(hidden)
            attention_scores += scores
        pooled = self.pooler(_pooled(self.config, self.token_mean, hidden, inputs))
        return hidden_states, attention_scores, pooled

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pooled_only": self.pooled_only}
