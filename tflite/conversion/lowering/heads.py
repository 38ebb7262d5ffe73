"""The heads of the lowered model: the last block's states `[1, tokens, hidden]` -> named outputs.

Each takes the trained model and the word embeddings of the lowered one, and is called with the states and
the mask `[1, tokens]` in float32. Its outputs are those of the description in `sqb_tf.heads` with its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from .layers import (
    ACTIVATIONS,
    Dense,
    LayerNorm,
    first_token,
    to_numpy,
)

Outputs = dict[str, tf.Tensor]


def _dense(layer: Any, name: str) -> Dense:
    return Dense(to_numpy(layer.kernel).T, to_numpy(layer.bias), name)


def _token_sum(hidden: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The sum of all tokens except padding, `[1, hidden]`."""
    return tf.reduce_sum(hidden * mask[..., tf.newaxis], axis=1)


def _token_mean(hidden: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The mean of all tokens except padding, `[1, hidden]`; 0 for a text without tokens."""
    return _token_sum(hidden, mask) / tf.maximum(tf.reduce_sum(mask), 1.0)


class Pooler(tf.Module):
    """The first token or the mean, as the config says, through the dense tanh layer: `[1, hidden]`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        backbone = getattr(model, "backbone", model)
        self.first_token = backbone.config.pools_first_token
        self.dense = _dense(backbone.pooler, "pooler")

    def __call__(self, hidden: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        return tf.tanh(self.dense(self._pool(hidden, mask)))

    def _pool(self, hidden: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        if not self.first_token:
            return _token_mean(hidden, mask)
        # With one token there is nothing to slice: a reshape is free, a slice would be an operation.
        return tf.reshape(hidden if hidden.shape[1] == 1 else first_token(hidden), [1, -1])


class PooledHead(tf.Module):
    """`logits` `[1, 1]`: a regression's, or those of one choice."""

    def __init__(self, model: Any, word_table: tf.Variable) -> None:
        super().__init__()
        self.pooler, self.dense = Pooler(model), _dense(model.head, "head")

    def __call__(self, hidden: tf.Tensor, mask: tf.Tensor) -> Outputs:
        return {"logits": self._logits(hidden, mask)}

    def _logits(self, hidden: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        return self.dense(self.pooler(hidden, mask))


class ClassificationHead(PooledHead):
    """`probabilities` `[1, labels]`."""

    def __call__(self, hidden: tf.Tensor, mask: tf.Tensor) -> Outputs:
        return {"probabilities": tf.nn.softmax(self._logits(hidden, mask))}


class MultiLabelHead(PooledHead):
    """`probabilities` `[1, labels]`, each by itself."""

    def __call__(self, hidden: tf.Tensor, mask: tf.Tensor) -> Outputs:
        return {"probabilities": tf.sigmoid(self._logits(hidden, mask))}


class TokenHead(tf.Module):
    """`probabilities` `[1, tokens, labels]`."""

    def __init__(self, model: Any, word_table: tf.Variable) -> None:
        super().__init__()
        self.dense = _dense(model.head, "head")

    def __call__(self, hidden: tf.Tensor, mask: tf.Tensor) -> Outputs:
        return {"probabilities": tf.nn.softmax(self.dense(hidden))}


class SpanHead(tf.Module):
    """`start_logits` and `end_logits`, each `[1, tokens]`."""

    def __init__(self, model: Any, word_table: tf.Variable) -> None:
        super().__init__()
        kernel, bias = to_numpy(model.head.kernel).T, to_numpy(model.head.bias)
        self.start = Dense(kernel[:1], bias[:1], "head/start")
        self.end = Dense(kernel[1:], bias[1:], "head/end")

    def __call__(self, hidden: tf.Tensor, mask: tf.Tensor) -> Outputs:
        return {
            "start_logits": tf.reshape(self.start(hidden), [1, -1]),
            "end_logits": tf.reshape(self.end(hidden), [1, -1]),
        }


class MaskedLMHead(tf.Module):
    """`logits` `[1, tokens, vocab_size]`. The table is the embeddings' own, so the file has it once."""

    def __init__(self, model: Any, word_table: tf.Variable) -> None:
        super().__init__()
        self.transform = _dense(model.head.transform, "head/transform")
        self.activation = ACTIVATIONS[model.config.hidden_act]
        self.norm = LayerNorm(model.head.norm)
        self.decoder = Dense(word_table, to_numpy(model.head.bias), "head/decoder")

    def __call__(self, hidden: tf.Tensor, mask: tf.Tensor) -> Outputs:
        return {"logits": self.decoder(self.norm(self.activation(self.transform(hidden))))}


class PretrainingHead(MaskedLMHead):
    """The masked LM's `logits` at every token, and `sentence_order_logits` `[1, 2]`."""

    def __init__(self, model: Any, word_table: tf.Variable) -> None:
        super().__init__(model, word_table)
        self.pooler, self.order = Pooler(model), _dense(model.order_head, self.decoder.layer)

    def __call__(self, hidden: tf.Tensor, mask: tf.Tensor) -> Outputs:
        order = self.order(self.pooler(hidden, mask))
        return {**super().__call__(hidden, mask), "sentence_order_logits": order}


class EmbeddingHead(tf.Module):
    """`embedding` `[1, hidden]`, of length 1 unless the model has `normalize=False`."""

    def __init__(self, model: Any, word_table: tf.Variable) -> None:
        super().__init__()
        self.pooling, self.normalize = model.pooling, model.normalize

    def __call__(self, hidden: tf.Tensor, mask: tf.Tensor) -> Outputs:
        if self.pooling == "first":
            pooled = tf.reshape(first_token(hidden), [1, -1])
        elif self.normalize:  # cancels the mean's divisor
            pooled = _token_sum(hidden, mask)
        else:
            pooled = _token_mean(hidden, mask)
        if not self.normalize:
            return {"embedding": pooled}
        # Written out: `l2_normalize` becomes L2_NORMALIZATION, which XNNPACK does not have.
        squares = tf.reduce_sum(pooled * pooled, axis=-1, keepdims=True)
        return {"embedding": pooled * tf.math.rsqrt(tf.maximum(squares, 1e-12))}


class EncoderHead(tf.Module):
    """`sequence_output` `[1, tokens, hidden]` and `pooled_output` `[1, hidden]`."""

    def __init__(self, model: Any, word_table: tf.Variable) -> None:
        super().__init__()
        self.pooler = Pooler(model)

    def __call__(self, hidden: tf.Tensor, mask: tf.Tensor) -> Outputs:
        return {"sequence_output": hidden, "pooled_output": self.pooler(hidden, mask)}


HEADS: dict[str, Callable[[Any, tf.Variable], tf.Module]] = {
    "classification": ClassificationHead,
    "multi_label": MultiLabelHead,
    "regression": PooledHead,
    "token_classification": TokenHead,
    "span": SpanHead,
    "multiple_choice": PooledHead,
    "masked_lm": MaskedLMHead,
    "pretraining": PretrainingHead,
    "embedding": EmbeddingHead,
    "encoder": EncoderHead,
}
