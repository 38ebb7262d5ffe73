"""A release: a package that was verified on held-out text before it gets its name."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import staged_file
from sqb_tf.checkpoint.saving import check_sample
from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.heads.metrics import FEWEST_EXAMPLES
from sqb_tf.json_text import to_json
from sqb_tf.progress import log, warn

from ..accelerators import records, vulkan
from ..accelerators.check import Check, check_gpu
from ..conversion import converter
from ..conversion.converter import ConversionRequest
from ..conversion.recipes import LOWERINGS, RecipeSpec
from ..package.info import PackageInfo
from . import search as mixes
from .release_files import MODEL_PATH, ReleaseFiles
from .verify import Report, few_examples, verify

# Examples that a package for GPUs is checked on: over SwiftShader, squeezebert-base takes 2.3 s for each.
GPU_EXAMPLES = 64


@dataclasses.dataclass(frozen=True)
class Release:
    """A package and the record of how it was made and verified.

    Attributes:
        content: the package's bytes.
        report: what verification found, see `verify`.
        manifest: what the manifest file says.
        tried: every mix that a search tried, empty without one.
        path: the package's file; None: the bounds were missed and nothing was written.
        check: what running it on LiteRT's GPU accelerator found; None where it is for another processor, or
            there is no Vulkan driver.
    """

    content: bytes
    report: Report
    manifest: dict[str, Any]
    tried: tuple[mixes.Attempt, ...] = ()
    path: Path | None = None
    check: Check | None = None

    def table(self) -> str:
        """What verification and a GPU's check found, for people."""
        return "\n".join(part.table() for part in (self.report, self.check) if part is not None)


class BoundsMissed(Exception):
    """The package misses its recipe's bounds and was not written.

    `.release` has the package's bytes and what verification measured.
    """

    def __init__(self, path: Path, release: Release) -> None:
        super().__init__(
            f"{path} was not written: {'; '.join(release.report.misses)}. allow_loss=True writes it anyway"
        )
        self.release = release


def release(
    model_or_directory: Any,
    path: str | Path,
    recipe: str | Path | Mapping[str, str] | RecipeSpec = "int8",
    examples: Iterable[Example] | None = None,
    *,
    allow_loss: bool = False,
    search: bool = False,
    search_budget: float = 600.0,
    seq_lengths: Sequence[int] | None = None,
    calibration: Sequence[str] | Sequence[tuple[str, str]] | None = None,
    lowering: str = "auto",
    target: str = "cpu",
    tokenizer: Any = None,
    labels: Sequence[str] | None = None,
    task: Any = None,
    source: str | None = None,
) -> Release:
    """Converts a model, verifies the package on held-out text, and writes it with its manifest.

    The manifest, `NAME.json`, is written before the package, and both completely or not at all: a package
    never exists without the record of how it was verified. One that misses its bounds is not written.

    Args:
        model_or_directory: a bundle's folder, the model of `sqb_tf.load`, or a Keras model of `sqb_tf`
            with `tokenizer` and `labels`.
        path: the package, ending in `.tflite`; an earlier one is replaced.
        recipe: as of `sqb_tflite.convert`.
        examples: held-out examples (`sqb_tf.Example`) with labels where the head has a metric; default:
            the bundle's own sample.
        allow_loss: whether a package that misses its bounds is written too.
        search: where the recipe misses its bounds, look for the cheapest mix of storage types within them;
            for `int8-full`, always, for the fewest layers with 16-bit activations. Writes what it tried as
            `NAME.search.png`, the mix as `NAME.recipe.json`.
        search_budget: seconds after which a search tries no other mix.
        seq_lengths: as of `sqb_tflite.convert`.
        calibration: as of `sqb_tflite.convert`.
        lowering: as of `sqb_tflite.convert`.
        target: as of `sqb_tflite.convert`. For "gpu", the package is also run on LiteRT's GPU accelerator,
            where a Vulkan driver is, and misses its bounds if it is not whole or not right there.
        tokenizer: for a Keras model, as of `sqb_tf.save`.
        labels: for a Keras model, as of `sqb_tf.save`.
        task: for a Keras model, as of `sqb_tf.save`.
        source: where `examples` are from, for the manifest.

    Returns:
        The release, with `.report`; its `.path` is the package.

    Raises:
        BoundsMissed: the package misses its bounds and `allow_loss` is not set; nothing is written.
        InputError: as `sqb_tflite.convert` and `verify`; no held-out examples; a recipe that cannot be
            searched; a file that cannot be written.
    """
    files = ReleaseFiles(Path(path))
    files.check_writable(search)
    spec = RecipeSpec.read(recipe)
    if search:
        spec.check_searchable()
    fields: dict[str, Any] = {"tokenizer": tokenizer, "labels": labels, "task": task}
    examples = None if examples is None else list(examples)
    if any(value is not None for value in fields.values()):
        fields["verification"] = examples  # which also says whether a Keras model takes pairs
    request = ConversionRequest.read(
        model_or_directory, spec, seq_lengths, calibration, lowering, target, **fields
    )
    held_out, source = _held_out(request.model, examples, source)
    directory = request.model.info.directory
    name = None if directory is None else str(directory)
    log(f"converting {name or 'the model'} to {spec.name}")
    log(f"lowering {request.lowering}: {LOWERINGS[request.lowering]}")
    log(f"verifying on {len(held_out)} held-out examples of {source}")
    tried, best = None, None
    if search and spec.base.activation_bits:
        log("searching for the layers that must have 16-bit activations")
        tried = _search(request, held_out, search_budget, files)
        best = mixes.cheapest(tried)
    if best is None:
        if tried is not None:
            log(f"falling back to {spec.name}")
        content = converter.convert_request(request)
        report = verify(request.model, content, held_out)
        if report.misses and search and tried is None:
            log(f"{spec.name} misses its bounds: searching for layers that must be finer")
            tried = _search(request, held_out, search_budget, files)
            best = mixes.cheapest(tried)
    if best is not None:
        content, report = best.content, best.report
    check = _checked_on_gpu(content, held_out) if target == "gpu" else None
    if check is not None:
        report = dataclasses.replace(report, misses=[*report.misses, *check.misses])
    written = files.package if allow_loss or not report.misses else None
    result = Release(
        content,
        report,
        manifest={
            "package": None if written is None else str(written),
            "model": name,
            MODEL_PATH: None if directory is None else os.path.realpath(directory),
            **_package_record(content, report, source),
            **_search_record(spec, tried),
            **({} if check is None else {records.KEY: {check.accelerator: check.to_dict()}}),
        },
        tried=tuple(tried or ()),
        path=written,
        check=check,
    )
    if written is None:
        raise BoundsMissed(files.package, result)
    _write(result, files)
    if best is None and search:
        # An earlier search's, which is not the recipe of this package.
        files.search_recipe.unlink(missing_ok=True)
    return result


