"""What in a bundle is its maker's own: sample texts, the command line and paths; and a bundle without it.

What a model has learned stays: its labels, and a vocabulary that was learned from the texts has their words.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import staged_directory
from sqb_tf.checkpoint import bundle, checksum, pretrained
from sqb_tf.checkpoint.bundle import BundleContents, BundleInfo, TaskInfo
from sqb_tf.json_schema import read_json_file
from sqb_tf.json_text import to_json
from sqb_tf.line_file import write_lines

# Options of training that may name the maker's files; `metrics.json` has them all.
_MAY_BE_PATHS = ("init", "teacher", "vocabulary", "abstain")
_SHARE = re.compile(r"[\d.]+%?")


def without_private(contents: BundleContents) -> BundleContents:
    """The same bundle without samples, command line, paths, and logs, whose names have the machine's."""
    return dataclasses.replace(
        contents,
        task=_public_task(contents.task),
        metrics=_public_metrics(contents.metrics),
        calibration=(),
        verification=(),
        logs=None,
    )


def copy_without_private(info: BundleInfo, output: str | Path) -> None:
    """Writes a copy of a bundle on disk `without_private`. Other files that stand in its folder stay there.

    Raises:
        InputError: it cannot be written, or would replace something else; a file cannot be read.
    """
    assert info.directory is not None, "a bundle on disk has a folder"
    bundle.check_target(output)
    weights = info.directory / bundle.WEIGHTS
    pretrained.check_weights(weights)
    checksum.check(weights)
    metrics_path = info.directory / "metrics.json"
    metrics = read_json_file(metrics_path, dict[str, Any]) if metrics_path.is_file() else {}
    with staged_directory(output) as staged:
        for name in ("config.json", bundle.WEIGHTS, "vocab.txt", "labels.txt"):
            shutil.copyfile(info.directory / name, staged / name)
        checksum.write(staged / bundle.WEIGHTS)
        for name, content in (
            ("task", dataclasses.asdict(_public_task(info.task))),
            ("metrics", _public_metrics(metrics)),
        ):
            (staged / f"{name}.json").write_text(
                to_json(content, indent=2) + "\n", encoding="utf-8"
            )
        for sample in ("calibration", "verification"):
            write_lines(staged / f"{sample}.jsonl", ())


def _public_task(task: TaskInfo) -> TaskInfo:
    return dataclasses.replace(task, data="", command="")


def _public_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    options = metrics.get("options")
    if not isinstance(options, dict):
        return dict(metrics)
    return {**metrics, "options": {n: v for n, v in options.items() if not _is_path(n, v)}}


def _is_path(name: str, value: Any) -> bool:
    """Whether the value of an option may name a file or a folder."""
    if name not in _MAY_BE_PATHS or not isinstance(value, str):
        return False
    is_share = name == "abstain" and _SHARE.fullmatch(value)
    return not (is_share or pretrained.is_name(value))
