"""What every reader yields: a labelled text or pair of texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

# A text, or a pair of texts.
TextPair = tuple[str, str | None]


@dataclasses.dataclass(frozen=True)
class Example:
    """One labelled text or pair; `pair` is None for a single text, `label` None where unlabelled.

    `id` is the file's own name for the example, where it has one.
    """

    text: str
    pair: str | None = None
    label: str | None = None
    id: str | None = None

    @property
    def label_text(self) -> str:
        """The label, empty where there is none."""
        return self.label or ""

    @property
    def texts(self) -> TextPair:
        """The example without its label."""
        return self.text, self.pair


def texts_of(examples: Iterable[Example]) -> Iterator[str]:
    """Every text of the examples, pairs in order."""
    for example in examples:
        yield from (text for text in example.texts if text is not None)


@dataclasses.dataclass(frozen=True)
class Columns:
    """Names of the columns (TSV and CSV) or keys (JSONL) of an example.

    `label_separator` stands between the labels of a row, where it may have several.
    """

    text: str = "text"
    pair: str | None = None
    label: str | None = "label"
    label_separator: str = ","
