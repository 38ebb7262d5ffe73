"""What was checked of a package on an accelerator, as the manifest beside it keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import staged_file
from sqb_tf.errors import InputError
from sqb_tf.json_text import to_json

from ..package.info import PackageInfo

# The manifest's key of the checks, by accelerator.
KEY = "accelerators"


def checked(info: PackageInfo) -> Mapping[str, Any]:
    """The checks of a package, by accelerator, the verification being that of `cpu`.

    Those of another file of its name do not count.
    """
    manifest = _manifest(Path(info.path))
    if manifest.get("sha256") != info.sha256:
        return {}
    others = manifest.get(KEY)
    checks = {"cpu": manifest.get("verification"), **(others if isinstance(others, dict) else {})}
    return {name: check for name, check in checks.items() if _is_check(check)}


def check_manifest(path: str | Path) -> None:
    """`InputError` unless the manifest beside a package is that of this file."""
    package = Path(path)
    if _manifest(package).get("sha256") != PackageInfo.read(package).sha256:
        raise InputError(
            f"{package.with_suffix('.json')}: no manifest of {package}: expected the one that `sqb convert` "
            "wrote beside it"
        )


def keep(path: str | Path, accelerator: str, check: Mapping[str, Any]) -> Path:
    """Writes a check into the manifest beside a package, in place of an earlier one; returns the manifest.

    Raises:
        InputError: no manifest of this file; it cannot be written.
    """
    check_manifest(path)
    package = Path(path)
    manifest, file = _manifest(package), package.with_suffix(".json")
    others = manifest.get(KEY)
    checks = {**(others if isinstance(others, dict) else {}), accelerator: dict(check)}
    with staged_file(file) as staged:
        staged.write_text(to_json({**manifest, KEY: checks}, indent=2) + "\n", encoding="utf-8")
    return file


def _manifest(package: Path) -> dict[str, Any]:
    """What the manifest beside a package says; empty where there is none that can be read."""
    try:
        manifest = json.loads(package.with_suffix(".json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _is_check(check: object) -> bool:
    """Whether it has what `describe` reads."""
    return (
        isinstance(check, dict)
        and isinstance(check.get("agreement"), (int, float))
        and isinstance(check.get("examples"), int)
        and isinstance(check.get("misses"), list)
    )
