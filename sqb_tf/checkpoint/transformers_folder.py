"""Reads a folder of Hugging Face `transformers`, from disk or the hub: config, weights, tokenizer.

It holds a SqueezeBERT or a BERT: `config.json`, the weights as safetensors or `pytorch_model.bin` (in one or
several files), the tokenizer's files and, for an embedder, what sentence-transformers adds.
`hugging_face.py` maps the weights to the Keras model's.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.checkpoint import architectures, sentence_transformers, tokenizer_files
from sqb_tf.checkpoint.architectures import Architecture
from sqb_tf.checkpoint.json_file import read_json
from sqb_tf.checkpoint.sentence_transformers import SentenceModules
from sqb_tf.checkpoint.tokenizer_files import TokenizerFiles
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.embedding import EmbeddingHead
from sqb_tf.heads.head import Head

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
        tokenizer: what its tokenizer's files say.
        architecture: what its `model_type` says of names and shapes.
        modules: what sentence-transformers adds; None for a folder of `transformers` alone.
    """

    path: Path
    settings: dict[str, Any]
    arrays: dict[str, np.ndarray]
    tokenizer: TokenizerFiles
    architecture: Architecture
    modules: SentenceModules | None

    @property
    def config(self) -> SqueezeBertConfig:
        """The config of the same architecture."""
        try:
            return self.architecture.read_config(self.settings)
        except InputError as error:
            raise InputError(f"{self.path / 'config.json'}: {error}") from None

    @property
    def seq_length(self) -> int:
        """The longest input in tokens that it is meant for."""
        limits = [self.config.max_position_embeddings, self.tokenizer.max_length]
        limits.append(None if self.modules is None else self.modules.seq_length)
        return min(limit for limit in limits if limit is not None)

    def head_settings(self, head: str) -> dict[str, Any]:
        """The settings of a head that the folder decides."""
        known = {} if self.modules is None else self.modules.settings
        return {k: v for k, v in known.items() if k in registry.get(head).keras_settings}

    @property
    def head(self) -> str:
        """The name of its head: by its modules, its weights and, where several heads have those, its config.

        Raises:
            InputError: a multi-label classifier.
        """
        if self.modules is not None:
            return EmbeddingHead.name
        layers = {name.rpartition(".")[0] for name in self.arrays}

        def match(head: type[Head]) -> tuple[int, int]:
            theirs = set(head.hf_layers.values())
            return len(theirs & layers), -len(theirs - layers)

        best = max(map(match, registry.HEADS.values()))
        heads = [head for head in registry.HEADS.values() if match(head) == best]
        architecture = (self.settings.get("architectures") or [""])[0]
        class_name = self.architecture.class_name
        if architecture not in map(class_name, heads):
            architecture = class_name(heads[0])
        heads = [head for head in heads if class_name(head) == architecture]
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
    if not is_hub_name(source):
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


def is_folder(source: str | Path) -> bool:
    """Whether `transformers` or sentence-transformers saved the folder `source`."""
    names = (sentence_transformers.MODULES, *WEIGHT_FILES)
    return any((Path(source) / name).is_file() for name in names)


def is_hub_name(source: str) -> bool:
    """Whether `source` can name a repository of the hub: OWNER/NAME, and no OWNER is a folder here."""
    is_name = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source) is not None
    return is_name and not Path(source).parent.is_dir()


def read(path: str | Path) -> Folder:
    """Reads a transformers folder.

    Raises:
        InputError: another model type; a file that is missing, damaged or contradicts another.
    """
    path = Path(path)
    modules = sentence_transformers.read(path)
    path = path if modules is None else modules.encoder
    settings = read_json(path / "config.json")
    # A model of another type is refused before its weights are read.
    arrays = {} if "model_type" in settings else _read_weights(path)
    try:
        architecture = architectures.find(settings, arrays)
    except InputError as error:
        raise InputError(f"{path / 'config.json'}: {error}") from None
    arrays = arrays or _read_weights(path)
    tokenizer = tokenizer_files.read(path)
    if modules is not None and modules.lowercase and not tokenizer.lowercase:
        raise InputError(
            f"{path}: sentence-transformers lowercases text for a cased tokenizer: expected an uncased one"
        )
    return Folder(path, settings, arrays, tokenizer, architecture, modules)


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    file = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), None)
    if file is None:
        raise InputError(f"{path}: no weights: expected {' or '.join(WEIGHT_FILES)}")
    if file.suffix != ".json":
        return _read_weight_file(file)
    parts = read_json(file).get("weight_map")
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
