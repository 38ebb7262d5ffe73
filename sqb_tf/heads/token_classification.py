"""Tags of words, from the scores of tokens; and the entities of plain texts, from those of their words."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.conll import OUTSIDE
from sqb_tf.data.example import Example, TextPair
from sqb_tf.heads.entities import Entities, find_entities
from sqb_tf.heads.head import Output, Outputs, Request
from sqb_tf.heads.judgement import Judgement
from sqb_tf.heads.metrics import entity_f1, tag_accuracy
from sqb_tf.heads.tag_windows import (
    NOT_HERE,
    TaggedTrainingWindows,
    TagWindow,
    tag_windows,
    word_scores,
)
from sqb_tf.heads.tags import outside_tag, tag_spans
from sqb_tf.heads.task_head import TaskHead
from sqb_tf.text.encoder import TextEncoder
from sqb_tf.text.plain_words import plain_words


@dataclasses.dataclass(frozen=True)
class Tagging:
    """The result for one text of tagged words: each word with its tag, and the tag's probability.

    A word of invisible characters has no token: it is surely no entity.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    scores: tuple[float, ...]

    def line(self, text: str, pair: str | None) -> str:
        """For people: every word with its tag."""
        return " ".join(f"{word}/{tag}" for word, tag in zip(self.words, self.tags, strict=True))


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
    table_columns: ClassVar[tuple[str, ...]] = ("tags",)

    @property
    def cuts_windows(self) -> bool:
        return True

    def read_labels(self, example: Example, source: str) -> list[str]:
        return example.label_text.split(" ")

    def _references(self, examples: Sequence[Example]) -> list[list[str]]:
        return [e.label_text.split(" ") for e in examples]

    def training_units(
        self, examples: Iterable[Example], encoder: TextEncoder
    ) -> Iterable[Example]:
        return TaggedTrainingWindows(examples, encoder)

    def target(self, example: Example) -> str:
        tags = example.label_text.split(" ")
        return " ".join(str(-1 if tag == NOT_HERE else self.label_ids[tag]) for tag in tags)

    def batch(self, preprocessor: Any, inputs: Any, texts: Any, targets: Any) -> tuple:
        return inputs, *preprocessor.tag_targets(texts, targets, preprocessor.length(inputs))

    def for_plain_text(self) -> EntityHead:
        return EntityHead(self.labels, self.paired, self.settings)

    def _encode(
        self, rows: Sequence[TextPair], encoder: TextEncoder
    ) -> Sequence[Sequence[Request]]:
        texts = (" ".join(_words(text)) for text, _ in rows)
        return [tag_windows(encoder, *encoder.words(text)) for text in texts]

    def decode(self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]) -> Any:
        words = _words(row[0])
        tags, sure = [outside_tag(self.labels)] * len(words), [1.0] * len(words)
        read, scores = word_scores(requests, outputs)
        for word, best, score in zip(read, scores.argmax(-1), scores.max(-1).tolist(), strict=True):
            tags[word], sure[word] = self.labels[best], score
        return Tagging(words, tuple(tags), tuple(sure))

    def table_cells(self, result: Any) -> tuple[str, ...]:
        """A tag for each word, separated by spaces."""
        return (" ".join(result.tags),)

    def decisions(self, result: Tagging) -> tuple[str, ...]:
        return result.tags

    def judge(self, example: Example, result: Tagging) -> Iterator[Judgement]:
        """Each entity by its type: one that is right, missed, invented, or of another type.

        Its score is the mean probability of its words' tags, as in `find_entities`.
        """
        gold, predicted = (
            {(first, last): kind for kind, first, last in tag_spans(tags)}
            for tags in (example.label_text.split(" "), result.tags)
        )
        for span in sorted(gold.keys() | predicted.keys()):
            right, said = gold.get(span, ""), predicted.get(span, "")
            place = slice(span[0], span[1] + 1)
            score = float(np.mean(result.scores[place]))
            words = " ".join(result.words[place])
            yield Judgement(right, said, right == said, score, part=words)

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


def _words(text: str) -> tuple[str, ...]:
    """The words of a text, separated by one space or more."""
    return tuple(filter(None, text.split(" ")))


@dataclasses.dataclass(frozen=True, eq=False)
class PlainWindow(TagWindow):
    """A part of a plain text; `spans` has the characters of all words of the text, `[words, 2]`."""

    spans: np.ndarray


class EntityHead(TokenClassificationHead):
    """The same model on plain texts, for prediction: their entities, with characters."""

    table_columns = ("entities",)

    def _encode(
        self, rows: Sequence[TextPair], encoder: TextEncoder
    ) -> Sequence[Sequence[Request]]:
        requests = []
        for text, _ in rows:
            plain = plain_words(encoder, text)
            windows = tag_windows(encoder, plain.ids, plain.first)
            requests.append(
                [PlainWindow(w.inputs, w.words, w.positions, plain.spans) for w in windows]
            )
        return requests

    def decode(
        self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]
    ) -> Entities:
        _, scores = word_scores(requests, outputs)
        return find_entities(row[0], self.labels, requests[0].spans, scores)

    def table_cells(self, result: Entities) -> tuple[str, ...]:
        """A list in JSON, as `sqb predict --jsonl` has it."""
        return (json.dumps([vars(e) for e in result.entities], ensure_ascii=False),)


HEAD = TokenClassificationHead
