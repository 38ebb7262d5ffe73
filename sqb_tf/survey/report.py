"""A survey as a table, as JSON and as a page."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sqb_tf.checkpoint import pretrained
from sqb_tf.data.example import Columns
from sqb_tf.data.task import Task
from sqb_tf.page.page import bullets, card, document, download, printable, table
from sqb_tf.page.page import text as as_html
from sqb_tf.survey import findings
from sqb_tf.survey.findings import Finding
from sqb_tf.survey.split_survey import SplitSurvey
from sqb_tf.survey.survey import Survey, survey
from sqb_tf.survey.tokens import Tokens, measure
from sqb_tf.text.encoder import TextEncoder

PERCENTILES = (50, 90, 95, 99, 100)
# Bars of the histogram of lengths, and classes of the table for people; the page and the JSON have all.
BARS, MOST_CLASSES = 16, 20
# Columns of the page that are not numbers.
CLASSES = {"class": "words", "kind": "words", "text": "words sentence", "": "words"}


@dataclasses.dataclass(frozen=True)
class Report:
    """A survey with what follows from it.

    Attributes:
        survey: the data.
        tokens: a sample of its training texts in tokens; None without a vocabulary.
        start: the flag and value that the vocabulary is from.
        seq_length: of the inputs that were asked for.
        findings: what to know, errors first.
        suggestions: flags of `sqb finetune`.
    """

    survey: Survey
    tokens: Tokens | None
    start: tuple[str, str]
    seq_length: int
    findings: Sequence[Finding]
    suggestions: dict[str, Any]

    @property
    def command(self) -> str:
        """The next command to type."""
        task = self.survey.task
        flags: dict[str, Any] = {"--task": task.name, "--data": task.data}
        if task.spec.columns is None:
            named = zip(
                ("--text-column", "--pair-column", "--label-column", "--label-separator"),
                *map(dataclasses.astuple, (task.columns, Columns())),
            )
            flags |= {flag: name for flag, name, default in named if name not in (None, default)}
        if task.test is not None:
            flags["--test"] = f"{task.test}%" if isinstance(task.test, int) else task.test
        if self.start[1] != pretrained.DEFAULT:
            flags[self.start[0]] = self.start[1]
        flags |= self.suggestions
        return shlex.join(
            ["sqb", "finetune", *(str(word) for pair in flags.items() for word in pair)]
        )

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        survey, tokens = self.survey, self.tokens
        return {
            "task": survey.task.name,
            "data": str(survey.task.data),
            "splits": {
                which: {**_split_json(split), "in_train": self._in_train(which)}
                for which, split in survey.splits.items()
            },
            "tokens": None if tokens is None else self._tokens_json(tokens),
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "suggestions": self.suggestions,
            "command": self.command,
        }

    def _in_train(self, which: str) -> int | None:
        """Examples of a split whose text stands in train too."""
        shared = self.survey.shared.get(which)
        return None if shared is None else shared.rows * self.survey.train.seen.scale

    def _tokens_json(self, tokens: Tokens) -> dict[str, Any]:
        return {
            "examples": len(tokens.lengths),
            "percentiles": {str(p): tokens.percentile(p) for p in PERCENTILES},
            "histogram": [list(bar) for bar in histogram(tokens.lengths)],
            "seq_length": self.seq_length,
            "cut": tokens.longer_than(self.seq_length),
            "per_word": tokens.per_word,
            "unknown": tokens.unknown,
        }

    def table(self) -> str:
        """For people: rows and classes by split, lengths, findings, the next command."""
        lines = [
            f"{which:<8} {findings.count_rows(split.rows)} in {split.name}"
            for which, split in self.survey.splits.items()
        ]
        if findings.has_classes(self.survey.task):
            head, *rows = self._class_rows()
            width = max(len(printable(row[0])) for row in (head, *rows[:MOST_CLASSES]))
            for name, *cells in (head, *rows[:MOST_CLASSES]):
                lines.append("".join([f"{printable(name):<{width}}", *(f"{c:>10}" for c in cells)]))
            lines.insert(len(self.survey.splits), "")
            if len(rows) > MOST_CLASSES:
                lines.append(f"and {len(rows) - MOST_CLASSES} more classes")
        if self.tokens is not None:
            lines += ["", *self._length_lines(self.tokens)]
        lines += ["", *(f"{f.severity}: {printable(f.text)}" for f in self.findings)]
        return "\n".join([*lines, "", f"next: {self.command}"])

    def _length_lines(self, tokens: Tokens) -> Iterator[str]:
        yield f"{'tokens':<12} {'texts':>9}"
        bars = histogram(tokens.lengths)
        most = max(count for _, _, count in bars)
        for low, high, count in bars:
            bar = "#" * round(40 * count / most)
            yield f"{f'{low} to {high}':<12} {count:>9,}  {bar}".rstrip()
        yield ", ".join(f"{p}% have at most {tokens.percentile(p)}" for p in PERCENTILES)
        yield self._vocabulary_line(tokens)

    def _vocabulary_line(self, tokens: Tokens) -> str:
        """How the texts fit the inputs and the vocabulary, whether or not there is a finding."""
        return (
            f"{tokens.longer_than(self.seq_length):.1%} are longer than --seq-length {self.seq_length}; "
            f"{tokens.per_word:.2f} tokens a word, {tokens.unknown:.2%} of them unknown to the vocabulary of "
            f"{' '.join(self.start)}"
        )

    def page(self) -> str:
        """One HTML file."""
        severe = [finding for finding in self.findings if finding.severity != findings.NOTE]
        notes = [finding for finding in self.findings if finding.severity == findings.NOTE]
        parts = [
            card(
                {
                    "Data": str(self.survey.task.data),
                    "Task": self.survey.task.name,
                    **{
                        which.title(): f"{findings.count_rows(split.rows)} in {split.name}"
                        for which, split in self.survey.splits.items()
                    },
                    "Next": self.command,
                }
            ),
            bullets("warnings", [finding.text for finding in severe]),
            bullets("quiet", [finding.text for finding in notes]),
        ]
        if findings.has_classes(self.survey.task):
            parts += ["<h2>Classes</h2>", table("Rows by class", self._class_rows(), CLASSES)]
        if self.tokens is not None:
            parts += [
                "<h2>Lengths</h2>",
                _bars(histogram(self.tokens.lengths)),
                table("Tokens of a text", self._length_rows(self.tokens), CLASSES),
                f'<p class="quiet">{as_html(self._vocabulary_line(self.tokens))}.</p>',
            ]
        for finding in self.findings:
            if finding.shown:
                rows = [["text"], *([shown] for shown in finding.shown)]
                parts += [
                    f"<h3>{as_html(finding.text)}</h3>",
                    table("The first of them", rows, CLASSES),
                ]
        parts.append(download("As JSON", "survey.json", self.to_json()))
        return document("Survey of the data", parts)

    def _class_rows(self) -> list[list[str]]:
        """The classes, the most frequent first: rows in each split, and the share in train."""
        splits = self.survey.splits
        rows = [["class", *splits, "share, %"]]
        for label, count in self.survey.train.labels.most_common():
            counts = [f"{split.labels[label]}" for split in splits.values()]
            rows.append([label, *counts, f"{100 * count / self.survey.train.rows:.1f}"])
        return rows

    def _length_rows(self, tokens: Tokens) -> list[list[str]]:
        rows = [["share of the texts, %", "tokens at most"]]
        return rows + [[str(p), str(tokens.percentile(p))] for p in PERCENTILES]


def make_report(
    task: Task, encoder: TextEncoder, seq_length: int, start: tuple[str, str]
) -> Report:
    """Surveys a task's data.

    Args:
        task: the data.
        encoder: what counts the tokens.
        seq_length: of the inputs, in tokens.
        start: the flag and value that the encoder is from, such as `("--init", "runs/bert")`.

    Raises:
        InputError: a file that cannot be read, far too many labels.
    """
    surveyed = survey(task, tolerant=True)
    tokens = measure(surveyed.train.sample.items, task.learner((), task.paired), encoder)
    return Report(
        surveyed,
        tokens,
        start,
        seq_length,
        findings.find(surveyed, tokens, seq_length, " ".join(start)),
        findings.suggestions(surveyed, tokens),
    )


def histogram(lengths: np.ndarray) -> list[tuple[int, int, int]]:
    """(first, last, texts) of at most `BARS` bars that are equally wide, up to the longest text."""
    width = -(-int(lengths.max()) // BARS)
    counts = np.bincount((lengths - 1) // width)
    return [(i * width + 1, (i + 1) * width, int(count)) for i, count in enumerate(counts)]


def _bars(bars: Sequence[tuple[int, int, int]]) -> str:
    most = max(count for _, _, count in bars)
    rows = (
        f'<tr><th scope="row" class="words">{low} to {high}</th><td class="bar">'
        f'<span style="width: {100 * count / most:.1f}%"></span></td><td>{count:,}</td></tr>\n'
        for low, high, count in bars
    )
    return (
        '<div class="scroll" role="region" tabindex="0" aria-label="Histogram of lengths">\n<table '
        f'class="bars">\n<caption>Texts by length in tokens</caption>\n{"".join(rows)}</table>\n</div>\n'
    )


def _split_json(split: SplitSurvey) -> dict[str, Any]:
    return {
        "file": split.name,
        "rows": split.rows,
        "labels": dict(split.labels.most_common()),
        "numbers": split.numbers,
        "unreadable": split.unreadable.rows,
        "repeated": split.seen.repeated,
        "conflicting": split.seen.conflicting,
        "estimated_from_one_text_in": split.seen.scale,
    }
