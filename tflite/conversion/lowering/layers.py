"""The layers of the lowered model: inference-only, exact, shaped for LiteRT. See `model.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sqb_tf.model.layers import GroupedConv1D

# The name, in the file, of the operations of `MeanSquareOfClasses`, by which the quantizer finds them.
MEAN_SQUARE = "mean_square"
INPUT, OUTPUT = "input", "output"


class Dense(tf.Module):
    """One FULLY_CONNECTED: kernel `[out, in]`, bias `[out]`.

    Its tensors in the file are named after `layer`, by which recipes find them. During calibration,
    `observer` is called with each input. `through` replaces each input and output, which it is told apart by
    `INPUT` and `OUTPUT`.
    """

    def __init__(self, kernel: np.ndarray | tf.Variable, bias: np.ndarray, layer: str) -> None:
        super().__init__()
        self.layer = layer
        shared = isinstance(kernel, tf.Variable)
        self.kernel: tf.Variable = kernel if shared else tf.Variable(kernel, trainable=False)
        self.bias = tf.Variable(bias, trainable=False)
        self.observer: Callable[[Dense, tf.Tensor], None] | None = None
        self.through: Callable[[str, tf.Tensor], tf.Tensor] | None = None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        if self.observer is not None:
            self.observer(self, x)
        if self.through is not None:
            x = self.through(INPUT, x)
        with tf.name_scope(f"{self.layer}/"):  # the slash: no number is appended to the name
            y = tf.matmul(x, self.kernel, transpose_b=True) + self.bias
        return y if self.through is None else self.through(OUTPUT, y)


class LayerNorm(tf.Module):
    """Layer normalization over the channels: `finish(normalize(x))`.

    Between blocks only `normalize` runs. Gain and offset are folded into the weights that read the result
    (`after` of `Projection`). In the residual sum the gain remains, and the offset is folded into the bias of
    the other summand (`residual`). That saves a pass over all channels, and int8 activations are free of the
    outlier channels that gains make.
    """

    def __init__(self, layer: keras.layers.LayerNormalization) -> None:
        super().__init__()
        self.gain = tf.Variable(to_numpy(layer.gamma), trainable=False)
        self.offset = tf.Variable(to_numpy(layer.beta), trainable=False)
        self.epsilon = layer.epsilon
        # What computes the mean square in place of the plain mean, see `equalize`.
        self.mean_square: MeanSquareOfClasses | None = None
        self.observer: Callable[[LayerNorm, tf.Tensor], None] | None = None

    def normalize(self, x: tf.Tensor) -> tf.Tensor:
        """Mean 0 and variance 1 over the channels."""
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        if self.observer is not None:
            self.observer(self, centred)
        return centred * tf.math.rsqrt(self._variance(centred) + self.epsilon)

    def _variance(self, centred: tf.Tensor) -> tf.Tensor:
        if self.mean_square is not None:
            return self.mean_square(centred)
        # x * x and not tf.square, for which ai-edge-quantizer has no integer form.
        return tf.reduce_mean(centred * centred, axis=-1, keepdims=True)

    def finish(self, normal: tf.Tensor) -> tf.Tensor:
        """Gain and offset."""
        return normal * self.gain + self.offset

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self.finish(self.normalize(x))


class MeanSquareOfClasses(tf.Module):
    """The mean square over the channels, in which each class of channels has a scale of its own.

    One scale for all squares leaves ordinary channels no levels beside an outlier: in a MiniLM one reaches
    212 where others have 0.4, and 16 bits have a step of 1.4 for its squares. Here the squares of each class
    are at most 1, and a matmul sums each class by itself.

    Args:
        ranges: the largest absolute value in each channel's class, `[channels]`.
    """

    def __init__(self, ranges: np.ndarray) -> None:
        super().__init__()
        self.scale = tf.Variable(1 / ranges, trainable=False)
        # Each row has one value other than 0, which int8 weights hold exactly.
        classes = np.unique(ranges)[:, np.newaxis]
        weights = np.where(ranges == classes, np.square(ranges) / len(ranges), 0)
        self.weights = tf.Variable(weights.astype(np.float32), trainable=False)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        with tf.name_scope(f"{MEAN_SQUARE}/"):
            scaled = x * self.scale
            by_class = tf.matmul(scaled * scaled, self.weights, transpose_b=True)
            return tf.reduce_sum(by_class, axis=-1, keepdims=True)


class Projection(tf.Module):
    """Grouped projections of one input, stacked: group j of all of them is one `Dense`.

    Input and output are lists of chunks along the channels; the input is regrouped only if its chunks are not
    these groups.

    Args:
        layer: the name in the file.
        convolutions: the projections.
        scales: a factor for the outputs of each.
        after: the norm whose `normalize` gives the input.
        residual: the norm whose offset is added to the output.
        as_convolution: one CONV_2D for all groups, whose output is one chunk.
    """

    def __init__(
        self,
        layer: str,
        *convolutions: GroupedConv1D,
        scales: Sequence[float] = (),
        after: LayerNorm | None = None,
        residual: LayerNorm | None = None,
        as_convolution: bool = False,
    ) -> None:
        super().__init__()
        self.layer, self.groups = layer, convolutions[0].groups
        self.as_convolution = as_convolution and self.groups > 1
        scales = scales or [1.0] * len(convolutions)
        groups_of_each = [
            _split_weights(convolution, scale, after, residual)
            for convolution, scale in zip(convolutions, scales, strict=True)
        ]
        self.groups_dense = [
            Dense(np.concatenate(kernels), np.concatenate(biases), layer)
            for kernels, biases in (
                zip(*group, strict=True) for group in zip(*groups_of_each, strict=True)
            )
        ]

    def __call__(self, chunks: list[tf.Tensor]) -> list[tf.Tensor]:
        if self.as_convolution:
            return [self._convolve(_join(chunks))]
        chunks = regroup(chunks, self.groups)
        return [dense(chunk) for dense, chunk in zip(self.groups_dense, chunks, strict=True)]

    def _convolve(self, x: tf.Tensor) -> tf.Tensor:
        """All groups at once, the tokens as a row of pixels: kernel `[1, 1, in / groups, out]`."""
        for dense, chunk in zip(self.groups_dense, regroup([x], self.groups), strict=True):
            if dense.observer is not None:
                dense.observer(dense, chunk)
        kernel = tf.concat([tf.transpose(dense.kernel) for dense in self.groups_dense], axis=1)
        bias = tf.concat([dense.bias for dense in self.groups_dense], axis=0)
        with tf.name_scope(f"{self.layer}/"):
            row = tf.reshape(x, [1, 1, -1, x.shape[-1]])
            row = tf.nn.conv2d(row, kernel[tf.newaxis, tf.newaxis], 1, "VALID") + bias
            return tf.reshape(row, [1, -1, kernel.shape[1]])


class Attention(tf.Module):
    """Self-attention on chunks: an independent attention for each group of heads where groups allow it.

    Args:
        attention: the trained layer.
        first_token_only: whether only the first token's output is computed.
        before: the norm whose `normalize` gives the input.
        layer: the prefix of names in the file.
        as_convolution: one attention over all heads, from three CONV_2Ds.
    """

    def __init__(
        self,
        attention: Any,
        first_token_only: bool,
        before: LayerNorm,
        layer: str,
        as_convolution: bool,
    ) -> None:
        super().__init__()
        config = attention.config
        self.head_size, self.first_token_only = config.head_size, first_token_only
        query, key, value = attention.query, attention.key, attention.value
        scale = config.head_size**-0.5

        def stacked(*projections: GroupedConv1D, scales: Sequence[float] = ()) -> Projection:
            name = f"{layer}/{'_'.join(projection.name for projection in projections)}"
            return Projection(
                name, *projections, scales=scales, after=before, as_convolution=as_convolution
            )

        groups = {query.groups, key.groups, value.groups}
        # With whole heads in each group, attention never leaves the group.
        whole_heads = config.num_attention_heads % query.groups == 0
        self.fused = len(groups) == 1 and whole_heads and not as_convolution
        if not self.fused:
            self.sources = [stacked(query, scales=[scale]), stacked(key), stacked(value)]
        elif first_token_only:
            self.sources = [stacked(query, scales=[scale]), stacked(key, value)]
        else:
            self.sources = [stacked(query, key, value, scales=[scale, 1.0, 1.0])]
        self.members = [3] if len(self.sources) == 1 else [1, 2] if self.fused else [1, 1, 1]

    @property
    def parts(self) -> list[list[tuple[Dense, slice]]]:
        """Queries, keys and values, each as the matmuls (one per group) and kernel rows that compute it."""
        parts = []
        for source, members in zip(self.sources, self.members, strict=True):
            rows = source.groups_dense[0].kernel.shape[0] // members
            slices = [slice(rows * member, rows * (member + 1)) for member in range(members)]
            parts += [[(dense, rows_of) for dense in source.groups_dense] for rows_of in slices]
        return parts

    def __call__(self, chunks: list[tf.Tensor], mask_bias: tf.Tensor) -> list[tf.Tensor]:
        queried = [first_token(chunk) for chunk in chunks] if self.first_token_only else chunks
        if self.fused:
            queried, chunks = (regroup(x, self.sources[0].groups) for x in (queried, chunks))
        heads: list[list[tf.Tensor]] = [[] for _ in range(len(chunks) if self.fused else 1)]
        for index, (source, members) in enumerate(zip(self.sources, self.members, strict=True)):
            outputs = source(queried if index == 0 else chunks)
            if not self.fused:
                outputs = regroup(outputs, 1)
            heads = heads if len(heads) == len(outputs) else [[] for _ in outputs]
            for part, output in zip(heads, outputs, strict=True):
                part.extend(split(self._to_heads(output), members, axis=1))
        # Heads are joined before one transpose: four transposes before the concatenation take 2% longer.
        context = _join([self._attend(q, k, v, mask_bias) for q, k, v in heads], axis=1)
        channels = context.shape[1] * self.head_size
        return [tf.reshape(tf.transpose(context, [0, 2, 1, 3]), [1, -1, channels])]

    def _to_heads(self, x: tf.Tensor) -> tf.Tensor:
        """`[1, length, heads * head_size]` -> `[1, heads, length, head_size]`."""
        heads = x.shape[-1] // self.head_size
        return tf.transpose(tf.reshape(x, [1, -1, heads, self.head_size]), [0, 2, 1, 3])

    def _attend(
        self, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, mask_bias: tf.Tensor
    ) -> tf.Tensor:
        """All arguments and the context are `[1, heads, length, head_size]`."""
        scores = tf.matmul(query, key, transpose_b=True) + mask_bias
        return tf.matmul(tf.nn.softmax(scores), value)


class DepthwiseMixer(tf.Module):
    """The depthwise half of a separable convolution: DEPTHWISE_CONV_2D over the tokens as a row of pixels.

    Its few weights stay float in `int8`: XNNPACK has no kernel for int8 ones with float activations.
    """

    def __init__(self, layer: keras.layers.DepthwiseConv1D) -> None:
        super().__init__()
        self.kernel = tf.Variable(to_numpy(layer.kernel)[np.newaxis], trainable=False)

    def __call__(self, chunks: list[tf.Tensor], mask: tf.Tensor) -> list[tf.Tensor]:
        """`chunks` is one chunk of all channels; `mask` has ones and zeros, `[1, length, 1]`."""
        (hidden,) = chunks
        channels = hidden.shape[-1]
        # Reshapes, because XNNPACK runs neither slices nor new axes of a dynamic length.
        row = tf.reshape(hidden * mask, [1, 1, -1, channels])
        row = tf.nn.depthwise_conv2d(row, self.kernel, [1, 1, 1, 1], "SAME")
        return [tf.reshape(row, [1, -1, channels])]


class Block(tf.Module):
    """One encoder block, from one norm's `normalize` to the next one's.

    Args:
        block: the trained block.
        first_token_only: whether only the first token's output is computed, `[1, 1, hidden]`.
        before: the norm before the block, whose gain and offset the block applies.
        layer: the prefix of names in the file.
        as_convolution: see `Projection`.
    """

    def __init__(
        self,
        block: Any,
        first_token_only: bool,
        before: LayerNorm,
        layer: str,
        as_convolution: bool,
    ) -> None:
        super().__init__()
        self.first_token_only, self.before = first_token_only, before
        self.attends = block.config.token_mixer == "self_attention"
        if self.attends:
            self.mixer = Attention(block.attention, first_token_only, before, layer, as_convolution)
        else:
            self.mixer = DepthwiseMixer(block.squeeze)

        def projection(trained: GroupedConv1D, **norms: LayerNorm) -> Projection:
            name = f"{layer}/{trained.name}"
            return Projection(name, trained, as_convolution=as_convolution, **norms)

        self.post_attention = projection(block.post_attention, residual=before)
        self.post_attention_norm = between = LayerNorm(block.post_attention_norm)
        self.intermediate = projection(block.intermediate, after=between)
        self.activation = ACTIVATIONS[block.config.hidden_act]
        self.output_projection = projection(block.output_projection, residual=between)
        self.output_norm = LayerNorm(block.output_norm)

    def __call__(self, normal: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        between = self.post_attention_norm
        # The convolution pads with zeros, so its input needs gain and offset applied.
        context = self.mixer([normal if self.attends else self.before.finish(normal)], mask)
        if self.first_token_only:
            normal = first_token(normal)
        context = _join(self.post_attention(context))
        normal = between.normalize(normal * self.before.gain + context)
        update = _join(self._feed_forward(normal))
        return self.output_norm.normalize(normal * between.gain + update)

    def _feed_forward(self, normal: tf.Tensor) -> list[tf.Tensor]:
        first, second = self.intermediate, self.output_projection
        if first.as_convolution or first.groups != second.groups:
            return second([self.activation(chunk) for chunk in first([normal])])
        # Both layers of a group, then the next group: the values between them stay in the cache (1% in int8).
        chunks = regroup([normal], first.groups)
        groups = zip(first.groups_dense, second.groups_dense, chunks, strict=True)
        return [contract(self.activation(expand(chunk))) for expand, contract, chunk in groups]


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
    """The same channels as `groups` chunks."""
    if len(chunks) == groups:
        return chunks
    return split(_join(chunks), groups, axis=-1)


def split(x: tf.Tensor, parts: int, axis: int) -> list[tf.Tensor]:
    """`x` in `parts` equal parts; one part is no operation, since XNNPACK has no SPLIT with one output."""
    return [x] if parts == 1 else tf.split(x, parts, axis=axis)


def first_token(x: tf.Tensor) -> tf.Tensor:
    """`[1, length, channels]` -> `[1, 1, channels]`.

    XNNPACK runs this SLICE of constant size at any length, but not the STRIDED_SLICE of an index.
    """
    return tf.slice(x, [0, 0, 0], [1, 1, x.shape[-1]])


def _join(chunks: list[tf.Tensor], axis: int = -1) -> tf.Tensor:
    return chunks[0] if len(chunks) == 1 else tf.concat(chunks, axis=axis)


# The converter turns a composite of this name into EMBEDDING_LOOKUP, whose int8 table, unlike that of GATHER,
# may have a scale per row (tensorflow/compiler/mlir/lite, prepare_composite_functions_tf).
@tf.function(experimental_implements="embedding_matmul")
def look_up(table: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    return tf.gather(table, ids)


def to_numpy(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable).astype(np.float32)


def _split_weights(
    layer: GroupedConv1D, scale: float, after: LayerNorm | None, residual: LayerNorm | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The kernel `[out / groups, in / groups]` and bias `[out / groups]` of each group, see `Projection`."""
    kernels = np.split(to_numpy(layer.kernel)[0].T * np.float32(scale), layer.groups)
    biases = np.split(to_numpy(layer.bias) * np.float32(scale), layer.groups)
    if after is not None:
        gains, offsets = (np.split(x.numpy(), layer.groups) for x in (after.gain, after.offset))
        biases = [b + k @ offset for k, b, offset in zip(kernels, biases, offsets, strict=True)]
        kernels = [k * gain for k, gain in zip(kernels, gains, strict=True)]
    if residual is not None:
        offsets = np.split(residual.offset.numpy(), layer.groups)
        biases = [b + offset for b, offset in zip(biases, offsets, strict=True)]
    return list(zip(kernels, biases, strict=True))
