"""What a survey shows that the user should know, and what to do about it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads.long_texts import LONG_TEXTS
from sqb_tf.survey.split_survey import SplitSurvey, is_number
from sqb_tf.survey.survey import Survey
from sqb_tf.survey.tokens import Tokens

ERROR, WARNING, NOTE = "error", "warning", "note"

# A class of fewer training rows is hardly learned.
FEW_ROWS = 10
# Rows of the most frequent class for one of the rarest.
MOST_IMBALANCE = 10
# Share of a split that texts which occur again, or are cut, may have.
MOST_REPEATED, MOST_CUT = 0.01, 0.01
# As many different numbers as labels are no classes.
MOST_NUMBERS = 20
# Tokens of a word, by BERT's English vocabulary: 1.0 to 1.2 in English intents, reviews, news, tweets and
# textbooks; 1.5 in a few sentences of French and Italian, 1.7 in Spanish, 1.9 to 2.0 in German.
MOST_PIECES = 1.5
# Share of the tokens: up to 0.1% in those English texts, 0.4% in German tweets, which are full of emoji; 29%
# in a few sentences of Japanese, 62% of Chinese.
MOST_UNKNOWN = 0.05
WINDOW = 384
LISTED = 5


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing to know.

    Attributes:
        severity: `ERROR`, which training refuses; `WARNING`, which costs accuracy or lies; `NOTE`.
        text: what it is, and what to do.
        shown: some of the texts or rows that it is about.
    """

    severity: str
    text: str
    shown: Sequence[str] = ()


def find(
    survey: Survey, tokens: Tokens | None, seq_length: int, origin: str, weighted: bool = False
) -> list[Finding]:
    """What a survey shows, errors first.

    Args:
        survey: the data.
        tokens: its training texts in the tokens of a vocabulary, if there is one.
        seq_length: of the inputs, in tokens.
        origin: whose vocabulary it is, for messages.
        weighted: whether all classes count the same already, so that nobody is told to.
    """
    findings = [
        *_errors(survey),
        *itertools.chain.from_iterable(map(_rows, survey.splits.values())),
        *_shared(survey),
    ]
    if has_classes(survey.task):
        one_class = _one_class(survey.task)
        findings += [*_classes(survey, one_class, weighted), *_label_names(survey.train, one_class)]
    if tokens is not None:
        head = survey.task.learner
        can_window = LONG_TEXTS in head.decoding_settings and not survey.task.paired
        findings += _lengths(tokens, seq_length, can_window)
        findings += foreign_vocabulary(tokens, origin)
    order = (ERROR, WARNING, NOTE)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def summary(survey: Survey, tokens: Tokens | None) -> str:
    """The data in one line."""
    counts = [f"{split.rows:,} {which}" for which, split in survey.splits.items()]
    parts = [f"{', '.join(counts[:-1])} and {counts[-1]} examples"]
    if has_classes(survey.task):
        rows = survey.train.labels.values()
        parts.append(f"{len(rows)} classes of {min(rows):,} to {max(rows):,} train rows")
    if survey.train.numbers is not None:
        parts.append("numbers from {:g} to {:g}".format(*survey.train.numbers))
    if tokens is not None:
        parts.append(f"{tokens.percentile(0)} to {tokens.percentile(100)} tokens")
    return "; ".join(parts)


def has_classes(task: Task) -> bool:
    """Whether the labels of an example are classes."""
    return task.learner.has_classes


def _one_class(task: Task) -> bool:
    """Whether every example has exactly one class."""
    return task.learner.one_class


def _errors(survey: Survey) -> Iterator[Finding]:
    for split in survey.splits.values():
        if split.unreadable.rows:
            count, shown = split.unreadable.rows, split.unreadable.shown
            yield Finding(
                ERROR, f"{split.name}: {count_rows(count)} cannot be read: correct or remove", shown
            )
    try:
        _ = survey.labels
    except InputError as error:
        yield Finding(ERROR, str(error))


def _rows(split: SplitSurvey) -> Iterator[Finding]:
    """Texts that occur again, and those that look wrong."""
    if split.seen.conflicting:
        yield Finding(
            WARNING,
            f"{split.name}: {_count(split.seen.conflicting, 'text')} with different labels: decide which is "
            "right, or join the classes",
            split.conflicting.shown,
        )
    if split.seen.repeated > MOST_REPEATED * split.rows:
        share = split.seen.repeated / split.rows
        yield Finding(
            WARNING,
            f"{split.name}: {share:.1%} of the rows repeat the text of an earlier one: remove them, unless "
            "they are as frequent in use",
            split.repeated.shown,
        )
    swallowed = split.swallowed()
    if swallowed.rows:
        yield Finding(
            WARNING,
            f"{split.name}: {_count(swallowed.rows, 'text')} of several lines that look like rows: a quote "
            "that is closed rows later makes one text of them: look for it where they begin",
            swallowed.shown,
        )
    for kind, problem in split.odd().items():
        share = problem.rows / len(split.sample.items)
        yield Finding(
            WARNING if share > MOST_REPEATED else NOTE,
            f"{split.name}: {problem.rows:,} of {len(split.sample.items):,} texts {kind}: look at them",
            problem.shown,
        )


def _shared(survey: Survey) -> Iterator[Finding]:
    for which, problem in survey.shared.items():
        if problem.rows:
            share = problem.rows * survey.train.seen.scale / survey.splits[which].rows
            yield Finding(
                WARNING if share > MOST_REPEATED else NOTE,
                f"{share:.1%} of {which}'s texts stand in train too, so {which}'s score is too good: remove "
                "them from one of the two",
                problem.shown,
            )


