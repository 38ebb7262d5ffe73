"""One pass over a split: rows, classes, texts that occur again, texts that look wrong, a sample."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable

from sqb_tf.data.example import Example
from sqb_tf.data.parts import MOST_LABELS
from sqb_tf.data.reservoir import ReservoirSample
from sqb_tf.errors import InputError
from sqb_tf.survey.seen_texts import SeenTexts

# Examples of a split whose texts are looked at one by one.
SAMPLE = 10_000
# Texts of several lines that are looked at for rows in them: a stray quote takes the rows up to the next one
# for one text. Two lines of a text may begin or end as rows do by chance in few.
MOST_OF_LINES, FEWEST_ROWS = 1000, 2
# Texts and messages that are kept of each kind of problem.
SHOWN = 10
# Characters of a text of many lines that are shown.
MOST_SHOWN = 200
# A text that looks like this was hardly meant to be in the data.
_HTML = r"</?(?:p|br|div|span|a|b|i|li|ul|td|tr|img)\b[^>]*>|&(?:amp|lt|gt|quot|nbsp|#\d+);"
_MOJIBAKE = "\N{REPLACEMENT CHARACTER}|Ã[\x80-\xbf]|â€"
ODD: dict[str, Callable[[str], object]] = {
    "without a letter": lambda text: not any(map(str.isalpha, text)),
    "with HTML": re.compile(_HTML).search,
    "with characters of another encoding": re.compile(_MOJIBAKE).search,
}


@dataclasses.dataclass
class Problem:
    """How many rows have it, and the first of them."""

    rows: int = 0
    shown: list[str] = dataclasses.field(default_factory=list)

    def add(self, text: str) -> None:
        """One more row."""
        self.rows += 1
        if len(self.shown) < SHOWN:
            self.shown.append(text)


def example_text(example: Example) -> str:
    """The text of an example; a pair separated by a tab."""
    return example.text if example.pair is None else f"{example.text}\t{example.pair}"


class SplitSurvey:
    """What a split holds.

    Attributes:
        file: the split's.
        name: the same, and which part of it, for messages.
        rows: examples.
        labels: label -> rows that have it (for tags: words), in the order of their first occurrence.
        numbers: the lowest and the highest label, where labels are numbers.
        seen: the texts.
        unreadable: rows that training would refuse; they are no examples.
        repeated, conflicting: texts that stood before, and those that stood with another label.
        sample: of the examples.
    """

    def __init__(self) -> None:
        self.file = self.name = ""
        self.rows = 0
        self.labels: Counter[str] = Counter()
        self.numbers: tuple[float, float] | None = None
        self.seen = SeenTexts()
        self.unreadable, self.repeated, self.conflicting = Problem(), Problem(), Problem()
        self.sample: ReservoirSample[Example] = ReservoirSample(SAMPLE)
        self._of_lines: ReservoirSample[str] = ReservoirSample(MOST_OF_LINES)

    def add(self, example: Example, labels: Iterable[str], number: float | None = None) -> None:
        """One more example, with its label as a number if labels are numbers."""
        self.rows += 1
        if number is not None:
            low, high = self.numbers or (number, number)
            self.numbers = min(low, number), max(high, number)
        for label in labels:
            self.labels[label] += 1
        if len(self.labels) > MOST_LABELS:
            raise InputError(
                f"{self.name}: more than {MOST_LABELS:,} labels: expected classes; numbers go with "
                "--task regression"
            )
        self.sample.offer(example)
        text = example_text(example)
        if "\n" in text:
            self._of_lines.offer(text)
        seen = self.seen.offer(text, example.label)
        if seen is None:
            return
        if seen.label == example.label:
            self.repeated.add(text)
        else:
            self.conflicting.add(f"{text} ({seen.label}, {example.label})")

    def swallowed(self) -> Problem:
        """Texts of several lines, some of which have a label in a cell, as rows of the file do."""
        problem = Problem()
        for text in self._of_lines.items:
            if sum(map(self._is_row, text.split("\n"))) >= FEWEST_ROWS:
                problem.add(" ".join(text.split())[:MOST_SHOWN])
        return problem

    def _is_row(self, line: str) -> bool:
        cells = [cell.strip(' \r"') for cell in line.split(",")]
        if len(cells) == 1:
            return False
        if self.numbers is not None:
            return any(map(is_number, (cells[0], cells[-1])))
        return not self.labels.keys().isdisjoint(cells)

    def odd(self) -> dict[str, Problem]:
        """Kind of oddity -> examples of the sample whose text has it."""
        problems = {kind: Problem() for kind in ODD}
        for example in self.sample.items:
            for kind, is_odd in ODD.items():
                if is_odd(example.text):
                    problems[kind].add(example.text)
        return {kind: problem for kind, problem in problems.items() if problem.rows}


def is_number(cell: str) -> bool:
    """Whether a cell holds a finite number."""
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
