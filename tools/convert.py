"""Converts a fine-tuned bundle to a packaged, quantized and verified .tflite."""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import check_writable, staged_file
from sqb_tf.errors import InputError
from sqb_tflite.conversion.recipes import (
    LOWERINGS,
    Recipe,
    check_searchable,
    choose_lowering,
    read_patterns,
)
from sqb_tools import cli

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
  python tools/convert.py --quantize int8
  python tools/convert.py --model runs/sst2 --quantize int8 --output sst2.tflite
  python tools/convert.py --model runs/sst2 --quantize fp16 --seq-lengths 64,128
  python tools/convert.py --model runs/sst2 --quantize int4-all --search
  python tools/convert.py --model runs/sst2 --quantize mixed.json
with mixed.json such as {"*": "int8", "block_0/*": "float32", "*/intermediate": "int4"}; tools/describe.py
names the layers.

The package is verified on held-out text before it gets its name. One that misses its recipe's bounds
is not written (exit 1) unless --allow-loss is given."""
)


def main(args: argparse.Namespace) -> int:
    recipe = Recipe.named(args.quantize)
    lowering = choose_lowering(args.lowering, args.target)
    if recipe is Recipe.MIXED:
        read_patterns(args.quantize)
    if args.search:
        check_searchable(recipe)
    if args.search_budget <= 0:
        raise InputError(f"--search-budget {args.search_budget}: expected seconds above 0")
    seq_lengths = cli.numbers(args.seq_lengths, "--seq-lengths") if args.seq_lengths else None
    directory = Path(args.model or DEMO_BUNDLE)
    output = Path(args.output or f"{_named(directory)}-{recipe.label}.tflite")
    if output.suffix != ".tflite":
        raise InputError(f"--output {output}: expected a name ending in .tflite")
    manifest = output.with_suffix(".json")
    from sqb_tf.checkpoint import bundle

    if args.model:
        bundle.read_info(directory)
    check_writable(output)
    check_writable(manifest)
    if not args.model:
        make_demo_bundle()

    from sqb_tf.progress import log
    from sqb_tflite import convert
    from sqb_tflite.conversion.calibration import read_texts
    from sqb_tflite.verification import search
    from sqb_tflite.verification.verify import verify

    info = bundle.read_info(directory)
    texts = read_texts(args.calibration, info.task.paired) if args.calibration else None
    model = bundle.load(directory)
    examples, source = cli.held_out(args, model.info)
    log(f"converting {directory} to {args.quantize}")
    log(f"lowering {lowering}: {LOWERINGS[lowering]}")
    content = convert(model, args.quantize, seq_lengths, texts, lowering)
    log(f"verifying on {len(examples)} held-out examples of {source}")
    report = verify(model, content, examples)
    result = {"package": str(output), "model": str(directory)}
    result |= package_result(content, report, source)
    if report.misses and args.search:
        tried = searched(args, model, examples, seq_lengths, texts, lowering, output)
        result["search"] = {"for": args.quantize, "tried": [one.summary() for one in tried]}
        if found := search.cheapest(tried):
            content, report = found.content, found.report
            result |= package_result(content, report, source)
    if report.misses and not args.allow_loss:
        cli.emit(args, report.table(), {**result, "package": None})
        log(f"{output} was not written: {'; '.join(report.misses)}. --allow-loss writes it anyway")
        return cli.MISSED
    # The manifest first: a package never stands without the record of how it was judged.
    with staged_file(output) as staged, staged_file(manifest) as staged_manifest:
        staged_manifest.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        staged.write_bytes(content)
    cli.emit(args, f"{report.table()}\npackage {output}\nmanifest {manifest}", result)
    return cli.DONE


def package_result(content: bytes, report: Any, source: str) -> dict[str, Any]:
    """What the manifest says of a package."""
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "verification": {**report.to_dict(), "data": source},
        **cli.package_record(content),
    }


def searched(
    args: argparse.Namespace,
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

    log(f"{args.quantize} misses its bounds: searching for layers that must be finer")
    budget = args.search_budget
    tried = search.find(model, args.quantize, examples, seq_lengths, texts, budget, lowering)
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
        demo.finetune_demo(DEMO_BUNDLE, command=cli.command())


def _named(directory: Path) -> Path:
    """The path of a folder by its name, also where it is `.` or `..`."""
    return directory if directory.name not in ("", "..") else directory.resolve()


def flags() -> argparse.ArgumentParser:
    made = cli.parser(__doc__, EPILOG)
    made.add_argument("--model", metavar="DIR", help="bundle; none: runs/demo, made when missing")
    made.add_argument(
        "--quantize", default="int8", metavar="RECIPE", help=f"one of {', '.join(Recipe.names())}"
    )
    made.add_argument(
        "--output",
        metavar="FILE",
        help="package to write; none: DIR-RECIPE.tflite beside the model",
    )
    made.add_argument(
        "--seq-lengths", help="fixed lengths in tokens, as 128 or 64,128; none: any length"
    )
    made.add_argument(
        "--lowering",
        default="auto",
        help=f"how the model is shaped, exactly: auto (by --target), {', '.join(LOWERINGS)}",
    )
    made.add_argument("--target", default="cpu", help="what runs it: cpu, gpu")
    made.add_argument(
        "--calibration", metavar="PATH", help="text file, a text a line; none: the bundle's sample"
    )
    cli.add_held_out(made)
    made.add_argument(
        "--search",
        action="store_true",
        help="where the recipe misses its bounds, find the cheapest mix of weights that keeps them",
    )
    made.add_argument(
        "--search-budget", type=float, default=600.0, help="seconds that a search may take"
    )
    made.add_argument(
        "--allow-loss", action="store_true", help="write a package that misses its bounds"
    )
    return made


if __name__ == "__main__":
    cli.run(main, flags())
