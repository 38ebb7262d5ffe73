"""The matmuls of self-attention, with gradients that read the scores fewer times than TensorFlow's own."""

from __future__ import annotations

from typing import Any

from keras import ops


@ops.custom_gradient
def attention_scores(query: Any, key: Any) -> Any:
    """`query @ key^T`, `[batch, heads, queries, length]`.

    TensorFlow's own gradient of `key` is computed transposed and then transposed back in a separate pass.

    Args:
        query: `[batch, heads, queries, head_size]`.
        key: `[batch, heads, length, head_size]`.
    """

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
        upstream = args[0] if upstream is None else upstream
        return ops.matmul(upstream, key), ops.matmul(_transpose(upstream), query)

    return ops.matmul(query, _transpose(key)), gradient


def attention_context(scores: Any, value: Any, factors: Any = None) -> Any:
    """`softmax(scores) * factors @ value`, `[batch, heads, queries, head_size]`.

    Args:
        scores: `[batch, heads, queries, length]`.
        value: `[batch, heads, length, head_size]`.
        factors: dropout's factors, shaped as `scores` and 0 for dropped elements; None: no dropout. They
            receive no gradient.
    """
    if factors is None:
        return ops.matmul(ops.softmax(scores, axis=-1), value)
    return _dropped_context(scores, value, factors)


@ops.custom_gradient
def _dropped_context(scores: Any, value: Any, factors: Any) -> Any:
    probabilities = ops.softmax(scores, axis=-1)
    weights = probabilities * factors
    context = ops.matmul(weights, value)

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any, Any]:
        upstream = args[0] if upstream is None else upstream
        weights_gradient = ops.matmul(upstream, _transpose(value))
        # The softmax's gradient subtracts the sum of `weights_gradient * weights` over the keys. It equals
        # this sum over the head's channels, which are fewer (Dao et al. 2022, arXiv 2205.14135, app. B.2).
        mean_gradient = ops.sum(upstream * context, axis=-1, keepdims=True)
        scores_gradient = (weights_gradient * factors - mean_gradient) * probabilities
        value_gradient = ops.matmul(_transpose(weights), upstream)
        return scores_gradient, value_gradient, ops.zeros_like(factors)

    return context, gradient


def _transpose(x: Any) -> Any:
    return ops.transpose(x, (0, 1, 3, 2))
