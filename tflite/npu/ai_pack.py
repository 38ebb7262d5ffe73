"""The AI pack of an Android app: Play gives each phone the file for its chip, any other one the package."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ai_edge_litert.aot.ai_pack import export_lib
from ai_edge_litert.aot.core import aot_types
from ai_edge_litert.aot.vendors import import_vendor

from sqb_tf.atomic_write import staged_directory
from sqb_tf.errors import InputError

from .compiler import Compilation

# Chips of these makers are in no phone.
_NOT_IN_PHONES = {"intel"}


TARGETS_FILE = "device_targeting_configuration.xml"  # in the folder, which chip gets which file


def check_new(folder: str | Path, overwrite: bool) -> None:
    """`InputError` if a pack is there that may not be replaced; other folders never are."""
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / TARGETS_FILE).is_file():
        raise InputError(f"cannot write {folder}: the folder holds something else than an AI pack")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"cannot write {folder}: it is a file: name a folder")
    if (folder / TARGETS_FILE).is_file() and not overwrite:
        raise InputError(f"{folder} is there already: --overwrite replaces it")


def write(folder: str | Path, package: str | Path, results: Sequence[Compilation]) -> list[str]:
    """Writes the pack as LiteRT lays it out, replacing the folder; the names of its groups of devices.

    Args:
        folder: of the pack, such as `sst2_pack`; pack and model are named after it.
        package: the package that was compiled.
        results: those that failed are left out: such phones get the package.
    """
    name = re.sub(r"\W", "_", Path(folder).name)
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
