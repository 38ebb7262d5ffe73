"""The losses of an embedder on pairs of texts, from their vectors `[batch, 2, hidden]` of any length."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

# Cosines times this are the logits of `InBatchNegatives`.
SCALE = 20.0
# In place of the logit of a text that is no negative.
_NEVER = -1e9


@keras.saving.register_keras_serializable(package="sqb_tf")
class CosineDistance(keras.losses.Loss):
    """The squared distance of the two vectors' cosine from the target, `[batch]` (Reimers and Gurevych 2019).

    It is `CosineSimilarityLoss` of sentence-transformers.
    """

    def __init__(self, name: str = "cosine_distance", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each pair, `[batch]`."""
        first, second = _units(y_pred)
        return ops.square(ops.sum(first * second, axis=-1) - ops.reshape(y_true, (-1,)))


@keras.saving.register_keras_serializable(package="sqb_tf")
class InBatchNegatives(keras.losses.Loss):
    """Cross-entropy of each text's own pair among all second texts of the batch (Henderson et al. 2017).

    Logits are cosines times `scale`. It is `MultipleNegativesRankingLoss` of sentence-transformers, but for
    texts that occur twice in a batch, whose ids are equal in the targets `[batch, 2]`: the pair of an equal
    text, and an equal second text, are no negatives.
    """

    def __init__(
        self, scale: float = SCALE, name: str = "in_batch_negatives", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.scale = scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each pair, `[batch]`."""
        first, second = _units(y_pred)
        logits = self.scale * ops.matmul(first, ops.transpose(second))
        own = ops.eye(ops.shape(logits)[0])
        logits = ops.where(_same_texts(y_true) & (own == 0), _NEVER, logits)
        return ops.logsumexp(logits, axis=-1) - ops.sum(own * logits, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


def _units(vectors: Any) -> tuple[Any, Any]:
    """The first and the second vectors `[batch, hidden]`, of length 1."""
    units = ops.normalize(vectors, axis=-1)
    return units[:, 0], units[:, 1]


def _same_texts(ids: Any) -> Any:
    """Whether pair j has a text of pair i that makes its second text no negative of i, `[batch, batch]`."""
    first, second = ids[:, 0], ids[:, 1]
    same = (first[:, None] == first[None]) | (second[:, None] == second[None])
    return same | (first[:, None] == second[None])
