"""SqueezeBertBackbone: token ids -> hidden states."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from sqb_tf.config import SqueezeBertConfig, as_config
from sqb_tf.model import layers

INPUT_NAMES = ("input_word_ids", "input_mask", "input_type_ids")


def token_inputs() -> dict[str, keras.KerasTensor]:
    """The three int32 `[batch, length]` inputs, by name."""
    return {name: keras.Input((None,), dtype="int32", name=name) for name in INPUT_NAMES}


class ConfiguredModel(keras.Model):
    """A functional model that serializes as its constructor's arguments.

    XLA is off by default: Keras' "auto" would choose it, and on CPU it compiles 12 layers for over a minute,
    once for every sequence length. `compile(jit_compile=True)` works.
    """

    def compile(self, *args: Any, jit_compile: bool = False, **kwargs: Any) -> None:
        """`keras.Model.compile` with `jit_compile=False` by default."""
        super().compile(*args, jit_compile=jit_compile, **kwargs)

    def make_train_function(self, force: bool = False) -> Any:
        """Builds the optimizer first; otherwise Keras traces the first step twice (33 s instead of 20)."""
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.to_dict(), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        return cls(**config)


def _block_mask(config: SqueezeBertConfig, mask_bias: layers.MaskBias, inputs: dict) -> Any:
    """The mask in the form that `layers.EncoderBlock` expects."""
    mask = inputs["input_mask"]
    return mask_bias(mask) if config.token_mixer == "self_attention" else mask


def _pool(
    config: SqueezeBertConfig, token_mean: layers.TokenMean, hidden: Any, inputs: dict
) -> Any:
    """The input of the pooler's dense layer, `[batch, hidden_size]`."""
    if config.pools_first_token:
        return hidden[:, 0]
    return token_mean(hidden, inputs["input_mask"])


@keras.saving.register_keras_serializable(package="sqb_tf")
class SqueezeBertBackbone(ConfiguredModel):
    """The encoder of SqueezeBERT (arXiv 2006.11316) with BERT's pooler.

    Inputs: `input_word_ids`, `input_mask` (1 token, 0 padding), `input_type_ids` (0 first text, 1 second),
    each int32 `[batch, length]`, length at most `config.max_position_embeddings`.

    Outputs: `sequence_output` `[batch, length, hidden_size]`; `pooled_output` `[batch, hidden_size]`, the
    first token's state through a dense tanh layer.

    With `token_mixer="separable_conv"` (not the paper's) a token sees only `(mixer_kernel_size - 1) / 2`
    tokens to either side in each block. So the pooler reads the mean of the tokens without padding.

    Args:
        config: a `SqueezeBertConfig`, or its dict.
        pooled_only: whether to leave out `sequence_output`. With self-attention the last block then computes
            the first token only: the same weights and pooled output with 8% less work in a 12-layer training
            step.
        name: the Keras name.
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
        outputs = {"pooled_output": pooler(_pool(config, token_mean, hidden, inputs))}
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
        """A model of the same layers that also returns their intermediate outputs.

        Outputs: `sequence_output` and `pooled_output`, also if this model is `pooled_only`; `hidden_states`,
        the outputs of the embeddings and of every block (`num_hidden_layers + 1` of
        `[batch, length, hidden_size]`); `attention_scores` of every block (`[batch, heads, length, length]`,
        scaled and masked, before the softmax; an empty list with separable convolutions). They are what
        `transformers` returns for `output_hidden_states` and `output_attentions`.
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
        """A model of the same layers that also returns the first token's state after every block.

        Outputs: `pooled_output`, and `first_token_states` `[batch, num_hidden_layers, hidden_size]`. If the
        pooler reads the first token, the last block computes only that, as with `pooled_only`.
        """
        inputs = token_inputs()
        first_only = self.config.pools_first_token
        hidden_states, _, pooled = self._states(inputs, first_token_only=first_only)
        first_states = [state[:, 0] for state in hidden_states[1:]]
        outputs = {"pooled_output": pooled, "first_token_states": ops.stack(first_states, axis=1)}
        return keras.Model(inputs, outputs, name=f"{self.name}_first_tokens")

    def _states(
        self, inputs: dict[str, keras.KerasTensor], first_token_only: bool
    ) -> tuple[list[keras.KerasTensor], list[keras.KerasTensor], keras.KerasTensor]:
        """The outputs of embeddings and blocks; the blocks' attention scores; the pooled output.

        With `first_token_only` the last block computes the first token only.
        """
        hidden = self.embeddings(inputs["input_word_ids"], inputs["input_type_ids"])
        mask = _block_mask(self.config, self.mask_bias, inputs)
        hidden_states, attention_scores = [hidden], []
        for block in self.blocks:
            first_only = first_token_only and block is self.blocks[-1]
            hidden, *scores = block(hidden, mask, first_token_only=first_only)
            hidden_states.append(hidden)
            attention_scores += scores
        pooled = self.pooler(_pool(self.config, self.token_mean, hidden, inputs))
        return hidden_states, attention_scores, pooled

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pooled_only": self.pooled_only}
