"""Answers to questions as spans of a context: windows of it, training targets, decoding.

As BERT does for SQuAD (Devlin et al. 2019, sections 4.2 and 4.3, and its run_squad.py), but for two things:
windows begin and end between words, so that a window is a text like any other; and an answer is a slice of
the context to the character, not to the word.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sqb_tf.data.example import Example
from sqb_tf.data.squad import parse_answers
from sqb_tf.errors import InputError
from sqb_tf.heads.head_type import (
    Outputs,
    Passage,
    Row,
    TaskKind,
)
from sqb_tf.heads.metrics import answer_f1, exact_match
from sqb_tf.text.encoder import TextEncoder

# Of run_squad.py: tokens of a question, and of a step from window to window.
MAX_QUESTION, DOC_STRIDE = 64, 128
# Questions that are cut into windows at once.
BLOCK = 512
EMPTY = (0, 0)
# Share of the best answer's probability from which on another one ties with it: 0.1 in logits. Among
# hundreds of spans the best two are often nearer than any rounding is exact.
TIE = 0.9


@dataclasses.dataclass(frozen=True)
class SpanSettings:
    """How answers are found.

    Attributes:
        doc_stride: tokens between the starts of two windows at most; None: `default_stride`.
        null_threshold: the empty answer is given where its score is more than this above the best
            span's (logits, summed over start and end); None: every question has an answer.
        max_answer_length: tokens of an answer at most.
        n_best: starts and ends that are combined, and answers that are kept.
    """

    doc_stride: int | None = None
    null_threshold: float | None = None
    max_answer_length: int = 30
    n_best: int = 20

    def __post_init__(self) -> None:
        for name in ("doc_stride", "max_answer_length", "n_best"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} {value}: expected at least 1")


@dataclasses.dataclass(frozen=True)
class Answer:
    """A span of the context, `context[start:end] == text`; the empty one for "no answer in it".

    `score` is its probability among the answers that it is listed with.
    """

    text: str
    score: float
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Answers:
    """The result for a question: answers, the one that is given first, then by falling score."""

    answers: tuple[Answer, ...]

    def listed(self) -> list[dict[str, Any]]:
        """The answers as run_squad.py's `nbest_predictions.json` has them, with their characters."""
        return [
            {"text": a.text, "probability": a.score, "start": a.start, "end": a.end}
            for a in self.answers
        ]

    def line(self, text: str, pair: str | None) -> str:
        """For people: answer, its score, and the question."""
        best = self.answers[0]
        return f"{best.text}\t{best.score:.4f}\t{text}"


@dataclasses.dataclass(frozen=True)
class Window(Passage):
    """A question with a part of its context.

    Attributes:
        first: place of the part's first token in the model's inputs.
        offsets: characters of the context, of each token in the inputs, `[tokens, 2]`.
    """

    first: int
    offsets: np.ndarray


class SpanKind(TaskKind):
    """Where the answer to a question stands in a context.

    An example's text is the question, its pair the context, its label the answers as JSON: `[[first
    character, text], ...]`, none for a question without. Training takes the first of them.
    """

    fixed_labels = ()
    metrics: ClassVar = {"f1": answer_f1, "exact_match": exact_match}
    target_shape = (2,)

    def change(self, settings: Mapping[str, Any]) -> None:
        known = {field.name for field in dataclasses.fields(SpanSettings)}
        if unknown := set(settings) - known:
            raise InputError(f"{', '.join(sorted(unknown))}: not a setting of question answering")
        before = getattr(self, "settings", SpanSettings())
        self.settings = dataclasses.replace(before, **settings)

    @classmethod
    def settings_of(
        cls, settings: Mapping[str, Any], seq_length: int, doc_stride: int | None
    ) -> dict[str, Any]:
        return {**settings, "doc_stride": check_stride(seq_length, doc_stride)}

    def labels_of(self, example: Example, source: str) -> Iterable[str]:
        parse_answers(example, source)
        return ()

    def _goals(self, examples: Sequence[Example]) -> list[list[str]]:
        """The texts of the right answers of each question."""
        return [[text for _, text in parse_answers(e, "the data")] for e in examples]

    def rows(self, examples: Iterable[Example], encoder: TextEncoder) -> Iterable[Example]:
        return _TrainingWindows(examples, encoder, self.settings)

    def count(self, rows: Iterable[Example], num_examples: int) -> int:
        return sum(1 for _ in rows)

    def target(self, example: Example) -> list[int]:
        return [int(place) for place in example.label.split(" ")]

    def batch(self, preprocessor: Any, inputs: Any, texts: Any, targets: Any) -> tuple:
        return inputs, {"start_logits": targets[:, 0], "end_logits": targets[:, 1]}

    def compiled(self) -> dict[str, Any]:
        """The mean of both losses."""
        names = ("start_logits", "end_logits")
        loss = {name: super(SpanKind, self).compiled()["loss"] for name in names}
        return {"loss": loss, "loss_weights": dict.fromkeys(names, 0.5)}

    def _passages(self, encoder: TextEncoder, rows: Sequence[Row]) -> list[list[Passage]]:
        return windows(encoder, rows, self.settings.doc_stride)

    def result(self, row: Row, passages: Sequence[Window], outputs: Sequence[Outputs]) -> Answers:
        return Answers(best_answers(row[1], passages, outputs, self.settings))

    def decisions(self, result: Answers) -> list[int]:
        """Where the answer starts, and where it ends."""
        return [result.answers[0].start, result.answers[0].end]

    def same(self, one: Answers, other: Answers) -> list[bool]:
        """Whether start and end are the same. An answer that ties with one's own best is as good as that."""
        enough = TIE * one.answers[0].score
        tied = [self.decisions(Answers((a,))) for a in one.answers if a.score >= enough]
        return [True, True] if self.decisions(other) in tied else super().same(one, other)

    def outputs(self, results: Sequence[Answers]) -> list[str]:
        return [one.answers[0].text for one in results]

    def submission(
        self, examples: Sequence[Example], results: Sequence[Answers], names: Mapping[str, str]
    ) -> Iterator[str]:
        """The official JSON: id of the question -> answer."""
        found = {e.id: one.answers[0].text for e, one in zip(examples, results, strict=True)}
        yield json.dumps(found, ensure_ascii=False, indent=1)


