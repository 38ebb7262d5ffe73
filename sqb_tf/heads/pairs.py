"""What an embedder learns from: pairs of texts, whose vectors are compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sqb_tf.data.example import Example, TextPair, texts_of
from sqb_tf.errors import InputError
from sqb_tf.heads.embedding import EmbeddingHead, unit
from sqb_tf.heads.head import Outputs, Request
from sqb_tf.heads.long_texts import LONG_TEXTS, TRUNCATE
from sqb_tf.heads.task_head import IndexedHead
from sqb_tf.text.encoder import TextEncoder

if TYPE_CHECKING:
    from sqb_tf.training.options import FinetuneOptions


@dataclasses.dataclass(frozen=True, eq=False)
class TextOfPair(Request):
    """An input of one text of a pair, 0 or 1."""

    text: int


@dataclasses.dataclass(frozen=True, eq=False)
class ComparedPair:
    """The result for a pair: the vector of each text, of length 1, `[2, hidden]`.

    `truncated` counts the tokens of both that the model has not seen.
    """

    vectors: np.ndarray
    truncated: int = 0

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

    @classmethod
    def training_settings(
        cls, settings: Mapping[str, Any], options: FinetuneOptions
    ) -> dict[str, Any]:
        if options.long_texts not in (None, TRUNCATE):
            raise InputError(
                f"{LONG_TEXTS} {options.long_texts}: an embedder learns from the beginning of a text: leave "
                "it out; predict and evaluate --long-texts windows read all of it"
            )
        return super().training_settings(settings, options)

    def _encode(
        self, rows: Sequence[TextPair], encoder: TextEncoder
    ) -> Sequence[Sequence[Request]]:
        return [
            [
                TextOfPair(request.inputs, i, truncated=request.truncated)
                for i, text in enumerate(row)
                for request in self._requests(text or "", None, encoder)
            ]
            for row in rows
        ]

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
        vectors = [
            self.mean_output([o for r, o in zip(requests, outputs, strict=True) if r.text == i])
            for i in (0, 1)
        ]
        return ComparedPair(unit(np.stack(vectors)), sum(r.truncated for r in requests))

    def decisions(self, result: ComparedPair) -> list[Any]:
        """None: a bundle is verified by the vectors of single texts."""
        return []

    def format_prediction(self, result: ComparedPair, names: Mapping[str, str]) -> str:
        return f"{result.cosine:.4f}"
