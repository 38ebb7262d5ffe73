"""Training with the numbers of a quantized file: rounded in the forward pass, exact in the update.

The straight-through estimator (Bengio et al. 2013, arXiv 1308.3432, section 3). Of weights by exchange:
before a step each is rounded, after it the exact one moves by what the step did to the rounded one, so
that optimizer and backend know nothing of it. Of what the blocks' projections are given, inside them.

Both are as in the file, where a norm's gain is in the weights behind it: a kernel is rounded times the gain,
an input before it. Left float are the products of attention itself and what the pooler and heads are given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from sqb_tf.training.fake_quantization import rounded_activation, rounded_weight
from sqb_tf.training.options import QUANTIZE_AWARE

# A channel whose gain is under it says nothing: it is rounded as it is.
_SMALLEST_GAIN = 1e-6


class QuantizationAware(keras.callbacks.Callback):
    """Rounds weights for every training step, and wherever `applied` says so; activations always.

    The first of all callbacks: what others see at the end of a step is exact again. The model
    keeps its rounded activations: what is to be exact is a new one with its weights.

    Args:
        model: of `sqb_tf.model.heads`; changed.
        recipe: of `options.QUANTIZE_AWARE`.
    """

    def __init__(self, model: Any, recipe: str) -> None:
        super().__init__()
        self._recipe = QUANTIZE_AWARE[recipe]
        self._weights = [weight for weight in model.trainable_variables if _is_rounded(weight)]
        self._projections = {}  # by kernel
        for layer, norm in projections(model):
            self._projections[id(layer.kernel)] = layer, norm
            _round_inputs(layer, norm, self._recipe.per_token)
        self._exact: list[Any] = []
        self._rounded: list[Any] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._exact = [ops.copy(weight) for weight in self._weights]
        self._rounded = self._round()
        self._assign(self._rounded)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        moved = zip(self._weights, self._exact, self._rounded, strict=True)
        self._assign([exact + (weight - before) for weight, exact, before in moved])

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The weights rounded: to judge the model by what its file will answer."""
        exact = [ops.copy(weight) for weight in self._weights]
        self._assign(self._round())
        try:
            yield
        finally:
            self._assign(exact)

    def _assign(self, values: list[Any]) -> None:
        for weight, value in zip(self._weights, values, strict=True):
            weight.assign(value)

    def _round(self) -> list[Any]:
        """All of them, as they are now."""
        recipe, found = self._recipe, []
        for weight in self._weights:
            if weight.path.endswith("/embeddings"):
                axes = (-1,) if recipe.per_token else None
                found.append(rounded_weight(weight, recipe.table_bits, axes))
                continue
            # A scale for each output channel.
            layer, norm = self._projections.get(id(weight), (None, None))
            bits = 8 if layer is None else recipe.kernel_bits
            gain = 1.0 if norm is None else _kernel_gain(layer, norm)
            axes = tuple(range(len(weight.shape) - 1))
            found.append(rounded_weight(weight, bits, axes, gain))
        return found


def projections(model: Any) -> Iterator[tuple[Any, Any]]:
    """The blocks' projections, each with the norm whose output it is given, or None."""
    backbone = getattr(model, "backbone", model)
    norm = backbone.embeddings.layer_norm
    for block in backbone.blocks:
        if block.config.token_mixer == "self_attention":
            attention = block.attention
            yield from ((part, norm) for part in (attention.query, attention.key, attention.value))
        yield block.post_attention, None
        yield block.intermediate, block.post_attention_norm
        yield block.output_projection, None
        norm = block.output_norm


def _is_rounded(weight: Any) -> bool:
    """Kernels and tables; depthwise kernels stay float."""
    kernel = weight.path.endswith("/kernel") and "/squeeze/" not in weight.path
    return kernel or weight.path.endswith("/embeddings")


def _float(variable: Any) -> Any:
    return ops.cast(
        ops.convert_to_tensor(variable), "float32"
    )  # a layer's precision may be another


def _gain(norm: Any) -> Any:
    gain = _float(norm.gamma)
    return ops.where(ops.abs(gain) < _SMALLEST_GAIN, 1.0, gain)


def _kernel_gain(layer: Any, norm: Any) -> Any:
    """The gain of each weight's input, `[1, in / groups, out]`: outputs of group j read its channels."""
    gains = ops.reshape(_gain(norm), (layer.groups, -1))
    return ops.transpose(ops.repeat(gains, layer.filters // layer.groups, axis=0))[None]


def _round_inputs(layer: Any, norm: Any, per_token: bool) -> None:
    """Each group's input of a projection, in its own range."""
    project = layer.project

    def rounding(groups: list[Any], **scales: Any) -> list[Any]:
        size = len(groups)
        gains = [1.0] * size if norm is None else ops.split(_gain(norm), size)
        offsets = [0.0] * size if norm is None else ops.split(_float(norm.beta), size)
        parts = zip(groups, gains, offsets, strict=True)
        outputs = project([rounded_activation(x, per_token, *its) for x, *its in parts], **scales)
        return outputs if per_token else [rounded_activation(x, per_token) for x in outputs]

    layer.project = rounding
