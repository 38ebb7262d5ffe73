"""The tokenizer's files of a `transformers` folder: vocabulary, case and longest input."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sqb_tf.checkpoint.json_file import read_json
from sqb_tf.errors import InputError
from sqb_tf.text.vocabulary import read_vocabulary

# `model_max_length` of a tokenizer without a limit is 1e30.
_NO_LIMIT = 10**9


@dataclasses.dataclass(frozen=True)
class TokenizerFiles:
    """BERT's tokenizer, as a folder describes it.

    Attributes:
        vocabulary: tokens in id order; None if the folder has none.
        lowercase: whether text is lowercased and accents are stripped.
        max_length: longest input in tokens; None: no limit is stated.
    """

    vocabulary: list[str] | None
    lowercase: bool
    max_length: int | None


def read(folder: Path) -> TokenizerFiles:
    """The tokenizer in `folder`.

    Raises:
        InputError: a damaged file, or a tokenizer that splits text in another way than BERT's.
    """
    config = folder / "tokenizer_config.json"
    own = read_json(config) if config.is_file() else {}
    length = own.get("model_max_length")
    is_limit = isinstance(length, int) and 0 < length < _NO_LIMIT
    return TokenizerFiles(
        _read_vocabulary(folder), _read_case(folder, own), length if is_limit else None
    )


def _read_vocabulary(folder: Path) -> list[str] | None:
    if (folder / "vocab.txt").is_file():
        return read_vocabulary(folder / "vocab.txt")
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    model = read_json(path).get("model", {})
    vocabulary = model.get("vocab")
    if model.get("type") != "WordPiece" or not isinstance(vocabulary, dict):
        raise InputError(f"{path}: not a WordPiece tokenizer")
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    if [vocabulary[token] for token in ordered] != list(range(len(ordered))):
        raise InputError(f"{path}: ids are not 0 to {len(ordered) - 1}")
    return ordered


def _read_case(folder: Path, own: dict) -> bool:
    """Whether the tokenizer lowercases: by `own`, its config, else by its `tokenizer.json`."""
    settings = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
    if (folder / "tokenizer.json").is_file():
        normalizer = read_json(folder / "tokenizer.json").get("normalizer") or {}
        settings.update(
            do_lower_case=normalizer.get("lowercase", True),
            strip_accents=normalizer.get("strip_accents"),
            tokenize_chinese_chars=normalizer.get("handle_chinese_chars", True),
        )
    settings.update({name: own[name] for name in settings if name in own})
    lowercase = bool(settings["do_lower_case"])
    if settings["strip_accents"] not in (None, lowercase) or not settings["tokenize_chinese_chars"]:
        raise InputError(
            f"{folder}: a tokenizer with {settings}: expected that accents are stripped if and only if text "
            "is lowercased, and that Chinese characters are words of their own, as in BERT"
        )
    return lowercase
