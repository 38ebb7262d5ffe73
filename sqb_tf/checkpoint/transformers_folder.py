"""Reads a folder of Hugging Face `transformers`, from disk or the hub: config, weights, tokenizer.

It has `config.json`, the weights as safetensors or `pytorch_model.bin` (in one or several files), and the
tokenizer's files. `hugging_face.py` maps the weights to the Keras model's.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.config import OWN_FIELDS, SqueezeBertConfig
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.head import Head

MODEL_TYPE = "squeezebert"
CLASSIFIER = "classifier.weight"
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
HUB_FILES = ["*.json", "vocab.txt", "*.safetensors", "pytorch_model*.bin"]
HUB_NAME = "squeezebert/squeezebert-uncased"


@dataclasses.dataclass(frozen=True)
class Folder:
    """The contents of a transformers folder.

    Attributes:
        path: the folder.
        settings: its `config.json`.
        arrays: weights by their names in `transformers`.
        vocabulary: tokens in id order; None if the folder has no tokenizer.
        lowercase: whether its tokenizer lowercases and strips accents.
    """

    path: Path
    settings: dict[str, Any]
    arrays: dict[str, np.ndarray]
    vocabulary: list[str] | None
    lowercase: bool

    @property
    def config(self) -> SqueezeBertConfig:
        """The config of the same architecture, always with self-attention."""
        fields = {field.name for field in dataclasses.fields(SqueezeBertConfig)}
        known = fields - set(OWN_FIELDS)
        try:
            return SqueezeBertConfig.from_dict(
                {name: value for name, value in self.settings.items() if name in known}
            )
        except InputError as error:
            raise InputError(f"{self.path / 'config.json'}: {error}") from None

    @property
    def head(self) -> str:
        """The name of its head: by its weights and, where several heads have those, by the config.

        Raises:
            InputError: a multi-label classifier.
        """
        layers = {name.rpartition(".")[0] for name in self.arrays}

        def match(head: type[Head]) -> tuple[int, int]:
            theirs = set(head.hf_layers.values())
            return len(theirs & layers), -len(theirs - layers)

        best = max(map(match, registry.HEADS.values()))
        heads = [head for head in registry.HEADS.values() if match(head) == best]
        architecture = (self.settings.get("architectures") or [""])[0]
        if architecture not in {head.hf_class for head in heads}:
            architecture = heads[0].hf_class
        heads = [head for head in heads if head.hf_class == architecture]
        problem = self.settings.get("problem_type")
        if problem == "multi_label_classification" and any(h.hf_problem_type for h in heads):
            raise InputError(f"{self.path / 'config.json'}: problem_type {problem}: not supported")
        fitting = (head.name for head in heads if head.fits_folder(self._num_labels))
        return next(fitting, heads[0].name)

    @property
    def _num_labels(self) -> int:
        """Rows of the classifier, 0 without one."""
        return len(self.arrays.get(CLASSIFIER, ()))

    def labels(self, head: str) -> list[str]:
        """The label names of a head: the config's, or those that the head fixes.

        Raises:
            InputError: the number of label names in the config is not the number of the classifier's rows.
        """
        fixed = registry.get(head).fixed_labels
        if fixed is not None:
            return list(fixed)
        if CLASSIFIER not in self.arrays:
            raise InputError(f"{self.path}: no {CLASSIFIER} in it, which {head} needs")
        count = self._num_labels
        names = self.settings.get("id2label")
        if names is None:
            return [f"LABEL_{i}" for i in range(count)]
        try:
            labels = [str(names[str(i)]) for i in range(len(names))]
        except (KeyError, TypeError):
            labels = []
        if len(labels) != count or len(set(labels)) != count:
            raise InputError(
                f"{self.path / 'config.json'}: id2label {names}: expected a name for each of the "
                f"{count} rows of {CLASSIFIER}"
            )
        return labels


def fetch(source: str, revision: str | None = None) -> Path:
    """The folder `source`, or the hub's repository of that name, downloaded unless it is cached.

    Raises:
        InputError: no such folder or repository, or it is not cached and the hub cannot be reached.
    """
    if Path(source).is_dir():
        return Path(source)
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source) or Path(source).exists():
        raise InputError(
            f"{source}: no such folder; expected one, or a hub name such as {HUB_NAME}"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=HUB_FILES))
    except Exception as error:  # from many libraries: hub, network, disk
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{source}: no such folder, and it cannot be downloaded from the hub: {reason} "
            "(offline, give a folder or fill the hub's cache first)"
        ) from None


def read(path: str | Path) -> Folder:
    """Reads a transformers folder.

    Raises:
        InputError: another model type; a file that is missing, damaged or contradicts another.
    """
    path = Path(path)
    settings = _read_json(path / "config.json")
    model_type = settings.get("model_type")
    if model_type != MODEL_TYPE:
        raise InputError(
            f"{path / 'config.json'}: model_type {model_type!r}: expected {MODEL_TYPE!r}"
        )
    hidden = settings.get("hidden_size", SqueezeBertConfig.hidden_size)
    if settings.get("embedding_size", hidden) != hidden:
        raise InputError(
            f"{path / 'config.json'}: embedding_size {settings['embedding_size']} is not hidden_size "
            f"{hidden}: `transformers` has no such model either"
        )
    return Folder(path, settings, _read_weights(path), _read_vocabulary(path), _read_case(path))


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    file = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), None)
    if file is None:
        raise InputError(f"{path}: no weights: expected {' or '.join(WEIGHT_FILES)}")
    if file.suffix != ".json":
        return _read_weight_file(file)
    parts = _read_json(file).get("weight_map")
    if not isinstance(parts, dict):
        raise InputError(f"{file}: expected a weight_map in it")
    arrays: dict[str, np.ndarray] = {}
    for part in sorted(set(parts.values())):
        if Path(part).name != part or not (path / part).is_file():
            raise InputError(f"{path}: {part} is missing, which {file.name} names")
        arrays.update(_read_weight_file(path / part))
    if set(arrays) != set(parts):
        differences = ", ".join(sorted(set(arrays) ^ set(parts))[:4])
        raise InputError(f"{file}: its weight_map differs from the files it names: {differences}")
    return arrays


def _read_weight_file(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".bin":
        from sqb_tf.checkpoint import torch_file

        return torch_file.read(path)
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file: {error}") from None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError(f"{path}: no such file; expected a folder that `transformers` saved")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a JSON object")
    return values


def _read_vocabulary(path: Path) -> list[str] | None:
    from sqb_tf.text.vocabulary import read_vocabulary

    if (path / "vocab.txt").is_file():
        return read_vocabulary(path / "vocab.txt")
    if not (path / "tokenizer.json").is_file():
        return None
    model = _read_json(path / "tokenizer.json").get("model", {})
    vocabulary = model.get("vocab")
    if model.get("type") != "WordPiece" or not isinstance(vocabulary, dict):
        raise InputError(f"{path / 'tokenizer.json'}: not a WordPiece tokenizer")
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    if [vocabulary[token] for token in ordered] != list(range(len(ordered))):
        raise InputError(f"{path / 'tokenizer.json'}: ids are not 0 to {len(ordered) - 1}")
    return ordered


def _read_case(path: Path) -> bool:
    """Whether the tokenizer lowercases; `InputError` for settings that are not supported here."""
    settings = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
    if (path / "tokenizer.json").is_file():
        normalizer = _read_json(path / "tokenizer.json").get("normalizer") or {}
        settings.update(
            do_lower_case=normalizer.get("lowercase", True),
            strip_accents=normalizer.get("strip_accents"),
            tokenize_chinese_chars=normalizer.get("handle_chinese_chars", True),
        )
    if (path / "tokenizer_config.json").is_file():
        own = _read_json(path / "tokenizer_config.json")
        settings.update({name: own[name] for name in settings if name in own})
    lowercase = bool(settings["do_lower_case"])
    if settings["strip_accents"] not in (None, lowercase) or not settings["tokenize_chinese_chars"]:
        raise InputError(
            f"{path}: a tokenizer with {settings}: expected that accents are stripped if and only if text "
            "is lowercased, and that Chinese characters are words of their own, as in BERT"
        )
    return lowercase
