"""The trained classifier as inference-only functions, exact, shaped for the LiteRT runtime.

The lowering is *group-fused*: a grouped projection is one FULLY_CONNECTED a group, which XNNPACK runs
at full speed in float and int8, and neighbouring projections with equal groups never meet in between.
With 4 groups, group j of the query, key and value projections reads only channels [192 j, 192 j + 192)
and fills only heads 3j to 3j + 2: they are one 192 -> 576 product and a 3-head attention. The
feed-forward pair is four independent 192 -> 768 -> 192 networks.

Also exact: the attention scale is folded into the query's weights, and in the last block everything
behind the keys and values is computed for the first token only, the one that the pooler reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sqb_tf.backbone import INPUT_NAMES
from sqb_tf.layers import MASK_BIAS, GroupedConv1D


class Dense(tf.Module):
    """One FULLY_CONNECTED: kernel `[out, in]`, bias `[out]`.

    `observer`, where set, is shown each input before it is used (calibration).
    """

    def __init__(self, kernel: np.ndarray, bias: np.ndarray) -> None:
        super().__init__()
        self.kernel = tf.Variable(kernel, trainable=False)
        self.bias = tf.Variable(bias, trainable=False)
        self.observer: Callable[[Dense, tf.Tensor], None] | None = None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        if self.observer is not None:
            self.observer(self, x)
        return tf.matmul(x, self.kernel, transpose_b=True) + self.bias


class Projection(tf.Module):
    """Grouped projections of one input, stacked: group j of all of them is one `Dense`.

    Takes and gives a list of chunks along the channels; the input is regrouped only where its chunks
    are not these groups.
    """

    def __init__(self, *layers: GroupedConv1D, scales: Sequence[float] = ()) -> None:
        super().__init__()
        self.groups = layers[0].groups
        scales = scales or [1.0] * len(layers)
        parts = [_split_weights(layer, scale) for layer, scale in zip(layers, scales, strict=True)]
        self.groups_dense = [
            Dense(np.concatenate([k for k, _ in group]), np.concatenate([b for _, b in group]))
            for group in zip(*parts, strict=True)
        ]

    def __call__(self, chunks: list[tf.Tensor]) -> list[tf.Tensor]:
        chunks = regroup(chunks, self.groups)
        return [dense(chunk) for dense, chunk in zip(self.groups_dense, chunks, strict=True)]


class LayerNorm(tf.Module):
    """Layer normalization over the channels."""

    def __init__(self, layer: keras.layers.LayerNormalization) -> None:
        super().__init__()
        self.gain = tf.Variable(_array(layer.gamma), trainable=False)
        self.offset = tf.Variable(_array(layer.beta), trainable=False)
        self.epsilon = layer.epsilon

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axis=-1, keepdims=True)
        return (x - mean) * tf.math.rsqrt(variance + self.epsilon) * self.gain + self.offset


class Attention(tf.Module):
    """Self-attention on chunks: `parts` independent attentions, each over its share of the heads."""

    def __init__(self, attention: Any, first_token_only: bool) -> None:
        super().__init__()
        config = attention.config
        self.head_size, self.first_token_only = config.head_size, first_token_only
        query, key, value = attention.query, attention.key, attention.value
        scale = config.head_size**-0.5
        groups = {query.groups, key.groups, value.groups}
        # Whole heads in each group: attention never leaves the group.
        self.fused = len(groups) == 1 and config.num_attention_heads % query.groups == 0
        if not self.fused:
            self.sources = [Projection(query, scales=[scale]), Projection(key), Projection(value)]
        elif first_token_only:
            self.sources = [Projection(query, scales=[scale]), Projection(key, value)]
        else:
            self.sources = [Projection(query, key, value, scales=[scale, 1.0, 1.0])]
        self.members = [3] if len(self.sources) == 1 else [1, 2] if self.fused else [1, 1, 1]

    def __call__(self, chunks: list[tf.Tensor], mask_bias: tf.Tensor) -> list[tf.Tensor]:
        first = [chunk[:, :1] for chunk in chunks] if self.first_token_only else chunks
        heads: list[list[tf.Tensor]] = [[] for _ in range(len(chunks) if self.fused else 1)]
        for index, (source, members) in enumerate(zip(self.sources, self.members, strict=True)):
            outputs = source(first if index == 0 else chunks)
            if not self.fused:
                outputs = regroup(outputs, 1)
            heads = heads if len(heads) == len(outputs) else [[] for _ in outputs]
            for part, output in zip(heads, outputs, strict=True):
                part.extend(tf.split(self._to_heads(output), members, axis=1))
        return [self._attend(*part, mask_bias) for part in heads]

    def _to_heads(self, x: tf.Tensor) -> tf.Tensor:
        """`[1, length, heads * head_size]` -> `[1, heads, length, head_size]`."""
        heads = x.shape[-1] // self.head_size
        return tf.transpose(tf.reshape(x, [1, -1, heads, self.head_size]), [0, 2, 1, 3])

    def _attend(
        self, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, mask_bias: tf.Tensor
    ) -> tf.Tensor:
        """`[1, heads, length, head_size]` each -> context `[1, length, heads * head_size]`."""
        scores = tf.matmul(query, key, transpose_b=True) + mask_bias
        context = tf.matmul(tf.nn.softmax(scores), value)
        channels = query.shape[1] * self.head_size
        return tf.reshape(tf.transpose(context, [0, 2, 1, 3]), [1, -1, channels])


class Block(tf.Module):
    """One encoder block. `first_token_only` gives that token's output, `[1, 1, hidden]`."""

    def __init__(self, block: Any, first_token_only: bool) -> None:
        super().__init__()
        self.first_token_only = first_token_only
        self.attention = Attention(block.attention, first_token_only)
        self.post_attention = Projection(block.post_attention)
        self.post_attention_norm = LayerNorm(block.post_attention_norm)
        self.intermediate = Projection(block.intermediate)
        self.activation = ACTIVATIONS[block.config.hidden_act]
        self.output_projection = Projection(block.output_projection)
        self.output_norm = LayerNorm(block.output_norm)

    def __call__(self, hidden: tf.Tensor, mask_bias: tf.Tensor) -> tf.Tensor:
        groups = self.attention.sources[0].groups
        context = self.attention(regroup([hidden], groups), mask_bias)
        if self.first_token_only:
            hidden = hidden[:, :1]
        hidden = self.post_attention_norm(hidden + _join(self.post_attention(context)))
        chunks = [self.activation(chunk) for chunk in self.intermediate([hidden])]
        return self.output_norm(hidden + _join(self.output_projection(chunks)))


