"""Quantization-aware training: quantized values in the forward pass, exact weights in the update.

This is the straight-through estimator (Bengio et al. 2013, arXiv 1308.3432, section 3). Weights are rounded
in place before a step; the step's delta is then applied to the full-precision copy, so optimizer and backend
need no change. The inputs of the blocks' projections are rounded inside those layers.

Both are rounded as in the file, which folds a norm's gain into the kernels behind it: a kernel is rounded
after the multiplication by the gain, an input before it. The matmuls of attention itself and the inputs of
pooler and heads stay float.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
from keras import ops

from sqb_tf.quantization import STORAGE, small_table_type, storage_type
from sqb_tf.training.fake_quantization import fake_quantize_activation, fake_quantize_weight

# A channel whose gain is smaller carries no information; it is rounded without its gain.
_MIN_GAIN = 1e-6


class QuantizationAware(keras.callbacks.Callback):
    """Rounds weights during every training step and within `applied`; rounds activations always.

    It must be the first callback, so that the others see the exact weights at the end of a step. The model
    keeps its rounded activations: for an exact model, build a new one and copy the weights.

    Args:
        model: one of `sqb_tf.model.heads`. Its projections are changed in place.
        recipe: one of `sqb_tf.quantization.QUANTIZE_AWARE`.
    """

    def __init__(self, model: keras.Model, recipe: str) -> None:
        super().__init__()
        storage = STORAGE[recipe]
        # The storage types of the blocks' kernels and of the word table; kernels elsewhere have 8 bits.
        self._kernel_type = storage_type(storage.weights, "block_0/intermediate")
        self._table_type = storage_type(storage.weights, "embeddings")
        # Each token has its own scales, for activations and for its row of a table; otherwise all share one.
        self._per_token = storage.activation_bits is None
        self._weights = [weight for weight in model.trainable_variables if _is_quantized(weight)]
        self._projections = {}  # by the kernel's id
        for layer, norm in projections(model):
            self._projections[id(layer.kernel)] = layer, norm
            _quantize_inputs(layer, norm, self._per_token)
        self._exact: list[Any] = []
        self._quantized: list[Any] = []

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self._exact = [ops.copy(weight) for weight in self._weights]
        self._quantized = self._quantize()
        self._assign(self._quantized)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        steps = zip(self._weights, self._exact, self._quantized, strict=True)
        self._assign([exact + (weight - quantized) for weight, exact, quantized in steps])

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Rounds the weights in this context, to evaluate the model as its file will compute."""
        exact = [ops.copy(weight) for weight in self._weights]
        self._assign(self._quantize())
        try:
            yield
        finally:
            self._assign(exact)

    def _assign(self, values: list[Any]) -> None:
        for weight, value in zip(self._weights, values, strict=True):
            weight.assign(value)

    def _quantize(self) -> list[Any]:
        """The current weights, rounded."""
        return [
            self._quantize_table(weight)
            if weight.path.endswith("/embeddings")
            else self._quantize_kernel(weight)
            for weight in self._weights
        ]

    def _quantize_table(self, weight: keras.Variable) -> Any:
        axes = (-1,) if self._per_token else None
        is_words = "/word_embeddings/" in weight.path
        table_type = self._table_type if is_words else small_table_type(self._table_type)
        return fake_quantize_weight(weight, table_type, axes)

    def _quantize_kernel(self, weight: keras.Variable) -> Any:
        """With one scale for each output channel."""
        layer, norm = self._projections.get(id(weight), (None, None))
        kernel_type = "int8" if layer is None else self._kernel_type
        gain = 1.0 if norm is None else _kernel_gain(layer, norm)
        return fake_quantize_weight(weight, kernel_type, tuple(range(len(weight.shape) - 1)), gain)


def projections(model: Any) -> Iterator[tuple[Any, Any]]:
    """The blocks' projections, each with the norm whose output is its input, or None."""
    backbone = getattr(model, "backbone", model)
    norm = backbone.embeddings.layer_norm
    for block in backbone.blocks:
        if backbone.config.token_mixer == "self_attention":
            attention = block.attention
            yield from (
                (layer, norm) for layer in (attention.query, attention.key, attention.value)
            )
        yield block.post_attention, None
        yield block.intermediate, block.post_attention_norm
        yield block.output_projection, None
        norm = block.output_norm


def _is_quantized(weight: keras.Variable) -> bool:
    """Kernels and embedding tables; depthwise kernels stay float."""
    kernel = weight.path.endswith("/kernel") and "/squeeze/" not in weight.path
    return kernel or weight.path.endswith("/embeddings")


def _to_float32(variable: Any) -> Any:
    """The variable as a float32 tensor: under mixed precision layers read it in another dtype."""
    return ops.cast(ops.convert_to_tensor(variable), "float32")


def _gain(norm: Any) -> Any:
    gain = _to_float32(norm.gamma)
    return ops.where(ops.abs(gain) < _MIN_GAIN, 1.0, gain)


def _kernel_gain(layer: Any, norm: Any) -> Any:
    """The gain on each weight's input channel, `[1, in / groups, out]`; group j reads its own channels."""
    gains = ops.reshape(_gain(norm), (layer.groups, -1))
    return ops.transpose(ops.repeat(gains, layer.filters // layer.groups, axis=0))[None]


def _quantize_inputs(layer: Any, norm: Any, per_token: bool) -> None:
    """Makes a projection round each group's input, and outputs too unless `per_token`, in its own range."""
    project = layer.project

    def quantized_project(groups: list[Any], **scales: Any) -> list[Any]:
        size = len(groups)
        gains = [1.0] * size if norm is None else ops.split(_gain(norm), size)
        offsets = [0.0] * size if norm is None else ops.split(_to_float32(norm.beta), size)
        inputs = [
            fake_quantize_activation(x, per_token, gain, offset)
            for x, gain, offset in zip(groups, gains, offsets, strict=True)
        ]
        outputs = project(inputs, **scales)
        return outputs if per_token else [fake_quantize_activation(x, per_token) for x in outputs]

    layer.project = quantized_project