def _held_out(
    model: Any, examples: list[Example] | None, source: str | None
) -> tuple[list[Example], str]:
    """The examples to verify on, and where they are from; `InputError` if there are none or one is wrong."""
    if examples is None:
        directory = model.info.directory
        source = (
            "the model's own sample" if directory is None else f"{directory}/verification.jsonl"
        )
        examples = model.info.sample("verification")
    else:
        check_sample(source or "examples", examples, model.info.task, with_labels=True)
    if not examples:
        raise InputError(
            "no held-out examples to verify on: give some (--data; in Python, examples=, a list of "
            "sqb_tf.Example)"
        )
    if len(examples) < FEWEST_EXAMPLES:
        warn(few_examples(len(examples)))
    return examples, source or "examples="


def _checked_on_gpu(content: bytes, held_out: Sequence[Example]) -> Check | None:
    """What LiteRT's GPU accelerator makes of the first held-out examples; None: there is no driver."""
    try:
        driver = vulkan.find()
    except InputError as error:
        warn(f"the answers on the GPU were not checked: {error}")
        return None
    examples = held_out[:GPU_EXAMPLES]
    log(f"checking {len(examples)} examples on LiteRT's GPU accelerator ({driver.name})")
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "package.tflite")
        package.write_bytes(content)
        return check_gpu(package, examples)


def _search(
    request: ConversionRequest, held_out: Sequence[Example], budget: float, files: ReleaseFiles
) -> list[mixes.Attempt]:
    """Every mix that was tried, drawn as a picture; the cheapest within the bounds becomes a recipe file."""
    tried = mixes.find(request, held_out, budget)
    with staged_file(files.search_plot) as staged:
        mixes.plot(tried, staged)
    log(f"what was tried: {files.search_plot}")
    if best := mixes.cheapest(tried):
        with staged_file(files.search_recipe) as staged:
            staged.write_text(json.dumps(best.patterns, indent=2) + "\n", encoding="utf-8")
        log(f"the mix as a recipe: {files.search_recipe}")
    else:
        log("no mix keeps the bounds within --search-budget")
    return tried


def _package_record(content: bytes, report: Report, source: str) -> dict[str, Any]:
    """What the manifest says of the package: its hash, how it was verified, what it says of itself."""
    info = PackageInfo.read(content)
    verification = {**report.to_dict(), "data": source}
    return {"sha256": info.sha256, "verification": verification, **info.manifest()}


def _search_record(
    spec: RecipeSpec, tried: Sequence[mixes.Attempt] | None
) -> dict[str, dict[str, Any]]:
    """What the manifest says of a search; nothing if there was none."""
    if tried is None:
        return {}
    return {"search": {"for": spec.name, "tried": [attempt.summary() for attempt in tried]}}


def _write(release: Release, files: ReleaseFiles) -> None:
    """Package and manifest; the manifest gets its name first, as the inner of the two."""
    with staged_file(files.package) as staged, staged_file(files.manifest) as staged_manifest:
        staged_manifest.write_text(to_json(release.manifest, indent=2) + "\n", encoding="utf-8")
        staged.write_bytes(release.content)