class LoweredClassifier(tf.Module):
    """The whole classifier for one text: the three int32 inputs `[1, length]` -> named outputs.

    `probabilities` `[1, labels]` for classification, `logits` `[1, 1]` for regression. A text longer
    than `max_length` tokens keeps its first `max_length - 1` and its last, the closing [SEP].
    """

    def __init__(self, model: Any, kind: str, max_length: int) -> None:
        super().__init__()
        self.kind, self.max_length = kind, max_length
        backbone, tables = model.backbone, model.backbone.embeddings
        self.word_table = tf.Variable(_array(tables.word_embeddings.embeddings), trainable=False)
        self.position_table = tf.Variable(
            _array(tables.position_embeddings.embeddings)[:max_length], trainable=False
        )
        self.type_table = tf.Variable(
            _array(tables.token_type_embeddings.embeddings), trainable=False
        )
        self.embedding_norm = LayerNorm(tables.layer_norm)
        last = len(backbone.blocks) - 1
        self.blocks = [Block(block, index == last) for index, block in enumerate(backbone.blocks)]
        self.pooler = Dense(_array(backbone.pooler.kernel).T, _array(backbone.pooler.bias))
        self.head = Dense(_array(model.head.kernel).T, _array(model.head.bias))

    @property
    def dense_layers(self) -> list[Dense]:
        """Every FULLY_CONNECTED of the model."""
        return [module for module in self.submodules if isinstance(module, Dense)]

    def __call__(
        self, input_word_ids: tf.Tensor, input_mask: tf.Tensor, input_type_ids: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        word_ids = self._cap(input_word_ids)
        mask = tf.cast(self._cap(input_mask), tf.float32)
        mask_bias = ((1.0 - mask) * MASK_BIAS)[:, tf.newaxis, tf.newaxis, :]
        hidden = self._embed(word_ids, self._cap(input_type_ids))
        for block in self.blocks:
            hidden = block(hidden, mask_bias)
        logits = self.head(tf.tanh(self.pooler(tf.reshape(hidden, [1, -1]))))
        if self.kind == "regression":
            return {"logits": logits}
        return {"probabilities": tf.nn.softmax(logits)}

    def _cap(self, x: tf.Tensor) -> tf.Tensor:
        """At most `max_length` tokens of `[1, length]`, the last one kept."""
        if x.shape[1] is not None and x.shape[1] <= self.max_length:
            return x
        kept = tf.minimum(tf.shape(x)[1], self.max_length) - 1
        return tf.concat([x[:, :kept], x[:, -1:]], axis=1)

    def _embed(self, word_ids: tf.Tensor, type_ids: tf.Tensor) -> tf.Tensor:
        length = word_ids.shape[1] or tf.shape(word_ids)[1]
        hidden = (
            _look_up(self.word_table, tf.reshape(word_ids, [-1]))
            + _look_up(self.position_table, tf.range(length))
            + _look_up(self.type_table, tf.reshape(type_ids, [-1]))
        )
        return self.embedding_norm(hidden[tf.newaxis])

    def signature(self, seq_length: int | None) -> tf.types.experimental.PolymorphicFunction:
        """The traced function of inputs `[1, seq_length]`; None is a dynamic length."""
        specs = [tf.TensorSpec([1, seq_length], tf.int32, name=name) for name in INPUT_NAMES]

        def call(input_word_ids, input_mask, input_type_ids):
            return self(input_word_ids, input_mask, input_type_ids)

        return tf.function(call, input_signature=specs)


ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "gelu": tf.nn.gelu,
    "gelu_new": lambda x: tf.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: tf.nn.gelu(x, approximate=True),
    "relu": tf.nn.relu,
    "silu": tf.nn.silu,
    "swish": tf.nn.silu,
    "tanh": tf.tanh,
}


def regroup(chunks: list[tf.Tensor], groups: int) -> list[tf.Tensor]:
    """The same channels in `groups` chunks."""
    if len(chunks) == groups:
        return chunks
    joined = _join(chunks)
    return [joined] if groups == 1 else tf.split(joined, groups, axis=-1)


def _join(chunks: list[tf.Tensor]) -> tf.Tensor:
    return chunks[0] if len(chunks) == 1 else tf.concat(chunks, axis=-1)


# The converter turns a composite of this name into EMBEDDING_LOOKUP, which, unlike GATHER, may have an
# int8 table with a scale for each row (tensorflow/compiler/mlir/lite, prepare_composite_functions_tf).
@tf.function(experimental_implements="embedding_matmul")
def _look_up(table: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    return tf.gather(table, ids)


def _array(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable).astype(np.float32)


def _split_weights(layer: GroupedConv1D, scale: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each group's kernel `[out / groups, in / groups]` and bias `[out / groups]`, times `scale`."""
    kernel = _array(layer.kernel)[0].T * np.float32(scale)
    bias = _array(layer.bias) * np.float32(scale)
    return list(zip(np.split(kernel, layer.groups), np.split(bias, layer.groups), strict=True))
