"""A vector for a text, near those of similar texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.example import TextPair
from sqb_tf.errors import InputError
from sqb_tf.heads.head import Head, Output, Outputs
from sqb_tf.heads.long_texts import LONG_TEXTS

# How the tokens' states become one vector: their mean, or the first one.
POOLINGS = ("mean", "first")


class EmbeddingHead(Head):
    """A vector for a text. Two models agree on a text if both find the same other text nearest to it.

    Settings: `pooling`, one of `POOLINGS`; `normalize`, whether vectors have length 1; `long_texts`, see
    `long_texts.POLICIES`: the vector of several windows is their mean.
    """

    name = "embedding"
    keras_class = "sqb_tf.model.heads.SqueezeBertEmbedder"
    keras_settings: ClassVar[tuple[str, ...]] = ("pooling", "normalize")
    decoding_settings: ClassVar[tuple[str, ...]] = (LONG_TEXTS,)
    outputs: ClassVar[tuple[Output, ...]] = (Output("embedding"),)
    hf_class = "Model"
    opens_in_mediapipe = True

    def __post_init__(self) -> None:
        super().__post_init__()
        pooling, normalize = self.settings.get("pooling"), self.settings.get("normalize")
        if pooling not in (None, *POOLINGS):
            raise InputError(f"pooling {pooling!r}: expected one of {', '.join(POOLINGS)}")
        if not isinstance(normalize, (bool, type(None))):
            raise InputError(f"normalize {normalize!r}: expected true or false")

    @classmethod
    def fits_folder(cls, num_labels: int, problem_type: str | None) -> bool:
        return False  # its weights are an encoder's: a folder does not say which of the two it is

    def decode(
        self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]
    ) -> np.ndarray:
        vector = self.mean_output(outputs)
        is_mean = len(outputs) > 1 and self.settings.get("normalize") is not False
        return vector / np.linalg.norm(vector) if is_mean else vector

    def agreement(self, expected: Sequence[np.ndarray], actual: Sequence[np.ndarray]) -> float:
        return float(np.mean(_nearest(np.stack(expected)) == _nearest(np.stack(actual))))


def _nearest(vectors: np.ndarray) -> np.ndarray:
    """For each row of `[n, hidden]`, the index of the other row at the smallest angle."""
    vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    return similarity.argmax(-1)


HEAD = EmbeddingHead
