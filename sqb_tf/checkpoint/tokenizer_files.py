"""The tokenizer's files of a `transformers` folder: vocabulary, case and longest input."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from sqb_tf.checkpoint.json_file import field, read_json
from sqb_tf.errors import InputError
from sqb_tf.text.vocabulary import SUFFIX, check_vocabulary, read_vocabulary

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
    path, config_path = folder / "tokenizer.json", folder / "tokenizer_config.json"
    pipeline = read_json(path) if path.is_file() else None
    config = read_json(config_path) if config_path.is_file() else {}
    if pipeline is not None:
        _check_pipeline(path, pipeline)
    vocabulary = None
    if (folder / "vocab.txt").is_file():
        vocabulary = read_vocabulary(folder / "vocab.txt")
    elif pipeline is not None:
        vocabulary = _vocabulary(path, pipeline)
    length = config.get("model_max_length")
    if isinstance(length, float) or (isinstance(length, int) and length > _NO_LIMIT):
        length = None
    length = field({"model_max_length": length}, config_path, "model_max_length", int)
    return TokenizerFiles(vocabulary, _read_case(folder, pipeline, config), length)


def _check_pipeline(path: Path, pipeline: dict[str, Any]) -> None:
    """`InputError` unless a `tokenizer.json` has BERT's steps."""
    for step, expected in (
        ("normalizer", "BertNormalizer"),
        ("pre_tokenizer", "BertPreTokenizer"),
        ("model", "WordPiece"),
    ):
        kind = (field(pipeline, path, step, dict) or {}).get("type")
        if kind != expected:
            raise InputError(
                f"{path}: {step} {kind}: not a WordPiece tokenizer as BERT's, {expected}"
            )
    prefix = pipeline["model"].get("continuing_subword_prefix", SUFFIX)
    if prefix != SUFFIX:
        raise InputError(f"{path}: continuing_subword_prefix {prefix!r}: expected {SUFFIX!r}")


def _vocabulary(path: Path, pipeline: dict[str, Any]) -> list[str]:
    """The tokens of a `tokenizer.json`."""
    ids = field(pipeline["model"], path, "vocab", dict) or {}
    if set(map(type, ids.values())) != {int} or sorted(ids.values()) != list(range(len(ids))):
        raise InputError(f"{path}: ids are not 0 to {len(ids) - 1}")
    tokens = sorted(ids, key=ids.__getitem__)
    if any("\n" in token for token in tokens):
        raise InputError(f"{path}: a token has a line break: vocab.txt cannot hold it")
    try:
        check_vocabulary(tokens)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return tokens


def _read_case(folder: Path, pipeline: dict[str, Any] | None, config: dict[str, Any]) -> bool:
    """Whether the tokenizer lowercases: by its config, else by its `tokenizer.json`."""
    settings = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
    if pipeline is not None:
        path, normalizer = folder / "tokenizer.json", pipeline["normalizer"]
        for name, theirs in (
            ("do_lower_case", "lowercase"),
            ("strip_accents", "strip_accents"),
            ("tokenize_chinese_chars", "handle_chinese_chars"),
        ):
            if theirs in normalizer:
                settings[name] = field(normalizer, path, theirs, bool)
    for name in settings:
        if name in config:
            settings[name] = field(config, folder / "tokenizer_config.json", name, bool)
    lowercase = bool(settings["do_lower_case"])
    if settings["strip_accents"] not in (None, lowercase) or not settings["tokenize_chinese_chars"]:
        raise InputError(
            f"{folder}: a tokenizer with {settings}: expected that accents are stripped if and only if text "
            "is lowercased, and that Chinese characters are words of their own, as in BERT"
        )
    return lowercase
