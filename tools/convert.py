"""Converts a fine-tuned bundle to a packaged, quantized and verified .tflite."""

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import check_writable, staged_file
from sqb_tf.errors import InputError
from sqb_tf.options import check_choices, option
from sqb_tflite.conversion.recipes import (
    LOWERINGS,
    TARGETS,
    Recipe,
    check_searchable,
    choose_lowering,
    read_patterns,
)
from sqb_tools import arguments, entry, results
from sqb_tools.shared_options import HeldOutOptions

DEMO_BUNDLE = Path("runs/demo")


def bounds_text(recipe: Recipe) -> str:
    """What a recipe may lose, for `--help`."""
    bounds = recipe.bounds
    return (
        f"may lose {100 * bounds.drop:g} points, at least {bounds.agreement:.1%} the same, "
        f"{bounds.sqnr_db:g} dB"
    )


EPILOG = (
    "recipes:\n"
    + "\n".join(f"  {r.label:<9} {r.summary} ({bounds_text(r)})" for r in Recipe)
    + """

examples:
  sqb convert --quantize int8
  sqb convert --model runs/sst2 --quantize int8 --output sst2.tflite
  sqb convert --model runs/sst2 --quantize fp16 --seq-lengths 64,128
  sqb convert --model runs/sst2 --quantize int4-all --search
  sqb convert --model runs/sst2 --quantize mixed.json
with mixed.json such as {"*": "int8", "block_0/*": "float32", "*/intermediate": "int4"}; `sqb describe`
lists the layers.

The package is verified on held-out text before it is written. One that misses its recipe's bounds is not
written (exit code 1) unless --allow-loss is given."""
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """What is converted, how, and what may be lost."""

    calibration: str | None = option(
        None,
        "calibration texts, one per line",
        group="data",
        metavar="FILE",
        fallback="the bundle's sample",
    )
    model: str | None = option(
        None,
        "bundle to convert",
        group="model",
        metavar="DIR",
        fallback="runs/demo, trained when missing",
    )
    quantize: str = option(
        "int8",
        f"how weights and activations are stored: {', '.join(Recipe.names())}, or a .json file of "
        "layer patterns",
        group="conversion",
        metavar="RECIPE",
    )
    seq_lengths: str | None = option(
        None,
        "fixed lengths in tokens, as 128 or 64,128",
        group="conversion",
        metavar="N,N",
        fallback="any length",
    )
    lowering: str = option(
        "auto",
        "how the graph is shaped, exactly; auto chooses by --target",
        group="conversion",
        choices=("auto", *LOWERINGS),
    )
    target: str = option("cpu", "what runs the package", group="conversion", choices=TARGETS)
    search: bool = option(
        False,
        "if the recipe misses its bounds, find the cheapest mix of weight dtypes that keeps them",
        group="verification",
    )
    search_budget: float = option(
        600.0, "seconds that a search may take", group="verification", metavar="SECONDS"
    )
    allow_loss: bool = option(False, "write a package that misses its bounds", group="verification")
    output: str | None = option(
        None,
        "package to write; its manifest and other files go beside it",
        group="saving",
        metavar="FILE",
        fallback="DIR-RECIPE.tflite beside the model",
    )

    def __post_init__(self) -> None:
        check_choices(self)
        if self.search_budget <= 0:
            raise InputError(f"--search-budget {self.search_budget}: expected seconds above 0")


def main(args: argparse.Namespace) -> int:
    options = arguments.read(ConvertOptions, args)
    held_out = arguments.read(HeldOutOptions, args)
    recipe = Recipe.named(options.quantize)
    lowering = choose_lowering(options.lowering, options.target)
    if recipe is Recipe.MIXED:
        read_patterns(options.quantize)
    if options.search:
        check_searchable(recipe)
    seq_lengths = (
        arguments.whole_numbers(options.seq_lengths, "--seq-lengths")
        if options.seq_lengths
        else None
    )
    directory = Path(options.model or DEMO_BUNDLE)
    output = Path(options.output or f"{_named(directory)}-{recipe.label}.tflite")
    if output.suffix != ".tflite":
        raise InputError(f"--output {output}: expected a name ending in .tflite")
    manifest = output.with_suffix(".json")
    from sqb_tf.checkpoint import bundle

    if options.model:
        bundle.read_info(directory)
    check_writable(output)
    check_writable(manifest)
    if not options.model:
        make_demo_bundle()

    info = bundle.read_info(directory)
    examples, source = held_out.examples(info)
    from sqb_tf.progress import log
    from sqb_tflite import convert
    from sqb_tflite.conversion.calibration import read_texts
    from sqb_tflite.verification import search
    from sqb_tflite.verification.verify import verify

    texts = read_texts(options.calibration, info.task.paired) if options.calibration else None
    model = bundle.load(directory)
    log(f"converting {directory} to {options.quantize}")
    log(f"lowering {lowering}: {LOWERINGS[lowering]}")
    content = convert(model, options.quantize, seq_lengths, texts, lowering)
    log(f"verifying on {len(examples)} held-out examples of {source}")
    report = verify(model, content, examples)
    result = {"package": str(output), "model": str(directory)}
    result |= package_result(content, report, source)
    if report.misses and options.search:
        tried = searched(options, model, examples, seq_lengths, texts, lowering, output)
        result["search"] = {"for": options.quantize, "tried": [one.summary() for one in tried]}
        if found := search.cheapest(tried):
            content, report = found.content, found.report
            result |= package_result(content, report, source)
    if report.misses and not options.allow_loss:
        results.emit(args, report.table(), {**result, "package": None})
        log(f"{output} was not written: {'; '.join(report.misses)}. --allow-loss writes it anyway")
        return entry.MISSED
    # The manifest first: a package never stands without the record of how it was judged.
    with staged_file(output) as staged, staged_file(manifest) as staged_manifest:
        staged_manifest.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        staged.write_bytes(content)
    results.emit(args, f"{report.table()}\npackage {output}\nmanifest {manifest}", result)
    return entry.DONE


def package_result(content: bytes, report: Any, source: str) -> dict[str, Any]:
    """What the manifest says of a package."""
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "verification": {**report.to_dict(), "data": source},
        **package_record(content),
    }


