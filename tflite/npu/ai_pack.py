"""The AI pack of an Android app: Play gives each phone the file for its chip, any other one the package."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ai_edge_litert.aot.ai_pack import export_lib
from ai_edge_litert.aot.core import aot_types
from ai_edge_litert.aot.vendors import import_vendor

from sqb_tf.atomic_write import check_writable, staged_directory
from sqb_tf.errors import InputError

from .compiler import Compilation

# Chips of these makers are in no phone.
_NOT_IN_PHONES = {"intel"}


TARGETS_FILE = "device_targeting_configuration.xml"  # in the folder, which chip gets which file


def check_new(folder: str | Path, overwrite: bool, others: Sequence[str | Path] = ()) -> None:
    """Checks that a pack can be written, before hours of compiling.

    Args:
        folder: of the pack.
        overwrite: whether an earlier pack may be replaced. What else is in the folder never is.
        others: what the run reads and writes besides.

    Raises:
        InputError: a pack is there, or something else, or one of `others` is in the folder.
    """
    root = Path(os.path.realpath(folder))
    if root.exists() and not root.is_dir():
        raise InputError(f"cannot write {folder}: it is a file: name a folder")
    for other in others:
        if root in Path(os.path.realpath(other)).parents:
            raise InputError(
                f"--ai-pack {folder}: {other} is in it, and the pack replaces the folder: name another one"
            )
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name != TARGETS_FILE and not _is_model(path.relative_to(root)):
            raise InputError(f"cannot write {folder}: {path} is no part of an AI pack: move it")
    if (root / TARGETS_FILE).is_file() and not overwrite:
        raise InputError(f"{folder} is there already: --overwrite replaces it")
    check_writable(root.with_name(f"{root.name}.xml"))  # beside it, where it is staged


def _is_model(path: Path) -> bool:
    """Whether a path in the folder is where LiteRT puts a model: `NAME/src/main/assets/`."""
    return path.parts[1:4] == ("src", "main", "assets")


def write(folder: str | Path, package: str | Path, results: Sequence[Compilation]) -> list[str]:
    """Writes the pack as LiteRT lays it out, replacing the folder; the names of its groups of devices.

    Args:
        folder: of the pack, such as `sst2_pack`; pack and model are named after it.
        package: the package that was compiled.
        results: those that failed are left out: such phones get the package.
    """
    name = re.sub(r"\W", "_", Path(folder).resolve().name)
    fallback = import_vendor.import_vendor("fallback").create({"backend_id": "fallback"})
    models: list[tuple[Any, Any]] = [(fallback, _model(package))]
    for result in results:
        if result.file is not None and result.chip.maker not in _NOT_IN_PHONES:
            config = aot_types.CompilationConfig(target=result.chip.target).to_dict()
            backend = import_vendor.import_vendor(config["backend_id"]).create(config)
            models.append((backend, _model(result.file)))
    with staged_directory(folder) as staged:
        export_lib.export(
            aot_types.CompilationResult(models_with_backend=models), staged, name, name
        )
        groups = (staged / name / "src" / "main" / "assets").iterdir()
        return sorted(group.name for group in groups)


def _model(path: str | Path) -> Any:
    return aot_types.Model.create_from_path(Path(path))
