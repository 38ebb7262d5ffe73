"""What sentence-transformers adds to a folder of `transformers`: its modules, which make an embedder of it.

`modules.json` lists them: a Transformer, a Pooling and, where vectors have length 1, a Normalize.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from sqb_tf.checkpoint.json_file import field, read_json
from sqb_tf.errors import InputError

MODULES = "modules.json"
_POOLING_FOLDER, _NORMALIZE_FOLDER = "1_Pooling", "2_Normalize"
_LENGTH = "sentence_bert_config.json"
# Theirs -> ours. Others, as "max" or "weightedmean", are refused.
_POOLINGS = {"mean": "mean", "cls": "first"}
# Before version 5 a flag for each instead of `pooling_mode`.
_POOLING_FLAGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


@dataclasses.dataclass(frozen=True)
class SentenceModules:
    """The modules behind the encoder.

    Attributes:
        encoder: the folder with the encoder's config, weights and tokenizer.
        pooling: one of `sqb_tf.heads.embedding.POOLINGS`.
        normalize: whether vectors have length 1.
        seq_length: longest input in tokens; None: as many as the encoder has positions.
        lowercase: whether text is lowercased before it is tokenized.
        prompt: what sentence-transformers puts before every text by default; nothing here does.
    """

    encoder: Path
    pooling: str
    normalize: bool
    seq_length: int | None
    lowercase: bool
    prompt: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of an embedding head."""
        return {"pooling": self.pooling, "normalize": self.normalize}


def read(path: Path) -> SentenceModules | None:
    """The modules of a folder; None if it is none of sentence-transformers'.

    Raises:
        InputError: a damaged file, or a module that an embedder does not have here.
    """
    if not (path / MODULES).is_file():
        return None
    modules = read_json(path / MODULES, list)
    try:
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
        folders = [_inside(path, module["path"]) for module in modules]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path / MODULES}: cannot be read as a list of modules: {error}"
        ) from None
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise InputError(
            f"{path / MODULES}: modules {', '.join(kinds)}: expected Transformer, Pooling and perhaps "
            "Normalize"
        )
    length_path = folders[0] / _LENGTH
    encoder = read_json(length_path) if length_path.is_file() else {}
    seq_length = field(encoder, length_path, "max_seq_length", int)
    if seq_length is not None and seq_length < 1:
        raise InputError(f"{length_path}: max_seq_length {seq_length}: expected at least 1")
    return SentenceModules(
        encoder=folders[0],
        pooling=_read_pooling(folders[1] / "config.json"),
        normalize="Normalize" in kinds,
        seq_length=seq_length,
        lowercase=bool(field(encoder, length_path, "do_lower_case", bool)),
        prompt=_read_prompt(path / "config_sentence_transformers.json"),
    )


def write(folder: Path, modules: SentenceModules) -> None:
    """Adds the modules to the folder of their encoder."""
    kinds = {"Transformer": "", "Pooling": _POOLING_FOLDER}
    if modules.normalize:
        kinds["Normalize"] = _NORMALIZE_FOLDER
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds.items())
    ]
    their_pooling = {ours: theirs for theirs, ours in _POOLINGS.items()}[modules.pooling]
    hidden_size = read_json(folder / "config.json")["hidden_size"]
    pooling = {flag: mode == their_pooling for flag, mode in _POOLING_FLAGS.items()}
    contents = {
        MODULES: listed,
        _LENGTH: {"max_seq_length": modules.seq_length, "do_lower_case": False},
        f"{_POOLING_FOLDER}/config.json": {"word_embedding_dimension": hidden_size, **pooling},
    }
    for path in list(kinds.values())[1:]:
        (folder / path).mkdir()
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _inside(folder: Path, path: Any) -> Path:
    """A module's folder; ValueError if it is not within `folder`."""
    inner = (folder / str(path)).resolve()
    inner.exists()  # an OSError for a name that no folder can have
    if not inner.is_relative_to(folder.resolve()):
        raise ValueError(f"path {path!r} is outside the folder")
    return folder / str(path)


def _read_pooling(path: Path) -> str:
    """Our name of the pooling; `InputError` for one that is not among `POOLINGS`."""
    settings = read_json(path)
    modes = settings.get("pooling_mode")
    if modes is None:
        flags = [name for name, value in settings.items() if value is True]
        modes = [
            _POOLING_FLAGS.get(name, name) for name in flags if name.startswith("pooling_mode_")
        ]
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list) or len(modes) != 1 or str(modes[0]) not in _POOLINGS:
        raise InputError(f"{path}: pooling {modes}: expected one of {', '.join(_POOLINGS)}")
    return _POOLINGS[str(modes[0])]


def _read_prompt(path: Path) -> str | None:
    """The default prompt; None if there is none, or an empty one."""
    settings = read_json(path) if path.is_file() else {}
    name = field(settings, path, "default_prompt_name", str)
    return (field(settings, path, "prompts", dict) or {}).get(name) or None
