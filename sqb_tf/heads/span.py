"""Answers to questions: spans of a context.

Decoded as BERT does for SQuAD (Devlin et al. 2019, section 4.3, and its run_squad.py), except that an answer
is a slice of the context to the character, not to the word.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sqb_tf.data.example import Example, TextPair
from sqb_tf.data.lines import half_character
from sqb_tf.data.squad import parse_answers
from sqb_tf.errors import InputError
from sqb_tf.heads.head import Output, Outputs, Request, softmax
from sqb_tf.heads.judgement import Judgement
from sqb_tf.heads.long_texts import LONG_TEXTS
from sqb_tf.heads.metrics import answer_f1, exact_match
from sqb_tf.heads.task_head import TaskHead
from sqb_tf.heads.windows import TrainingWindows, Window, check_stride, windows
from sqb_tf.json_schema import read_json
from sqb_tf.text.encoder import TextEncoder

if TYPE_CHECKING:
    from sqb_tf.training.options import FinetuneOptions

EMPTY = (0, 0)
# By which contexts are grouped: in SQuAD 1.1, dev, half have up to 111 words, a tenth more than 184.
CONTEXT_WORDS = (50, 100, 150, 200, 300)
# An answer whose probability is this share of the best one's, or more, ties with it: 0.1 in logits. Among
# hundreds of spans the best two often differ by less than any rounding error.
TIE = 0.9


@dataclasses.dataclass(frozen=True)
class SpanSettings:
    """How answers are decoded.

    Attributes:
        doc_stride: tokens between the starts of two windows at most; None: `default_stride`.
        null_threshold: the empty answer comes first where its score is more than this above the best
            span's (logits, summed over start and end); None: every question has an answer.
        max_answer_length: tokens of an answer at most.
        n_best: starts and ends that are combined, and answers that are kept.
        exact_tokens: answers may begin and end inside a word, at any token; else only where a word does.
    """

    doc_stride: int | None = None
    null_threshold: float | None = None
    max_answer_length: int = 30
    n_best: int = 20
    exact_tokens: bool = False

    def __post_init__(self) -> None:
        for name in ("doc_stride", "max_answer_length", "n_best"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} {value}: expected at least 1")


@dataclasses.dataclass(frozen=True)
class Answer:
    """A span of the context, `context[start:end] == text`; the empty one means "no answer in it".

    `score` is its probability among the answers listed with it.
    """

    text: str
    score: float
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Answers:
    """The result for a question: the answer to give, then the others by falling score."""

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


class SpanHead(TaskHead):
    """Where the answer to a question is in a context.

    An example's text is the question, its pair the context, its label the answers as JSON: `[[first
    character, text], ...]`, none for a question without an answer. Training takes the first of them.
    """

    name = "span"
    keras_class = "sqb_tf.model.heads.SqueezeBertSpanLabeler"
    fixed_labels = ()
    decoding_settings = tuple(field.name for field in dataclasses.fields(SpanSettings))
    always_paired = True
    table_columns = ("answer", "score")
    outputs = (Output("start_logits", per_token=True), Output("end_logits", per_token=True))
    hf_class = "ForQuestionAnswering"
    hf_layers: ClassVar = {"span_head": "qa_outputs"}
    metrics: ClassVar = {"f1": answer_f1, "exact_match": exact_match}
    target_shape = (2,)
    answers_questions = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.span_settings  # raises for bad ones

    @property
    def cuts_windows(self) -> bool:
        return True

    @functools.cached_property
    def span_settings(self) -> SpanSettings:
        """The settings, checked."""
        return SpanSettings(**self.settings)

    @classmethod
    def training_settings(
        cls, settings: Mapping[str, Any], options: FinetuneOptions
    ) -> dict[str, Any]:
        if options.long_texts is not None:
            raise InputError(
                f"{LONG_TEXTS}: a {cls.name} always reads all of a context: leave it out"
            )
        return {**settings, "doc_stride": check_stride(options.seq_length, options.doc_stride)}

    def read_labels(self, example: Example, source: str) -> Iterable[str]:
        parse_answers(example, source)
        return ()

    def _references(self, examples: Sequence[Example]) -> list[list[str]]:
        """The texts of the right answers to each question."""
        return [[text for _, text in parse_answers(e, "the data")] for e in examples]

    def training_units(
        self, examples: Iterable[Example], encoder: TextEncoder
    ) -> Iterable[Example]:
        return TrainingWindows(examples, encoder, self.span_settings.doc_stride)

    def target(self, example: Example) -> list[int]:
        return [int(position) for position in example.label_text.split(" ")]

    def batch(self, preprocessor: Any, inputs: Any, texts: Any, targets: Any) -> tuple:
        return inputs, {"start_logits": targets[:, 0], "end_logits": targets[:, 1]}

    def compile_arguments(self) -> dict[str, Any]:
        """The mean of both losses."""
        names = [output.name for output in self.outputs]
        loss = {name: super(SpanHead, self).compile_arguments()["loss"] for name in names}
        return {"loss": loss, "loss_weights": dict.fromkeys(names, 0.5)}

    def parse_line(self, line: str, where: str, context: str | None) -> TextPair:
        """The question and context in a JSON object, or a question where `context` is given."""
        row = {"question": line, "context": context}
        if context is None:
            try:
                row = read_json(line, dict[str, Any], where)
            except InputError as error:
                raise InputError(
                    f"{error}: expected an object with question and context, or --context FILE"
                ) from None
        for key in ("question", "context"):
            value = row.get(key)
            if not isinstance(value, str) or not value.strip():
                raise InputError(f"{where}: no {key}: expected an object with question and context")
            half = half_character(value)
            if half:
                raise InputError(f"{where}: {key} holds half a character ({half})")
        return str(row["question"]), row["context"]

    def _encode(
        self, rows: Sequence[TextPair], encoder: TextEncoder
    ) -> Sequence[Sequence[Request]]:
        return windows(encoder, rows, self.span_settings.doc_stride)

    def decode(self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]) -> Answers:
        return Answers(best_answers(row[1] or "", requests, outputs, self.span_settings))

    def table_cells(self, result: Answers) -> tuple[str, ...]:
        """The best answer, empty for none, and its score."""
        best = result.answers[0]
        return " ".join(best.text.split()), f"{best.score:.4f}"

    def decisions(self, result: Answers) -> list[int]:
        """Where the answer starts, and where it ends."""
        return [result.answers[0].start, result.answers[0].end]

    def same_decisions(self, expected: Answers, actual: Answers) -> list[bool]:
        """Whether start and end are the same; an answer that ties with the expected best one is as good."""
        threshold = TIE * expected.answers[0].score
        tied = [self.decisions(Answers((a,))) for a in expected.answers if a.score >= threshold]
        if self.decisions(actual) in tied:
            return [True, True]
        return super().same_decisions(expected, actual)

    def judge(self, example: Example, result: Answers) -> Iterable[Judgement]:
        """By the length of the context: longer ones have more places to be wrong."""
        best = result.answers[0]
        answers = list(dict.fromkeys(text for _, text in parse_answers(example, "the data")))
        right = exact_match([best.text], [answers]) == 1
        words = len((example.pair or "").split())
        limit = next((limit for limit in CONTEXT_WORDS if words <= limit), None)
        group = f"up to {limit} words" if limit else f"more than {CONTEXT_WORDS[-1]} words"
        yield Judgement(" / ".join(answers), best.text, right, best.score, group)

    def baseline(self, metric: str, references: Any) -> tuple[str, float] | None:
        return "answering nothing", self.metrics[metric]([""] * len(references), references)

    def metric_inputs(self, results: Sequence[Answers]) -> list[str]:
        return [result.answers[0].text for result in results]

    def format_submission(
        self, examples: Sequence[Example], results: Sequence[Answers], names: Mapping[str, str]
    ) -> Iterator[str]:
        """The official JSON: id of the question -> answer."""
        texts = self.metric_inputs(results)
        answers = {e.id: text for e, text in zip(examples, texts, strict=True)}
        yield json.dumps(answers, ensure_ascii=False, indent=1)


def best_answers(
    context: str,
    windows: Sequence[Window],
    outputs: Sequence[Outputs],
    settings: SpanSettings,
) -> tuple[Answer, ...]:
    """The best spans over all windows of a context, the answer to give first.

    In each window the `n_best` starts are combined with the `n_best` ends. A span's score is the sum of both
    logits, and the best one where several windows hold the span. The empty answer's score is the lowest of
    the windows' scores at [CLS] (Devlin et al. 2019, section 4.3). Without any span the answer is empty.
    """
    spans: dict[tuple[int, int], float] = {}
    null = np.inf
    for window, logits in zip(windows, outputs, strict=True):
        start, end = logits["start_logits"], logits["end_logits"]
        null = min(null, float(start[0] + end[0]))
        part = slice(window.first, window.first + len(window.offsets))
        begins = window.begins_word | settings.exact_tokens
        for (i, j), score in _best_pairs(start[part], end[part], begins, settings):
            span = int(window.offsets[i, 0]), int(window.offsets[j, 1])
            spans[span] = max(score, spans.get(span, -np.inf))
    best = dict(sorted(spans.items(), key=lambda item: -item[1])[: settings.n_best])
    first = next(iter(best), EMPTY)
    if settings.null_threshold is not None or not best:
        threshold = settings.null_threshold or 0.0
        if not best or null - best[first] > threshold:
            first = EMPTY
        best[EMPTY] = null
    order = sorted(best, key=lambda span: (span != first, -best[span]))
    scores = softmax(np.array([best[span] for span in order]))
    return tuple(
        Answer(context[start:end], float(score), start, end)
        for (start, end), score in zip(order, scores, strict=True)
    )


def _best_pairs(
    start: np.ndarray, end: np.ndarray, begins: np.ndarray, settings: SpanSettings
) -> Iterator[tuple[tuple[int, int], float]]:
    """(first, last) token with their score, of the best starts and ends of a window `[tokens]`.

    A start is where `begins` says that one is, an end before such a token or at the window's end.
    """
    (starts,) = np.nonzero(begins)
    (ends,) = np.nonzero(np.append(begins[1:], True)[: len(begins)])
    starts = starts[np.argsort(-start[starts], kind="stable")][: settings.n_best]
    ends = ends[np.argsort(-end[ends], kind="stable")][: settings.n_best]
    lengths = ends[np.newaxis] - starts[:, np.newaxis] + 1
    rows, columns = np.nonzero((lengths > 0) & (lengths <= settings.max_answer_length))
    for i, j in zip(starts[rows].tolist(), ends[columns].tolist(), strict=True):
        yield (i, j), float(start[i]) + float(end[j])


HEAD = SpanHead
