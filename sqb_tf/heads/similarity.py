"""How an embedder learns from scored pairs: the cosine of two texts' vectors is their similarity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.heads.embedding import SCORE_RANGE
from sqb_tf.heads.judgement import Judgement
from sqb_tf.heads.metrics import pearson, spearman
from sqb_tf.heads.pairs import ComparedPair, PairsHead
from sqb_tf.heads.regression import check_number


class SimilarityHead(PairsHead):
    """Scored pairs, as STS-B has them. The lowest score in train is a cosine of 0, the highest one of 1."""

    metrics: ClassVar = {"spearman": spearman, "pearson": pearson}

    @property
    def judges_examples(self) -> bool:
        """Not by an embedder that was never trained on scores: it has cosines alone."""
        return SCORE_RANGE in self.settings

    def read_labels(self, example: Example, source: str) -> Iterable[str]:
        check_number(example, source)
        return ()

    def number(self, example: Example) -> float:
        return float(example.label_text)

    @classmethod
    def settings_for(cls, numbers: tuple[float, float] | None) -> dict[str, Any]:
        """The range of the scores; `InputError` if all of them are the same."""
        low, high = numbers or (0.0, 0.0)
        if not low < high:
            raise InputError(
                f"every training pair has the score {low:g}: expected scores that differ; pairs that belong "
                "together, without scores, go with --task retrieval"
            )
        return {SCORE_RANGE: [low, high]}

    def target(self, example: Example) -> float:
        """The cosine that the score stands for."""
        low, high = self.score_range
        return (self.number(example) - low) / (high - low)

    def compile_arguments(self) -> dict[str, Any]:
        from sqb_tf.model.pair_losses import CosineDistance  # late: it imports Keras

        return {"loss": CosineDistance()}

    def judge(self, example: Example, result: ComparedPair) -> Iterable[Judgement]:
        """Beyond rounding, any score but the right one is off."""
        low, high = self.score_range
        score = low + (high - low) * result.cosine
        distance = abs(score - self.number(example))
        yield Judgement(example.label_text, f"{score:.4f}", distance < 5e-5, distance)

    def metric_inputs(self, results: Sequence[ComparedPair]) -> np.ndarray:
        """The cosines, `[n]`."""
        return np.array([result.cosine for result in results])

    def loss(self, results: Sequence[ComparedPair], references: Any) -> float | None:
        """Squared error of the cosine."""
        return float(np.square(self.metric_inputs(results) - references).mean())

    def baseline(self, metric: str, references: Any) -> tuple[str, float] | None:
        return "giving all pairs the same score", 0.0


LEARNER = SimilarityHead
