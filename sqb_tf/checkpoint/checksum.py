"""The sha256 of a bundle's weights, beside them, in the form that `sha256sum -c` checks."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sqb_tf.errors import InputError


def path_of(file: Path) -> Path:
    """The file that holds the sha256 of `file`."""
    return file.with_name(f"{file.name}.sha256")


def sha256(file: Path) -> str:
    """Hexadecimal; 128 MB, BERT-base's weights in float16 and more than those of SqueezeBERT, take 0.1 s."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write(file: Path) -> None:
    """Writes the sha256 of `file` beside it."""
    path_of(file).write_text(f"{sha256(file)}  {file.name}\n", encoding="utf-8")


def check(file: Path) -> None:
    """`InputError` if `file` has another sha256 than is written beside it; bundles before this have none."""
    path = path_of(file)
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as content:
        expected = content.read(64)
    if sha256(file) != expected:
        raise InputError(
            f"{file}: damaged: its sha256 is not the one in {path.name}: copy the bundle again (remove "
            f"{path.name} if you changed the weights yourself)"
        )
