"""SQuAD's files: questions on paragraphs, as streams of examples."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqb_tf.data.delimited import Example
from sqb_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class SquadFile:
    """A JSON file of SQuAD 1.1 (Rajpurkar et al. 2016) or, `with_impossible`, 2.0 (2018).

    An example's text is the question, its pair the paragraph, its label the answers as `tasks.spans` takes
    them, its id the question's. The JSON is held in memory while iterated over, examples are not.

    Raises (while iterating):
        InputError: naming the file and the question: not UTF-8, not JSON, a key that is missing, an empty
            text, an id that is there twice, an answer that does not stand where the file says, a question
            without an answer (in 2.0, that is not marked as impossible).
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
                        raise InputError(f"{self.path}: question {name} is there twice")
                    seen.add(name)
                    yield self._example(question, context, name)

    def _example(self, question: dict[str, Any], context: str, name: str) -> Example:
        where = f"question {name}"
        impossible = question.get("is_impossible", False)
        if impossible and not self.with_impossible:
            raise InputError(
                f"{self.path}: {where} has no answer: such a file is for --task squad2"
            )
        found = [] if impossible else self._get(question, "answers", list, where)
        if not found and not impossible:
            raise InputError(f"{self.path}: {where} has no answer: expected one or more")
        answers = [self._answer(answer, context, where) for answer in found]
        text = self._text(question, "question", where)
        return Example(text, context, json.dumps(answers, ensure_ascii=False), name)

    def _answer(self, answer: Any, context: str, where: str) -> tuple[int, str]:
        text = self._text(answer, "text", where)
        start = self._get(answer, "answer_start", int, where)
        there = context[start : start + len(text)] if start >= 0 else ""
        if there != text:
            raise InputError(
                f"{self.path}: {where}: answer {text!r} is not at answer_start {start}: "
                f"{there!r} stands there"
            )
        return start, text

    def _text(self, value: Any, key: str, where: str) -> str:
        text = self._get(value, key, str, where)
        if not text.strip():
            raise InputError(f"{self.path}: {where}: {key} is empty: expected text")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{self.path}: {where}: {key} holds half a character (\\u{ord(text[error.start]):04x})"
            ) from None
        return text

    def _get(self, value: Any, key: str, kind: type, where: str) -> Any:
        names = {list: "a list", str: "a text", int: "a whole number"}
        found = value.get(key) if isinstance(value, dict) else None
        if not isinstance(found, kind) or isinstance(found, bool):
            shown = "is missing" if found is None else f"is {found!r:.40}"
            raise InputError(
                f"{self.path}: {where}: {key} {shown}: expected {names[kind]} (the form of SQuAD)"
            )
        return found
