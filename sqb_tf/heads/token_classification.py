"""Tags of words, from the scores of tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.conll import OUTSIDE
from sqb_tf.data.example import Example, TextPair
from sqb_tf.heads.head import Output, Outputs, Request
from sqb_tf.heads.judgement import Judgement
from sqb_tf.heads.metrics import entity_f1, tag_accuracy
from sqb_tf.heads.task_head import TaskHead
from sqb_tf.text.encoder import TextEncoder


@dataclasses.dataclass(frozen=True)
class Tagging:
    """The result for one text of tagged words: each word with its tag."""

    words: tuple[str, ...]
    tags: tuple[str, ...]

    def line(self, text: str, pair: str | None) -> str:
        """For people: every word with its tag."""
        return " ".join(f"{word}/{tag}" for word, tag in zip(self.words, self.tags, strict=True))


@dataclasses.dataclass(frozen=True, eq=False)
class WordsRequest(Request):
    """A text with the position of each word's first token in the inputs, `[words]`; -1: it has none."""

    positions: np.ndarray


class TokenClassificationHead(TaskHead):
    """A tag for each word; a text is its words separated by single spaces, its label their tags."""

    name = "token_classification"
    keras_class = "sqb_tf.model.heads.SqueezeBertTokenClassifier"
    outputs = (Output("probabilities", per_token=True, activation="softmax"),)
    hf_class = "ForTokenClassification"
    hf_layers: ClassVar = {"token_head": "classifier"}
    metrics: ClassVar = {"entity_f1": entity_f1, "tag_accuracy": tag_accuracy}
    judges_classes = True
    target_dtype = "string"

    def read_labels(self, example: Example, source: str) -> list[str]:
        return example.label_text.split(" ")

    def _references(self, examples: Sequence[Example]) -> list[list[str]]:
        return [e.label_text.split(" ") for e in examples]

    def target(self, example: Example) -> str:
        return " ".join(str(self.label_ids[tag]) for tag in example.label_text.split(" "))

    def batch(self, preprocessor: Any, inputs: Any, texts: Any, targets: Any) -> tuple:
        return inputs, *preprocessor.tag_targets(texts, targets, preprocessor.length(inputs))

    def _encode(
        self, rows: Sequence[TextPair], encoder: TextEncoder
    ) -> Sequence[Sequence[Request]]:
        return [[WordsRequest(*encoder.words(text))] for text, _ in rows]

    def decode(self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]) -> Tagging:
        (scores,) = outputs[0].values()
        (request,) = requests
        return Tagging(tuple(row[0].split(" ")), word_tags(self.labels, scores, request.positions))

    def decisions(self, result: Tagging) -> tuple[str, ...]:
        return result.tags

    def judge(self, example: Example, result: Tagging) -> Iterator[Judgement]:
        """Each entity by its type: one that is right, missed, invented, or of another type."""
        gold, predicted = map(entities, (example.label_text.split(" "), list(result.tags)))
        for span in sorted(gold.keys() | predicted.keys()):
            right, said = gold.get(span, ""), predicted.get(span, "")
            words = " ".join(result.words[span[0] : span[1] + 1])
            yield Judgement(right, said, right == said, part=words)

    def metric_inputs(self, results: Sequence[Tagging]) -> list[list[str]]:
        return [list(result.tags) for result in results]

    def baseline(self, metric: str, references: Any) -> tuple[str, float] | None:
        nothing = [[OUTSIDE] * len(tags) for tags in references]
        return "finding no entity", self.metrics[metric](nothing, references)

    def format_submission(
        self, examples: Sequence[Example], results: Sequence[Tagging], names: Mapping[str, str]
    ) -> Iterator[str]:
        """The lines of a CoNLL file."""
        for result in results:
            yield from (f"{w}\t{tag}" for w, tag in zip(result.words, result.tags, strict=True))
            yield ""


def entities(tags: list[str]) -> dict[tuple[int, int], str]:
    """First and last word -> type of each entity, as `seqeval` reads tags and `entity_f1` counts them."""
    from seqeval.metrics.sequence_labeling import get_entities

    return {(first, last): kind for kind, first, last in get_entities(tags)}


def word_tags(labels: Sequence[str], scores: np.ndarray, positions: np.ndarray) -> tuple[str, ...]:
    """The tag of each word: the best one at its first token.

    Args:
        labels: the tags, in the order of the scores.
        scores: of one text, `[tokens, labels]`.
        positions: of each word's first token, `[words]`; a word at -1 is in no entity.
    """
    best = scores.argmax(-1)
    outside = OUTSIDE if OUTSIDE in labels else labels[0]
    return tuple(labels[best[position]] if position >= 0 else outside for position in positions)


HEAD = TokenClassificationHead
