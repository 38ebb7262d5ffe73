"""How an embedder learns from pairs that belong together: each text is to find its own pair among others."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.example import Example
from sqb_tf.heads.judgement import Judgement
from sqb_tf.heads.metrics import accuracy_at_1, mean_reciprocal_rank
from sqb_tf.heads.pairs import ComparedPair, PairsHead

# Bits of a text's id: float32, in which losses get their targets, holds so many exactly. Of 10,000 pairs of
# dev, some three then have a competitor less.
_ID_BITS = 24


class RetrievalHead(PairsHead):
    """Pairs without labels. What a text must not be near are the other pairs of its batch, or of dev.

    A text's id stands for it: pairs that share a text with another one are no competitors of it.
    """

    metrics: ClassVar = {
        "mean_reciprocal_rank": mean_reciprocal_rank,
        "accuracy_at_1": accuracy_at_1,
    }
    labelled = False
    target_dtype = "int32"
    target_shape = (2,)
    judges_examples = False

    def read_labels(self, example: Example, source: str) -> Iterable[str]:
        return ()

    def target(self, example: Example) -> tuple[int, int]:
        """The ids of both texts."""
        return _text_id(example.text), _text_id(example.pair or "")

    def compile_arguments(self) -> dict[str, Any]:
        from sqb_tf.model.pair_losses import InBatchNegatives  # late: it imports Keras

        return {"loss": InBatchNegatives()}

    def judge(self, example: Example, result: ComparedPair) -> Iterable[Judgement]:
        """None: a pair is right or wrong among all others."""
        return ()

    def metric_inputs(self, results: Sequence[ComparedPair]) -> np.ndarray:
        """The vectors, `[n, 2, hidden]`."""
        return np.stack([result.vectors for result in results])

    def baseline(self, metric: str, references: Any) -> tuple[str, float] | None:
        ranks = np.arange(1, len(references) + 1)
        scores = {"mean_reciprocal_rank": float(np.mean(1 / ranks)), "accuracy_at_1": 1 / ranks[-1]}
        return "a random order", scores[metric]


def _text_id(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % (1 << _ID_BITS)


LEARNER = RetrievalHead