def package_record(content: bytes) -> dict[str, Any]:
    """What a package records of itself: recipe, lowering, lengths, versions, calibration, signatures."""
    from sqb_tflite.package.info import PackageInfo

    return PackageInfo.read(content).manifest()


def searched(
    options: ConvertOptions,
    model: Any,
    examples: Sequence[Any],
    seq_lengths: Sequence[int] | None,
    texts: Sequence[Any] | None,
    lowering: str,
    output: Path,
) -> Sequence[Any]:
    """What a search tried, also as a picture, `NAME.search.png`.

    A mix within the bounds becomes a recipe beside the package, `NAME.recipe.json`.
    """
    from sqb_tf.progress import log
    from sqb_tflite.verification import search

    log(f"{options.quantize} misses its bounds: searching for layers that must be finer")
    budget = options.search_budget
    tried = search.find(model, options.quantize, examples, seq_lengths, texts, budget, lowering)
    picture = output.with_suffix(".search.png")
    with staged_file(picture) as staged:
        search.plot(tried, staged)
    log(f"what was tried: {picture}")
    if found := search.cheapest(tried):
        recipe = output.with_suffix(".recipe.json")
        with staged_file(recipe) as staged:
            staged.write_text(json.dumps(found.patterns, indent=2) + "\n", encoding="utf-8")
        log(f"the mix as a recipe: {recipe}")
    else:
        log("no mix keeps the bounds within --search-budget")
    return tried


def make_demo_bundle() -> None:
    """Fine-tunes the demo's bundle, saying so, where it is missing."""
    if not DEMO_BUNDLE.is_dir():
        from sqb_tf.progress import log
        from sqb_tf.training import demo

        log(f"{DEMO_BUNDLE} is missing: fine-tuning it on the demo data that ships with sqb_tf")
        demo.finetune_demo(DEMO_BUNDLE, command=results.command())


def _named(directory: Path) -> Path:
    """The path of a folder by its name, also where it is `.` or `..`."""
    return directory if directory.name not in ("", "..") else directory.resolve()


def flags() -> arguments.Parser:
    return arguments.parser("convert", __doc__, EPILOG, ConvertOptions, HeldOutOptions)


if __name__ == "__main__":
    entry.run(main, flags())
