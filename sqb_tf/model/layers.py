"""The layers of SqueezeBERT (arXiv 2006.11316, section 3), in `keras.ops` only."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from sqb_tf.config import SqueezeBertConfig, as_config
from sqb_tf.errors import InputError
from sqb_tf.heads.embedding import POOLINGS
from sqb_tf.model.attention import attention_context, attention_scores
from sqb_tf.model.elementwise import (
    SQRT_HALF,
    Dropout,
    LayerNormalization,
    activation,
    gelu,
    scaled_gelu,
)

# Added to the attention scores of padding. exp(-1e4) is 0 in float32, and the value fits in float16.
MASK_BIAS = -1e4


@keras.saving.register_keras_serializable(package="sqb_tf")
class GroupedConv1D(keras.layers.Conv1D):
    """A `keras.layers.Conv1D` that computes pointwise (kernel size 1) grouped convolutions as matmuls.

    It has the same constructor, the same kernel `[kernel_size, in / groups, out]` and, to float rounding, the
    same results. On CPU the gradient of a grouped convolution costs about 7 times its forward pass; one
    matmul per group does not. Everything but a plain pointwise projection is left to `Conv1D`.
    """

    @property
    def is_pointwise(self) -> bool:
        """Whether `call` is `merge(project(split(inputs)), inputs)`."""
        return (
            self.kernel_size == (1,)
            and self.strides == (1,)
            and self.data_format == "channels_last"
            and self.lora_rank is None
        )

    def call(self, inputs: Any) -> Any:
        """`[batch, length, in]` -> `[batch, length, filters]`."""
        if not self.is_pointwise:
            return super().call(inputs)
        return self.merge(self.project(self.split(inputs)), inputs)

    def split(self, inputs: Any) -> list[Any]:
        """`[batch, length, in]` -> a matrix `[batch x length, in / groups]` for each group."""
        # Reshaped once: a matmul per group on rank 3 would reshape there and back each time (8% more graph
        # nodes in a 12-layer training step, and one second more of tracing).
        return _split(ops.reshape(inputs, (-1, inputs.shape[-1])), self.groups)

    def project(
        self,
        groups: list[Any],
        input_scale: float = 1.0,
        output_scale: float = 1.0,
        activation: Any = None,
    ) -> list[Any]:
        """Applies kernel, bias and activation to each group: `[rows, filters / groups]`.

        Args:
            groups: `[rows, in / groups]` for each group.
            input_scale: a factor of the inputs.
            output_scale: a factor of the activation's inputs. Both factors are multiplied into the kernel.
            activation: replaces the layer's own.
        """
        kernels = _scaled(self._kernels(), input_scale * output_scale)
        outputs = [ops.matmul(rows, kernel) for rows, kernel in zip(groups, kernels, strict=True)]
        if self.use_bias:
            biases = _scaled(_split(ops.convert_to_tensor(self.bias), self.groups), output_scale)
            outputs = [ops.add(x, bias) for x, bias in zip(outputs, biases, strict=True)]
        activation = activation or self.activation
        return outputs if activation is None else [activation(x) for x in outputs]

    def _kernels(self) -> list[Any]:
        """`[in / groups, filters / groups]` for each group."""
        kernel = ops.squeeze(ops.convert_to_tensor(self.kernel), axis=0)
        if self.groups == 1:
            return [kernel]
        # Not `ops.split`: TensorFlow takes 1.2 ms to split 150,000 values along the last axis, this 0.1.
        kernel = ops.reshape(kernel, (kernel.shape[0], self.groups, -1))
        return ops.unstack(ops.transpose(kernel, (1, 0, 2)))

    def merge(self, groups: list[Any], inputs: Any) -> Any:
        """Concatenates the groups: `[batch, length, filters]` with the batch and length of `inputs`."""
        outputs = groups[0] if self.groups == 1 else ops.concatenate(groups, axis=-1)
        return ops.reshape(outputs, (*ops.shape(inputs)[:-1], self.filters))


def _scaled(tensors: list[Any], scale: float) -> list[Any]:
    return tensors if scale == 1 else [x * scale for x in tensors]


def _split(x: Any, groups: int) -> list[Any]:
    return [x] if groups == 1 else ops.split(x, groups, axis=-1)


def projection(
    config: SqueezeBertConfig, filters: int, groups: int, name: str, **kwargs: Any
) -> GroupedConv1D:
    """A position-wise projection: BERT's dense layer as a grouped convolution of kernel size 1."""
    return GroupedConv1D(
        filters,
        kernel_size=1,
        data_format="channels_last",  # whatever the user's keras.json says, here and below
        groups=groups,
        kernel_initializer=initializer(config),
        name=name,
        **kwargs,
    )