def _classes(survey: Survey, one_class: bool, weighted: bool) -> Iterator[Finding]:
    train, dev = survey.train.labels, survey.dev.labels
    few = [label for label, count in train.items() if count < FEW_ROWS]
    if few:
        yield Finding(
            WARNING,
            f"{_count(len(few), 'class', 'classes')} with fewer than {FEW_ROWS} rows in train: "
            f"{_listed([f'{label} ({train[label]})' for label in few])}: add rows, or join classes",
        )
    absent = [label for label in train if label not in dev]
    if absent and dev:
        yield Finding(
            WARNING,
            f"dev has no row of {_listed(absent)}: nothing will be known of how well a model tells "
            f"{'it' if len(absent) == 1 else 'them'}",
        )
    if not train or not one_class:
        return
    (most, count), least = train.most_common(1)[0], min(train.values())
    if count > MOST_IMBALANCE * least and not weighted:
        yield Finding(
            WARNING,
            f"{most} has {count / least:.0f} times as many rows in train as the rarest class: "
            "--class-weights balanced lets every class count the same, --metric macro_f1 judges by all",
        )
    if dev:
        (label, count) = dev.most_common(1)[0]
        yield Finding(
            NOTE, f"always answering {label} has a dev accuracy of {count / survey.dev.rows:.3f}"
        )


def _label_names(split: SplitSurvey, one_class: bool) -> Iterator[Finding]:
    """Labels that look like others, like several, or like numbers."""
    alike: defaultdict[str | float, list[str]] = defaultdict(list)
    for label in split.labels:
        alike[_alike(label)].append(label)
    for labels in alike.values():
        if len(labels) > 1:
            yield Finding(
                WARNING, f"labels that look alike: {', '.join(map(repr, labels))}: are they one?"
            )
    for mark in "|;,":
        joined = [label for label in split.labels if mark in label]
        parts = {part.strip() for label in joined for part in label.split(mark)}
        if len(joined) > 1 and len(parts) < len(joined) + len(split.labels.keys() & parts):
            advice = f"--label-separator {mark!r} takes them apart"
            if one_class:
                advice = f"--task multi_label {advice}"
            yield Finding(
                WARNING,
                f"{_count(len(joined), 'label')} with {mark!r} in it: each combination is a class of its "
                f"own: {advice}",
                joined[:LISTED],
            )
    if one_class and len(split.labels) > MOST_NUMBERS and all(map(is_number, split.labels)):
        yield Finding(NOTE, "every label is a number: --task regression learns their order")


def _alike(label: str) -> str | float:
    """What labels share that are probably one: their words, or the number."""
    if is_number(label):
        return float(label)
    return " ".join(re.split(r"[\s_-]+", label.casefold()))


def _lengths(tokens: Tokens, seq_length: int, can_window: bool) -> Iterator[Finding]:
    cut = 0.0 if tokens.windows else tokens.longer_than(seq_length)
    if cut:
        enough = suggested_length(tokens)
        advice = ""
        if enough > seq_length:
            left = tokens.longer_than(enough)
            advice = f": --seq-length {enough} cuts {'none' if not left else f'{left:.1%}'}"
        if can_window:
            advice += f"{',' if advice else ':'} --long-texts windows reads all of a text"
        yield Finding(
            WARNING if cut > MOST_CUT else NOTE,
            f"{cut:.1%} of the training texts are cut at --seq-length {seq_length}{advice}",
        )


def foreign_vocabulary(tokens: Tokens, origin: str) -> Iterator[Finding]:
    """Whether a vocabulary suits the texts: one of another language spells most words in pieces."""
    reasons = []
    if tokens.per_word > MOST_PIECES:
        reasons.append(
            f"its vocabulary needs {tokens.per_word:.1f} tokens for a word of these texts"
        )
    if tokens.unknown > MOST_UNKNOWN:
        reasons.append(f"{tokens.unknown:.0%} of their tokens are not in its vocabulary")
    if reasons:
        yield Finding(
            WARNING,
            f"{origin}: {' and '.join(reasons)}: it was probably made for another language, alphabet or "
            "field. Another start may do better: a model of the texts' language (--init), or fresh weights "
            "and a vocabulary learned from the texts (--preset squeezebert-small)",
        )


def suggested_length(tokens: Tokens) -> int:
    """A multiple of 8, 32 to 512, that holds every text, or 99% of them if some need more than 128.

    Batches are padded to their own longest text, so that room for rare long ones costs little. Windows are at
    most as long as BERT's on SQuAD.
    """
    most = WINDOW if tokens.windows else 512
    longest = tokens.percentile(100)
    needed = longest if longest <= 128 else max(tokens.percentile(99), 128)
    return min(max(8 * math.ceil(needed / 8), 32), most)


def suggestions(survey: Survey, tokens: Tokens | None) -> dict[str, Any]:
    """Flags of `sqb finetune` that suit the data.

    Some 2,000 steps, and 2 to 20 epochs: benchmarks/pareto.py gives CLINC150's 15,100 texts 5 epochs, which
    are 2,360 steps, and SST-2's 67,349 two.
    """
    batch_size = 32 if survey.train.rows >= 2000 else 16
    steps = max(survey.train.rows / batch_size, 1)
    flags: dict[str, Any] = {
        "--epochs": min(max(round(2000 / steps), 2), 20),
        "--batch-size": batch_size,
    }
    counts = survey.train.labels.values()
    if _one_class(survey.task) and counts and max(counts) > MOST_IMBALANCE * min(counts):
        flags |= {"--class-weights": "balanced", "--metric": "macro_f1"}
    if tokens is not None:
        flags["--seq-length"] = suggested_length(tokens)
    return flags


def count_rows(count: int) -> str:
    """Such as `1 row`."""
    return _count(count, "row")


def _count(number: int, unit: str, units: str = "") -> str:
    return f"{number:,} {unit if number == 1 else units or unit + 's'}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
