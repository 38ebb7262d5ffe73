"""The layers of the lowered model: inference-only, exact, shaped for the LiteRT runtime. See `lower.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sqb_tf.layers import GroupedConv1D


class Dense(tf.Module):
    """One FULLY_CONNECTED: kernel `[out, in]`, bias `[out]`.

    `observer`, where set, is shown each input before it is used (calibration).
    """

    def __init__(self, kernel: np.ndarray | tf.Variable, bias: np.ndarray) -> None:
        super().__init__()
        shared = isinstance(kernel, tf.Variable)
        self.kernel = kernel if shared else tf.Variable(kernel, trainable=False)
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
        self.gain = tf.Variable(array_of(layer.gamma), trainable=False)
        self.offset = tf.Variable(array_of(layer.beta), trainable=False)
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
        chunks = regroup(chunks, self.sources[0].groups)
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


class Squeeze(tf.Module):
    """The depthwise convolution of a separable one: DEPTHWISE_CONV_2D over the sequence as a row of an image.

    In `int8` its weights stay float, of which there are few: XNNPACK has no kernel for int8 ones with float
    activations.
    """

    def __init__(self, layer: keras.layers.DepthwiseConv1D) -> None:
        super().__init__()
        self.kernel = tf.Variable(array_of(layer.kernel)[np.newaxis], trainable=False)

    def __call__(self, chunks: list[tf.Tensor], mask: tf.Tensor) -> list[tf.Tensor]:
        """All channels in one chunk, and the mask of ones and zeros `[1, length, 1]`."""
        (hidden,) = chunks
        channels = hidden.shape[-1]
        # Reshapes, since slices and new axes of a dynamic length are operations outside XNNPACK.
        row = tf.reshape(hidden * mask, [1, 1, -1, channels])
        row = tf.nn.depthwise_conv2d(row, self.kernel, [1, 1, 1, 1], "SAME")
        return [tf.reshape(row, [1, -1, channels])]


class Block(tf.Module):
    """One encoder block. `first_token_only` gives that token's output, `[1, 1, hidden]`."""

    def __init__(self, block: Any, first_token_only: bool) -> None:
        super().__init__()
        self.first_token_only = first_token_only
        if block.config.token_mixer == "separable_conv":
            self.mixer = Squeeze(block.squeeze)
        else:
            self.mixer = Attention(block.attention, first_token_only)
        self.post_attention = Projection(block.post_attention)
        self.post_attention_norm = LayerNorm(block.post_attention_norm)
        self.intermediate = Projection(block.intermediate)
        self.activation = ACTIVATIONS[block.config.hidden_act]
        self.output_projection = Projection(block.output_projection)
        self.output_norm = LayerNorm(block.output_norm)

    def __call__(self, hidden: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        context = self.mixer([hidden], mask)
        if self.first_token_only:
            hidden = hidden[:, :1]
        hidden = self.post_attention_norm(hidden + _join(self.post_attention(context)))
        chunks = [self.activation(chunk) for chunk in self.intermediate([hidden])]
        return self.output_norm(hidden + _join(self.output_projection(chunks)))


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
def look_up(table: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    return tf.gather(table, ids)


def array_of(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable).astype(np.float32)


def _split_weights(layer: GroupedConv1D, scale: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each group's kernel `[out / groups, in / groups]` and bias `[out / groups]`, times `scale`."""
    kernel = array_of(layer.kernel)[0].T * np.float32(scale)
    bias = array_of(layer.bias) * np.float32(scale)
    return list(zip(np.split(kernel, layer.groups), np.split(bias, layer.groups), strict=True))
