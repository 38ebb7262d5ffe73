"""The tokenizer's files of a `transformers` folder: vocabulary, added tokens, case and longest input."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqb_tf.checkpoint.json_file import field, read_json
from sqb_tf.data.labels import shortened
from sqb_tf.errors import InputError
from sqb_tf.json_schema import Natural, check_json, read_json_file
from sqb_tf.text.encoder import MIN_SEQ_LENGTH, TextEncoder
from sqb_tf.text.vocabulary import SPECIAL_TOKENS, SUFFIX, check_vocabulary, read_vocabulary

# `model_max_length` of a tokenizer without a limit is 1e30.
_NO_LIMIT = 10**9


@dataclasses.dataclass(frozen=True)
class TokenizerFiles:
    """BERT's tokenizer, as a folder describes it.

    Attributes:
        vocabulary: tokens in id order; None if the folder has none.
        lowercase: whether text is lowercased and accents are stripped.
        max_length: longest input in tokens; None: no limit is stated.
        added: tokens that `transformers` finds in a text before it splits words, with their ids: BERT's
            special ones, and those that were added to the vocabulary later.
    """

    vocabulary: list[str] | None
    lowercase: bool
    max_length: int | None
    added: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _AddedToken:
    """An entry of `added_tokens` in a `tokenizer.json`."""

    id: Natural
    content: str


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
    vocabulary = None if pipeline is None else _vocabulary(path, pipeline)
    if (folder / "vocab.txt").is_file():
        tokens = read_vocabulary(folder / "vocab.txt")
        if vocabulary not in (None, tokens):
            raise InputError(
                f"{folder}: vocab.txt and tokenizer.json have other tokens: remove the one that the model "
                "was not trained with"
            )
        vocabulary = tokens
    length = config.get("model_max_length")
    if isinstance(length, float) or (isinstance(length, int) and length > _NO_LIMIT):
        length = None
    length = field({"model_max_length": length}, config_path, "model_max_length", int)
    added = _read_added(folder, pipeline, config)
    lowercase = _read_case(folder, pipeline, config)
    return TokenizerFiles(vocabulary, lowercase, length, added)


def with_added(folder: Path, files: TokenizerFiles) -> list[str]:
    """The whole vocabulary: `files.vocabulary`, which is there, with the added tokens at their ids.

    Raises:
        InputError: ids that contradict the vocabulary; a token that is no word here, since texts with it
            would have other ids than in `transformers`.
    """
    tokens = list(files.vocabulary or ())
    for token, index in sorted(files.added.items(), key=lambda item: item[1]):
        if index == len(tokens) and token not in tokens:
            tokens.append(token)
        elif tokens[index : index + 1] != [token]:
            raise InputError(
                f"{folder}: the added token {token!r:.80} has id {index}, which contradicts a vocabulary of "
                f"{len(tokens)} tokens: expected {tokens.index(token) if token in tokens else len(tokens)}"
            )
    encoder = TextEncoder(tokens, files.lowercase, MIN_SEQ_LENGTH)
    own = {token: index for token, index in files.added.items() if token not in SPECIAL_TOKENS}
    if split := [token for token, index in own.items() if encoder.ids(token) != [index]]:
        lowercased = ", and lowercased" if files.lowercase else ""
        raise InputError(
            f"{folder}: its tokenizer has the added tokens {shortened(split)}, which are not one word "
            f"here: text is split at blanks and marks{lowercased}. If your texts do not have them, import it "
            "without: `sqb import_hf --vocab FILE`"
        )
    return tokens


def _read_added(
    folder: Path, pipeline: dict[str, Any] | None, config: dict[str, Any]
) -> dict[str, int]:
    """The added tokens of all files that may list them, with their ids."""
    path = folder / "added_tokens.json"
    added = read_json_file(path, dict[str, Natural]) if path.is_file() else {}
    listed = [] if pipeline is None else pipeline.get("added_tokens") or []
    name = f"{folder / 'tokenizer.json'}: added_tokens"
    entries = [(t.content, t.id) for t in check_json(listed, list[_AddedToken], name)]
    name = f"{folder / 'tokenizer_config.json'}: added_tokens_decoder"
    by_id = check_json(config.get("added_tokens_decoder") or {}, dict[str, dict[str, Any]], name)
    for key, token in by_id.items():
        if not (key.isascii() and key.isdecimal()) or not isinstance(token.get("content"), str):
            raise InputError(f"{name}: {key:.80}: expected an id and a token's content")
        entries.append((token["content"], int(key)))
    for content, index in entries:
        if added.setdefault(content, index) != index:
            raise InputError(
                f"{folder}: the added token {content!r:.80} has two ids, {added[content]} and {index}"
            )
    return added


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