def initializer(config: SqueezeBertConfig) -> keras.initializers.Initializer:
    """BERT's initializer: a normal distribution truncated at two standard deviations."""
    return keras.initializers.TruncatedNormal(stddev=config.initializer_range)


class _ConfiguredLayer(keras.layers.Layer):
    """A layer that is built from a `SqueezeBertConfig` and serializes only that."""

    def __init__(self, config: SqueezeBertConfig | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = as_config(config)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "config": self.config.to_dict()}


@keras.saving.register_keras_serializable(package="sqb_tf")
class Embeddings(_ConfiguredLayer):
    """Word + position + type embeddings, layer norm, dropout.

    ids and type ids `[batch, length]` -> `[batch, length, hidden_size]`.
    """

    def __init__(self, config: SqueezeBertConfig | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        config = self.config

        def table(rows: int, name: str) -> keras.layers.Embedding:
            return keras.layers.Embedding(
                rows,
                config.hidden_size,
                embeddings_initializer=initializer(config),
                dtype=self.dtype_policy,
                name=name,
            )

        self.word_embeddings = table(config.vocab_size, "word_embeddings")
        self.position_embeddings = table(config.max_position_embeddings, "position_embeddings")
        self.token_type_embeddings = table(config.type_vocab_size, "token_type_embeddings")
        self.layer_norm = LayerNormalization(
            epsilon=config.layer_norm_eps, dtype=self.dtype_policy, name="layer_norm"
        )
        self.dropout = Dropout(config.hidden_dropout_prob, dtype=self.dtype_policy, name="dropout")

    def build(self, word_ids_shape: Any, type_ids_shape: Any = None) -> None:
        for table in (self.word_embeddings, self.position_embeddings, self.token_type_embeddings):
            table.build()
        self.layer_norm.build((*word_ids_shape, self.config.hidden_size))

    def call(self, word_ids: Any, type_ids: Any, training: bool | None = None) -> Any:
        length = ops.shape(word_ids)[-1]
        outputs = self.word_embeddings(word_ids) + self.token_type_embeddings(type_ids)
        # A slice of the table instead of a lookup: no ids can be out of range.
        positions = self.position_embeddings.embeddings[:length]
        outputs = self.layer_norm(outputs + ops.cast(positions, outputs.dtype))
        return self.dropout(outputs, training=training)

    def compute_output_shape(self, word_ids_shape: Any, type_ids_shape: Any = None) -> Any:
        return (*word_ids_shape, self.config.hidden_size)


@keras.saving.register_keras_serializable(package="sqb_tf")
class SelfAttention(_ConfiguredLayer):
    """Multi-head self-attention with grouped query, key and value projections.

    hidden `[batch, length, hidden_size]` and mask bias `[batch, 1, 1, length]` -> context
    `[batch, queries, hidden_size]` and attention scores `[batch, heads, queries, length]`, scaled and biased,
    before the softmax. `queries` is the length, or 1 with `first_token_only`: the first token's query.
    """

    def __init__(self, config: SqueezeBertConfig | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        config, size = self.config, self.config.hidden_size
        dtype = dict(dtype=self.dtype_policy)
        self.query = projection(config, size, config.q_groups, "query", **dtype)
        self.key = projection(config, size, config.k_groups, "key", **dtype)
        self.value = projection(config, size, config.v_groups, "value", **dtype)
        self.dropout = Dropout(config.attention_probs_dropout_prob, name="dropout", **dtype)

    def build(self, hidden_shape: Any, mask_bias_shape: Any = None) -> None:
        for layer in (self.query, self.key, self.value):
            layer.build(hidden_shape)

    def call(
        self,
        hidden: Any,
        mask_bias: Any,
        first_token_only: bool = False,
        training: bool | None = None,
    ) -> tuple[Any, Any]:
        queries = hidden[:, :1] if first_token_only else hidden
        # The query is scaled instead of the scores, which are larger.
        query = self._split_heads(self.query(queries) * (self.config.head_size**-0.5))
        key = self._split_heads(self.key(hidden))
        value = self._split_heads(self.value(hidden))
        context, scores = self.attend(query, key, value, mask_bias, training)
        context = ops.transpose(context, (0, 2, 1, 3))  # [batch, length, heads, head_size]
        return ops.reshape(context, ops.shape(queries)), scores

    def attend(
        self, query: Any, key: Any, value: Any, mask_bias: Any, training: bool | None
    ) -> tuple[Any, Any]:
        """Query, key and value `[batch, heads, length, head_size]` -> context of that shape, and scores."""
        scores = attention_scores(query, key) + mask_bias
        factors = self.dropout.factors(ops.shape(scores), scores.dtype) if training else None
        return attention_context(scores, value, factors), scores

    def _split_heads(self, x: Any) -> Any:
        """`[batch, length, hidden]` -> `[batch, heads, length, head_size]`."""
        config, length = self.config, ops.shape(x)[1]
        x = ops.reshape(x, (-1, length, config.num_attention_heads, config.head_size))
        return ops.transpose(x, (0, 2, 1, 3))

    def compute_output_spec(
        self,
        hidden: Any,
        mask_bias: Any,
        first_token_only: bool = False,
        training: bool | None = None,
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        batch, length, size = hidden.shape
        queries = 1 if first_token_only else length
        scores = batch, self.config.num_attention_heads, queries, length
        return (
            keras.KerasTensor((batch, queries, size), self.compute_dtype),
            keras.KerasTensor(scores, self.compute_dtype),
        )


@keras.saving.register_keras_serializable(package="sqb_tf")
class EncoderBlock(_ConfiguredLayer):
    """One encoder block: token mixer, projection, two grouped feed-forward layers.

    As in BERT, mixer and feed-forward each end in dropout, residual sum and layer norm. The mixer is the
    config's `token_mixer`:
    - "self_attention": hidden and mask bias -> outputs and attention scores, shapes as `SelfAttention`;
    - "separable_conv": hidden and mask of ones and zeros `[batch, length]` -> a tuple with the outputs. A
      depthwise convolution over the sequence, in which padding is zero (`squeeze`), is followed by the
      projection as its pointwise half. There is no activation between them, so one bias is enough.

    With `first_token_only` the outputs are those of the first token.
    """

    def __init__(self, config: SqueezeBertConfig | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        config = self.config
        dtype = dict(dtype=self.dtype_policy)

        def norm(name: str) -> LayerNormalization:
            return LayerNormalization(epsilon=config.block_norm_eps, name=name, **dtype)

        if config.token_mixer == "separable_conv":
            # Keras' own: on CPU a sum of shifted and scaled inputs takes 4 to 8 times as long, forward and
            # backward.
            self.squeeze = keras.layers.DepthwiseConv1D(
                config.mixer_kernel_size,
                padding="same",
                data_format="channels_last",
                use_bias=False,
                depthwise_initializer=initializer(config),
                name="squeeze",
                **dtype,
            )
        else:
            self.attention = SelfAttention(config, name="attention", **dtype)
        self.post_attention = projection(
            config, config.hidden_size, config.post_attention_groups, "post_attention", **dtype
        )
        self.post_attention_norm = norm("post_attention_norm")
        self.intermediate = projection(
            config,
            config.intermediate_size,
            config.intermediate_groups,
            "intermediate",
            activation=activation(config.hidden_act),
            **dtype,
        )
        self.output_projection = projection(
            config, config.hidden_size, config.output_groups, "output_projection", **dtype
        )
        self.output_norm = norm("output_norm")
        self.dropout = Dropout(config.hidden_dropout_prob, name="dropout", **dtype)

    def build(self, hidden_shape: Any, mask_shape: Any = None) -> None:
        if self.config.token_mixer == "separable_conv":
            self.squeeze.build(hidden_shape)
        else:
            self.attention.build(hidden_shape)
        self.post_attention.build(hidden_shape)
        self.post_attention_norm.build(hidden_shape)
        self.intermediate.build(hidden_shape)
        self.output_projection.build((*hidden_shape[:-1], self.config.intermediate_size))
        self.output_norm.build(hidden_shape)

    def call(
        self,
        hidden: Any,
        mask: Any,
        first_token_only: bool = False,
        training: bool | None = None,
    ) -> tuple[Any, ...]:
        context, *scores = self._mix(hidden, mask, first_token_only, training)
        context = self.dropout(self.post_attention(context), training=training)
        hidden = hidden[:, :1] if first_token_only else hidden
        hidden = self.post_attention_norm(hidden + context)
        update = self.dropout(self._feed_forward(hidden, training), training=training)
        return self.output_norm(hidden + update), *scores

    def _mix(
        self, hidden: Any, mask: Any, first_token_only: bool, training: bool | None
    ) -> tuple[Any, ...]:
        """The mixer's output for each token and, for self-attention, the scores."""
        if self.config.token_mixer == "self_attention":
            return self.attention(
                hidden, mask, first_token_only=first_token_only, training=training
            )
        context = self.squeeze(hidden * ops.expand_dims(ops.cast(mask, hidden.dtype), -1))
        return (context[:, :1] if first_token_only else context,)

    def _feed_forward(self, hidden: Any, training: bool | None) -> Any:
        first, second = self.intermediate, self.output_projection
        if first.groups != second.groups or not (first.is_pointwise and second.is_pointwise):
            return second(first(hidden))
        # With equal groups the groups are independent networks: nothing need be concatenated and split
        # between the layers, where the activations are largest (4% of a training step).
        groups = first.split(hidden)
        if training and first.activation is gelu:
            # GELU's constants multiply the kernels, not the largest activations (1% of a training step).
            groups = first.project(groups, output_scale=SQRT_HALF, activation=scaled_gelu)
            groups = second.project(groups, input_scale=SQRT_HALF)
        else:
            groups = second.project(first.project(groups))
        return second.merge(groups, hidden)

    def compute_output_spec(
        self,
        hidden: Any,
        mask: Any,
        first_token_only: bool = False,
        training: bool | None = None,
    ) -> tuple[keras.KerasTensor, ...]:
        if self.config.token_mixer == "self_attention":
            return self.attention.compute_output_spec(hidden, mask, first_token_only)
        batch, length, size = hidden.shape
        queries = 1 if first_token_only else length
        return (keras.KerasTensor((batch, queries, size), self.compute_dtype),)


@keras.saving.register_keras_serializable(package="sqb_tf")
class MaskBias(keras.layers.Layer):
    """Mask of ones and zeros `[batch, length]` -> bias `[batch, 1, 1, length]`: 0, or -1e4 at padding."""

    def call(self, input_mask: Any) -> Any:
        mask = ops.cast(input_mask, self.compute_dtype)
        # Not by indexing: with two new axes and no fixed size, the TFLite converter needs a Select-TF op.
        return ops.expand_dims((1.0 - mask) * MASK_BIAS, (1, 2))

    def compute_output_shape(self, input_mask_shape: Any) -> Any:
        return (input_mask_shape[0], 1, 1, input_mask_shape[1])


@keras.saving.register_keras_serializable(package="sqb_tf")
class TokenMean(keras.layers.Layer):
    """States `[batch, length, hidden]`, mask `[batch, length]` -> mean over the tokens `[batch, hidden]`.

    It is 0 for a text without tokens.
    """

    def call(self, hidden: Any, input_mask: Any) -> Any:
        mask = ops.expand_dims(ops.cast(input_mask, hidden.dtype), -1)
        return ops.sum(hidden * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)

    def compute_output_shape(self, hidden_shape: Any, input_mask_shape: Any) -> Any:
        return (hidden_shape[0], hidden_shape[-1])


@keras.saving.register_keras_serializable(package="sqb_tf")
class FlattenChoices(keras.layers.Layer):
    """`[batch, choices, length]` -> `[batch x choices, length]`."""

    def call(self, inputs: Any) -> Any:
        return ops.reshape(inputs, (-1, ops.shape(inputs)[-1]))

    def compute_output_shape(self, inputs_shape: Any) -> Any:
        batch, choices, length = inputs_shape
        return (None if None in (batch, choices) else batch * choices, length)


@keras.saving.register_keras_serializable(package="sqb_tf")
class SplitChoices(keras.layers.Layer):
    """Scores `[batch x choices, 1]` and ids `[batch, choices, length]` -> scores `[batch, choices]`."""

    def call(self, scores: Any, word_ids: Any) -> Any:
        return ops.reshape(scores, (-1, ops.shape(word_ids)[1]))

    def compute_output_shape(self, scores_shape: Any, word_ids_shape: Any) -> Any:
        return tuple(word_ids_shape[:2])


@keras.saving.register_keras_serializable(package="sqb_tf")
class SentencePooling(keras.layers.Layer):
    """States `[batch, length, hidden]`, mask `[batch, length]` -> vectors `[batch, hidden]`.

    `pooling` is one of `POOLINGS`: "mean" over the tokens with a mask of 1, or the "first" token. With
    `normalize` the vectors have length 1.
    """

    def __init__(self, pooling: str, normalize: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if pooling not in POOLINGS:
            raise InputError(f"pooling={pooling!r}: expected one of {', '.join(POOLINGS)}")
        self.pooling = pooling
        self.normalize = normalize

    def call(self, hidden: Any, input_mask: Any) -> Any:
        if self.pooling == "first":
            vectors = hidden[:, 0]
        else:
            mask = ops.cast(input_mask, hidden.dtype)[..., None]
            vectors = ops.sum(hidden * mask, axis=1)
            if not self.normalize:  # which cancels the divisor
                vectors = vectors / ops.maximum(ops.sum(mask, axis=1), 1.0)
        return ops.normalize(vectors, axis=-1) if self.normalize else vectors

    def compute_output_shape(self, hidden_shape: Any, input_mask_shape: Any) -> Any:
        return (hidden_shape[0], hidden_shape[-1])

    def get_config(self) -> dict[str, Any]:
        own = {"pooling": self.pooling, "normalize": self.normalize}
        return {**super().get_config(), **own}
