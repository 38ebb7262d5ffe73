"""What an embedder learns from: pairs of texts, whose vectors are compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.example import Example, TextPair, texts_of
from sqb_tf.heads.embedding import EmbeddingHead, unit
from sqb_tf.heads.head import Outputs, Request
from sqb_tf.heads.task_head import IndexedHead
from sqb_tf.text.encoder import TextEncoder


@dataclasses.dataclass(frozen=True, eq=False)
class ComparedPair:
    """The result for a pair: the vector of each text, of length 1, `[2, hidden]`."""

    vectors: np.ndarray

    @property
    def cosine(self) -> float:
        """Of the angle between the two."""
        return float(self.vectors[0] @ self.vectors[1])


class PairsHead(EmbeddingHead, IndexedHead):
    """An embedder while it learns, and while it is scored, on pairs of texts.

    Its bundles and packages are those of `EmbeddingHead`, which takes single texts: both texts of a pair are
    inputs of their own, in training `[batch, 2, length]`.
    """

    gives_vectors = False
    fixed_labels = ()
    always_paired = True
    takes_single_texts = True
    target_dtype: ClassVar[str] = "float32"

    def _encode(
        self, rows: Sequence[TextPair], encoder: TextEncoder
    ) -> Sequence[Sequence[Request]]:
        return [[Request(encoder.inputs(text or "")) for text in row] for row in rows]

    def ragged(self, preprocessor: Any, texts: Any, pairs: Any) -> tuple[Any, Any]:
        """As for every head, but for each text of a pair: `[n, 2, None]`."""
        return preprocessor.apart(texts, pairs)

    def training_model(self, model: Any) -> Any:
        return model.on_pairs()

    def sample(self, examples: Sequence[Example]) -> list[Example]:
        """As many single texts as there are examples, each once: verification looks for the nearest other."""
        return [Example(text) for text in dict.fromkeys(texts_of(examples))][: len(examples)]

    def decode(self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]) -> Any:
        """The `ComparedPair` of a row."""
        return ComparedPair(unit(np.stack([output["embedding"] for output in outputs])))

    def decisions(self, result: ComparedPair) -> list[Any]:
        """None: a bundle is verified by the vectors of single texts."""
        return []

    def format_prediction(self, result: ComparedPair, names: Mapping[str, str]) -> str:
        return f"{result.cosine:.4f}"
