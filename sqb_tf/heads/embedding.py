"""A vector for a text, near those of similar texts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.example import TextPair
from sqb_tf.errors import InputError
from sqb_tf.heads.head import Head, Output, Outputs
from sqb_tf.heads.long_texts import LONG_TEXTS

# How the tokens' states become one vector: their mean, or the first one.
POOLINGS = ("mean", "first")
# The setting of the numbers that cosines of 0 and 1 stand for, and its value where nothing says otherwise.
SCORE_RANGE = "score_range"
COSINES = (0.0, 1.0)
# Two texts are as near to a third one if their cosines with it differ by at most this.
TIE = 0.01
# Values of a vector in a line for people.
SHOWN = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Embedding:
    """The result for one text: its vector, float32 `[hidden]`.

    `truncated` counts the tokens of the text that the model has not seen.
    """

    embedding: np.ndarray
    truncated: int = 0

    def line(self, text: str, pair: str | None) -> str:
        """For people: the length of the vector, its first values, and the text."""
        first = " ".join(f"{value:.4f}" for value in self.embedding[:SHOWN])
        return f"{len(self.embedding)} values: {first} ...\t{text}"


class EmbeddingHead(Head):
    """A vector for a text. Two models agree on a text if both find the same other text nearest to it, or one
    as near.

    Settings: `pooling`, one of `POOLINGS`; `normalize`, whether vectors have length 1; `long_texts`, see
    `long_texts.POLICIES`: the vector of several windows is their mean; `score_range`, of a model trained on
    scored pairs the two numbers that cosines of 0 and 1 stand for.
    """

    name = "embedding"
    keras_class = "sqb_tf.model.heads.SqueezeBertEmbedder"
    keras_settings: ClassVar[tuple[str, ...]] = ("pooling", "normalize")
    decoding_settings: ClassVar[tuple[str, ...]] = (LONG_TEXTS, SCORE_RANGE)
    outputs: ClassVar[tuple[Output, ...]] = (Output("embedding"),)
    gives_vectors = True
    hf_class = "Model"
    opens_in_mediapipe = True

    def __post_init__(self) -> None:
        super().__post_init__()
        pooling, normalize = self.settings.get("pooling"), self.settings.get("normalize")
        if pooling not in (None, *POOLINGS):
            raise InputError(f"pooling {pooling!r}: expected one of {', '.join(POOLINGS)}")
        if not isinstance(normalize, (bool, type(None))):
            raise InputError(f"normalize {normalize!r}: expected true or false")
        low, high = self.score_range
        if not -math.inf < low < high < math.inf:
            raise InputError(f"{SCORE_RANGE} {low} to {high}: expected a lower and a higher number")

    @property
    def score_range(self) -> tuple[float, float]:
        """The numbers that cosines of 0 and 1 stand for."""
        low, high = self.settings.get(SCORE_RANGE, COSINES)
        return float(low), float(high)

    @classmethod
    def fits_folder(cls, num_labels: int, problem_type: str | None) -> bool:
        return False  # its weights are an encoder's: a folder does not say which of the two it is

    def decode(
        self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]
    ) -> Embedding:
        vector = self.mean_output(outputs)
        if len(outputs) > 1 and self.settings.get("normalize") is not False:
            vector = unit(vector)
        return Embedding(vector, requests[0].truncated)

    def agreement(self, expected: Sequence[Embedding], actual: Sequence[Embedding]) -> float:
        """The share of texts whose nearest other text by `actual` is, by `expected`, as near as any.

        "As near" is a cosine within `TIE` of the largest: squeezebert-micro in int8 changes the nearest of
        512 sentences for 2.7% of them, whose cosines differ by at most 0.0043; in int4 for 10%, by 0.068.
        """
        cosines = _cosines(expected)
        nearest = _cosines(actual).argmax(-1)
        chosen = np.take_along_axis(cosines, nearest[:, None], -1)[:, 0]
        return float(np.mean(chosen >= cosines.max(-1) - TIE))


def _cosines(results: Sequence[Embedding]) -> np.ndarray:
    """Of each result with each other one, `[n, n]`; with itself minus infinity."""
    vectors = unit(np.stack([result.embedding for result in results]))
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    return cosines


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors `[..., hidden]` divided by their lengths; one of length 0 stays as it is."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)


HEAD = EmbeddingHead