class _TrainingWindows:
    """The windows of all questions, each an example whose label is the places of its target.

    Those are of the answer's first and last token; both 0, that of [CLS], where a window does not hold
    all of it.
    """

    def __init__(
        self, examples: Iterable[Example], encoder: TextEncoder, settings: SpanSettings
    ) -> None:
        self._examples, self._encoder, self._settings = examples, encoder, settings

    def __iter__(self) -> Iterator[Example]:
        examples = iter(self._examples)
        while block := list(itertools.islice(examples, BLOCK)):
            rows = [(e.text, e.pair) for e in block]
            found = windows(self._encoder, rows, self._settings.doc_stride)
            for example, some in zip(block, found, strict=True):
                answers = parse_answers(example, "the data")
                for window in some:
                    places = answer_places(window, *answers[0]) if answers else (0, 0)
                    label = f"{places[0]} {places[1]}"
                    yield Example(window.text, window.pair, label, example.id)


def default_stride(seq_length: int) -> int:
    """BERT's 128 tokens; a third of windows shorter than its 384."""
    return min(DOC_STRIDE, seq_length // 3)


def check_stride(seq_length: int, doc_stride: int | None) -> int:
    """The stride for inputs of `seq_length` tokens; `InputError` for one that would leave text out."""
    if doc_stride is None:
        return default_stride(seq_length)
    room = seq_length - 3 - _longest_question(seq_length)
    if not 0 < doc_stride <= room:
        raise InputError(
            f"doc_stride {doc_stride}: expected 1 to {room}, the tokens of the context that are sure to be "
            f"in a window: seq_length {seq_length} less 3 and a question of {_longest_question(seq_length)}"
        )
    return doc_stride


def _longest_question(seq_length: int) -> int:
    """Tokens of a question at most: half of the room in short inputs."""
    return min(MAX_QUESTION, (seq_length - 3) // 2)


def windows(
    encoder: TextEncoder, rows: Sequence[Row], doc_stride: int | None = None
) -> list[list[Window]]:
    """The windows of each (question, context): all of the context, in pieces that fit the inputs.

    A window starts at the last word that is at most `doc_stride` tokens behind the start of the one before,
    and ends at a word's end. Of a word longer than a whole window the rest is left out. Long questions are
    cut.
    """
    seq_length = encoder.seq_length
    longest = _longest_question(seq_length)
    asked = {
        question: _shortened(encoder, question, longest) for question in {text for text, _ in rows}
    }
    tokens = {context: encoder.with_offsets(context) for context in {pair for _, pair in rows}}
    found = []
    for question, context in rows:
        shown, size = asked[question]
        ids, offsets = tokens[context]
        room = seq_length - 3 - size
        stride = min(doc_stride or default_stride(seq_length), room)
        bounds = _bounds(encoder.begins_word[ids], room, stride)
        found.append([_window(shown, size, context, offsets, *bound, room) for bound in bounds])
    return found


def _window(
    question: str, size: int, context: str, offsets: np.ndarray, begin: int, end: int, room: int
) -> Window:
    """The question of `size` tokens with the context's tokens from `begin` to `end`."""
    part = offsets[begin:end]
    whole = len(part) == len(offsets)
    text = context if whole else context[part[0, 0] : part[-1, 1]]
    return Window(question, text, first=size + 2, offsets=part[:room])


def _shortened(encoder: TextEncoder, text: str, longest: int) -> tuple[str, int]:
    """The beginning of a question with at most `longest` tokens, and how many it has."""
    ids, offsets = encoder.with_offsets(text)
    kept = longest
    while len(ids) > longest:
        text = text[: offsets[kept - 1, 1]]
        ids, offsets = encoder.with_offsets(text)
        kept -= 1  # a word cut in two may have more pieces
    return text, len(ids)


def _bounds(begins: np.ndarray, room: int, stride: int) -> list[tuple[int, int]]:
    """First and end token of each window; `begins` says which tokens begin a word."""
    words = np.append(np.flatnonzero(begins), len(begins))
    bounds, begin = [], 0
    while True:
        end = _last_word(words, begin, begin + room)
        bounds.append((begin, end))
        if end == len(begins):
            return bounds
        begin = min(_last_word(words, begin, begin + stride), end)


def _last_word(words: np.ndarray, begin: int, limit: int) -> int:
    """The last start of a word in `(begin, limit]`, or the next one where there is none."""
    place = np.searchsorted(words, limit, side="right") - 1
    if words[place] <= begin:
        place = min(np.searchsorted(words, begin, side="right"), len(words) - 1)
    return int(words[place])


def answer_places(window: Window, start: int, text: str) -> tuple[int, int]:
    """Places in the inputs of the first and the last token of an answer; 0 and 0 if it is not all there.

    Args:
        window: of the context.
        start: the answer's first character in the context.
        text: the answer.
    """
    start, end = start + len(text) - len(text.lstrip()), start + len(text.rstrip())
    places = np.flatnonzero((window.offsets[:, 1] > start) & (window.offsets[:, 0] < end))
    if not len(places):
        return 0, 0
    first, last = int(places[0]), int(places[-1])
    cut_before = first == 0 and window.offsets[first, 0] > start
    cut_behind = last == len(window.offsets) - 1 and window.offsets[last, 1] < end
    if cut_before or cut_behind:
        return 0, 0
    return window.first + first, window.first + last


def best_answers(
    context: str,
    passages: Sequence[Window],
    outputs: Sequence[Outputs],
    settings: SpanSettings,
) -> tuple[Answer, ...]:
    """The best spans over all windows of a context, the one to give first.

    In each window the `n_best` starts are combined with the `n_best` ends; a span's score is the sum of both
    logits, and of one that is in several windows the best of them counts. The empty answer's score is the
    lowest of the windows' at [CLS] (Devlin et al. 2019, section 4.3). Without any span the answer is empty.
    """
    spans: dict[tuple[int, int], float] = {}
    null = np.inf
    for window, found in zip(passages, outputs, strict=True):
        start, end = found["start_logits"], found["end_logits"]
        null = min(null, float(start[0] + end[0]))
        places = slice(window.first, window.first + len(window.offsets))
        for (i, j), score in _best_pairs(start[places], end[places], settings):
            span = int(window.offsets[i, 0]), int(window.offsets[j, 1])
            spans[span] = max(score, spans.get(span, -np.inf))
    best = dict(sorted(spans.items(), key=lambda item: -item[1])[: settings.n_best])
    first = next(iter(best), EMPTY)
    if settings.null_threshold is not None or not best:
        if not best or null - best[first] > settings.null_threshold:
            first = EMPTY
        best[EMPTY] = null
    order = sorted(best, key=lambda span: (span != first, -best[span]))
    weights = np.exp(np.array([best[span] for span in order]) - max(best.values()))
    return tuple(
        Answer(context[start:end], float(weight), start, end)
        for (start, end), weight in zip(order, weights / weights.sum(), strict=True)
    )


def _best_pairs(
    start: np.ndarray, end: np.ndarray, settings: SpanSettings
) -> Iterator[tuple[tuple[int, int], float]]:
    """(first, last) token with their score, of the best starts and ends of a window `[tokens]`."""
    starts = np.argsort(-start, kind="stable")[: settings.n_best]
    ends = np.argsort(-end, kind="stable")[: settings.n_best]
    lengths = ends[np.newaxis] - starts[:, np.newaxis] + 1
    rows, columns = np.nonzero((lengths > 0) & (lengths <= settings.max_answer_length))
    for i, j in zip(starts[rows].tolist(), ends[columns].tolist(), strict=True):
        yield (i, j), float(start[i]) + float(end[j])
