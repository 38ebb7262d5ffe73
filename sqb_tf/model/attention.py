"""The products of self-attention, their gradients in fewer passes over the scores than TensorFlow's own."""

from __future__ import annotations

from typing import Any

from keras import ops


@ops.custom_gradient
def scores_of(query: Any, key: Any) -> Any:
    """`query @ key^T`: `[batch, heads, length, head_size]` -> `[batch, heads, queries, length]`.

    Left to itself TensorFlow makes the gradient of `key` transposed, and turns it in a pass of its own.
    """

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
        upstream = args[0] if upstream is None else upstream
        return ops.matmul(upstream, key), ops.matmul(_transposed(upstream), query)

    return ops.matmul(query, _transposed(key)), gradient


def context_of(scores: Any, value: Any, factors: Any = None) -> Any:
    """`softmax(scores) * factors @ value`: `[batch, heads, queries, head_size]`.

    `factors`, shaped as `scores`, are dropout's: 0 for what is dropped. They get no gradient.
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
        by_weights = ops.matmul(upstream, _transposed(value))
        # What the softmax takes away, a sum over the keys of `by_weights * weights`, is this sum over the
        # head's channels, which are fewer (Dao et al. 2022, arXiv 2205.14135, appendix B.2).
        share = ops.sum(upstream * context, axis=-1, keepdims=True)
        by_scores = (by_weights * factors - share) * probabilities
        by_value = ops.matmul(_transposed(weights), upstream)
        return by_scores, by_value, ops.zeros_like(factors)

    return context, gradient


def _transposed(x: Any) -> Any:
    return ops.transpose(x, (0, 1, 3, 2))
