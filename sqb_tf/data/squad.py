"""SQuAD's files: questions on paragraphs, as streams of examples."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sqb_tf.data.data_format import DataFormat, Skip, find_by_name
from sqb_tf.data.example import Columns, Example
from sqb_tf.data.lines import half_character
from sqb_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class SquadFile:
    """A JSON file of SQuAD 1.1 (Rajpurkar et al. 2016) or, `with_impossible`, 2.0 (2018).

    An example's text is the question, its pair the paragraph, its label the answers as JSON (`parse_answers`
    reads it), its id the question's. The JSON is held in memory during iteration, examples are not.

    Raises (while iterating):
        InputError: naming the file and the question: not UTF-8, not JSON, a missing key, an empty text, a
            duplicate id, an answer that is not at its `answer_start`, a question without an answer (in 2.0,
            one that is not marked as impossible).
    """

    path: Path
    with_impossible: bool = False

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file")

    def __iter__(self) -> Iterator[Example]:
        try:
            content = json.loads(self.path.read_bytes().decode("utf-8-sig"))
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path}: not UTF-8 (byte {error.start + 1})") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.path}: not JSON: {error}") from None
        seen: set[str] = set()
        for a, article in enumerate(self._get(content, "data", list, "the file")):
            for p, paragraph in enumerate(
                self._get(article, "paragraphs", list, f"article {a + 1}")
            ):
                where = f"article {a + 1}, paragraph {p + 1}"
                context = self._text(paragraph, "context", where)
                for q, question in enumerate(self._get(paragraph, "qas", list, where)):
                    name = self._text(question, "id", f"{where}, question {q + 1}")
                    if name in seen:
                        raise InputError(f"{self.path}: question {name} appears twice")
                    seen.add(name)
                    yield self._example(question, context, name)

    def _example(self, question: dict[str, Any], context: str, name: str) -> Example:
        where = f"question {name}"
        impossible = question.get("is_impossible", False)
        if impossible and not self.with_impossible:
            raise InputError(
                f"{self.path}: {where} has no answer: such a file is for --task squad2"
            )
        entries = [] if impossible else self._get(question, "answers", list, where)
        if not entries and not impossible:
            raise InputError(f"{self.path}: {where} has no answer: expected one or more")
        answers = [self._answer(entry, context, where) for entry in entries]
        text = self._text(question, "question", where)
        return Example(text, context, json.dumps(answers, ensure_ascii=False), name)

    def _answer(self, answer: Any, context: str, where: str) -> tuple[int, str]:
        text = self._text(answer, "text", where)
        start = self._get(answer, "answer_start", int, where)
        actual = context[start : start + len(text)] if start >= 0 else ""
        if actual != text:
            raise InputError(
                f"{self.path}: {where}: answer {text!r} is not at answer_start {start}: "
                f"the context has {actual!r} there"
            )
        return start, text

    def _text(self, value: Any, key: str, where: str) -> str:
        text = self._get(value, key, str, where)
        if not text.strip():
            raise InputError(f"{self.path}: {where}: {key} is empty: expected text")
        half = half_character(text)
        if half:
            raise InputError(f"{self.path}: {where}: {key} holds half a character ({half})")
        return text

    def _get(self, container: Any, key: str, expected: type, where: str) -> Any:
        names = {list: "a list", str: "a text", int: "a whole number"}
        value = container.get(key) if isinstance(container, dict) else None
        if not isinstance(value, expected) or isinstance(value, bool):
            shown = "is missing" if value is None else f"is {value!r:.40}"
            raise InputError(
                f"{self.path}: {where}: {key} {shown}: expected {names[expected]} (the format of SQuAD)"
            )
        return value


@dataclasses.dataclass(frozen=True)
class SquadFormat(DataFormat):
    """SQuAD's JSON files; a single file is split by paragraph, so that no paragraph is in both parts."""

    with_impossible: bool = False

    def find(self, folder: Path, name: str, split: str) -> Path:
        return find_by_name(folder, name, (".json",), (split,))

    def open(self, path: Path, columns: Columns, skip: Skip | None = None) -> Iterable[Example]:
        return SquadFile(path, self.with_impossible)

    def split_key(self, example: Example) -> str:
        return example.pair or ""


def parse_answers(example: Example, source: str) -> list[tuple[int, str]]:
    """(first character, text) of the answers in a label; `InputError` if it has another form."""
    try:
        return [(int(start), str(text)) for start, text in json.loads(example.label or "")]
    except (TypeError, ValueError):
        raise InputError(
            f"{source}: label {example.label!r}: expected answers as [[first character, text], ...]"
        ) from None
