"""A vector for a text, near those of similar texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.example import TextPair
from sqb_tf.heads.head import Head, Output, Outputs


class EmbeddingHead(Head):
    """A vector of length 1. Two models agree on a text if both find the same other text nearest to it."""

    name = "embedding"
    keras_class = "sqb_tf.model.heads.SqueezeBertEmbedder"
    outputs: ClassVar[tuple[Output, ...]] = (Output("embedding"),)
    hf_class = "SqueezeBertModel"

    @classmethod
    def fits_folder(cls, num_labels: int) -> bool:
        return False  # its weights are an encoder's: a folder does not say which of the two it is

    def decode(
        self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]
    ) -> np.ndarray:
        return outputs[0]["embedding"]

    def agreement(self, expected: Sequence[np.ndarray], actual: Sequence[np.ndarray]) -> float:
        return float(np.mean(_nearest(np.stack(expected)) == _nearest(np.stack(actual))))


def _nearest(vectors: np.ndarray) -> np.ndarray:
    """For each row of `[n, hidden]`, the index of the other row at the smallest angle."""
    vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    return similarity.argmax(-1)


HEAD = EmbeddingHead
