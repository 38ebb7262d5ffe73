"""Reads a folder of Hugging Face `transformers`, from disk or the hub: config, weights, tokenizer.

It holds a SqueezeBERT or a BERT: `config.json`, the weights as safetensors or `pytorch_model.bin` (in one or
several files), the tokenizer's files and, for an embedder, what sentence-transformers adds.
`hugging_face.py` maps the weights to the Keras model's.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.checkpoint import (
    architectures,
    sentence_transformers,
    tokenizer_files,
    weight_files,
)
from sqb_tf.checkpoint.architectures import Architecture
from sqb_tf.checkpoint.json_file import field, read_json
from sqb_tf.checkpoint.sentence_transformers import SentenceModules
from sqb_tf.checkpoint.tokenizer_files import TokenizerFiles
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.data.labels import clean_label
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.embedding import EmbeddingHead
from sqb_tf.heads.head import Head
from sqb_tf.text.encoder import check_seq_length

CLASSIFIER = "classifier.weight"
# Names that modules around a model put before those of its weights; "" where there is none.
_WRAPPER = re.compile(r"((module|model|base_model|_orig_mod)\.)*")
# Also those of an encoder in a folder of its own, as sentence-transformers had it.
HUB_FILES = ["*.json", "*vocab.txt", "*model*.safetensors", "*pytorch_model*.bin"]
HUB_NAME = "squeezebert/squeezebert-uncased"


@dataclasses.dataclass(frozen=True)
class Folder:
    """The contents of a transformers folder.

    Attributes:
        path: the folder.
        settings: its `config.json`.
        shapes: of the weights by their names in `transformers`.
        tokenizer: what its tokenizer's files say.
        architecture: what its `model_type` says of names and shapes.
        modules: what sentence-transformers adds; None for a folder of `transformers` alone.
    """

    path: Path
    settings: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    tokenizer: TokenizerFiles
    architecture: Architecture
    modules: SentenceModules | None

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The weights by their names in `transformers`, read once."""
        return weight_files.read(self.path)

    @property
    def config(self) -> SqueezeBertConfig:
        """The config of the same architecture."""
        try:
            return self.architecture.read_config(self.settings)
        except InputError as error:
            raise InputError(f"{self.path / 'config.json'}: {error}") from None

    @property
    def seq_length(self) -> int:
        """The longest input in tokens that it is meant for.

        What sentence-transformers states replaces the tokenizer's limit, as it does there.
        """
        stated = None if self.modules is None else self.modules.seq_length
        longest = self.config.max_position_embeddings
        length = min(longest, stated or self.tokenizer.max_length or longest)
        try:
            check_seq_length(length, longest)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None
        return length

    def head_settings(self, head: str) -> dict[str, Any]:
        """The settings of a head that the folder decides."""
        known = {} if self.modules is None else self.modules.settings
        return {k: v for k, v in known.items() if k in registry.get(head).keras_settings}

    @property
    def head(self) -> str:
        """The name of its head: by its modules, its weights, and its config where several have those."""
        if self.modules is not None:
            return EmbeddingHead.name
        layers = {name.rpartition(".")[0] for name in self.shapes}

        def match(head: type[Head]) -> tuple[int, int]:
            theirs = set(head.hf_layers.values())
            return len(theirs & layers), -len(theirs - layers)

        best = max(map(match, registry.HEADS.values()))
        heads = [head for head in registry.HEADS.values() if match(head) == best]
        names = field(self.settings, self.path / "config.json", "architectures", list) or [""]
        architecture = str(names[0])
        class_name = self.architecture.class_name
        if architecture not in map(class_name, heads):
            architecture = class_name(heads[0])
        heads = [head for head in heads if class_name(head) == architecture]
        problem = self.settings.get("problem_type")
        fitting = (head.name for head in heads if head.fits_folder(self._num_labels, problem))
        return next(fitting, heads[0].name)

    @property
    def _num_labels(self) -> int:
        """Rows of the classifier, 0 without one."""
        return next(iter(self.shapes.get(CLASSIFIER, ())), 0)

    def num_outputs(self, head: str) -> int:
        """How many labels of a head have names of their own: none of a head that fixes them."""
        return self._num_labels if registry.get(head).fixed_labels is None else 0

    def labels(self, head: str) -> list[str]:
        """The label names of a head: the config's, or those that the head fixes.

        Raises:
            InputError: the number of label names in the config is not the number of the classifier's rows.
        """
        fixed = registry.get(head).fixed_labels
        if fixed is not None:
            return list(fixed)
        if CLASSIFIER not in self.shapes:
            raise InputError(f"{self.path}: no {CLASSIFIER} in it, which {head} needs")
        count = self._num_labels
        names = self.settings.get("id2label")
        if names is None:
            return [f"LABEL_{i}" for i in range(count)]
        try:
            labels = [clean_label(names[str(i)]) for i in range(len(names))]
        except (KeyError, TypeError, AttributeError, InputError):
            labels = []
        if not all(labels) or len(labels) != count or len(set(labels)) != count:
            raise InputError(
                f"{self.path / 'config.json'}: id2label {names}: expected a name for each of the "
                f"{count} rows of {CLASSIFIER}, each of one line"
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
    names = (sentence_transformers.MODULES, *weight_files.NAMES)
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
    # A model of another type is refused before its weights are looked for.
    shapes = {} if "model_type" in settings else _read_shapes(path)
    try:
        architecture = architectures.find(settings, shapes)
    except InputError as error:
        raise InputError(f"{path / 'config.json'}: {error}") from None
    shapes = shapes or _read_shapes(path)
    tokenizer = tokenizer_files.read(path)
    if modules is not None and modules.lowercase and not tokenizer.lowercase:
        raise InputError(
            f"{path}: sentence-transformers lowercases text for a cased tokenizer: expected an uncased one"
        )
    folder = Folder(path, settings, shapes, tokenizer, architecture, modules)
    _check_size(folder)
    return folder


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights; `InputError` if all names begin with that of a module around the model."""
    shapes = weight_files.read_shapes(path)
    around = {_WRAPPER.match(name)[0] for name in shapes}  # type: ignore[index] # it matches nothing too
    if len(around) == 1 and (prefix := around.pop()):
        raise InputError(
            f"{path}: the names of all weights begin with {prefix!r}: torch.nn.DataParallel, torch.compile "
            "or a module around the model was saved: save the model inside "
            "(`model.module.save_pretrained(DIR)`), or remove that from the names"
        )
    return shapes


def _check_size(folder: Folder) -> None:
    """`InputError` if the config describes a far larger model than the weights', before it is made."""
    config, stored = folder.config, sum(map(math.prod, folder.shapes.values()))
    # A little larger is told below, by the weight that is missing.
    too_deep = config.num_hidden_layers > len(folder.shapes) + 1
    if config.min_weights > 10 * stored + 10**6 or too_deep:
        raise InputError(
            f"{folder.path / 'config.json'}: describes a model of {config.min_weights:,} weights in "
            f"{config.num_hidden_layers:,} layers, the folder has {stored:,} in {len(folder.shapes)} arrays"
        )
