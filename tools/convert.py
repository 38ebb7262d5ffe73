"""Converts a fine-tuned bundle to a packaged, quantized and verified .tflite."""

import argparse
import dataclasses
import textwrap
from pathlib import Path

from sqb_tf.checkpoint import bundle
from sqb_tf.data.texts import read_texts
from sqb_tf.errors import InputError
from sqb_tf.options import check_choices, option
from sqb_tflite.conversion.recipes import LOWERINGS, Recipe, RecipeSpec
from sqb_tflite.conversion.targets import TARGETS, choose
from sqb_tflite.verification.release_files import ReleaseFiles
from sqb_tools import arguments, entry, results
from sqb_tools.shared_options import HeldOutOptions, no_samples

DEMO_BUNDLE = Path("runs/demo")


def recipe_text(recipe: Recipe) -> str:
    """A recipe and its bounds, for `--help`."""
    bounds = recipe.bounds
    text = (
        f"{recipe.label:<9} {recipe.summary} (bounds: at most {100 * bounds.drop:g} points lost, "
        f"{bounds.agreement:.1%} of the decisions the same, {bounds.sqnr_db:g} dB)"
    )
    return textwrap.fill(text, 100, initial_indent="  ", subsequent_indent=" " * 12)


EPILOG = (
    "recipes:\n"
    + "\n".join(map(recipe_text, Recipe))
    + """

examples:
  sqb convert --quantize int8
  sqb convert --model runs/sst2 --quantize int8 --output sst2.tflite
  sqb convert --model runs/sst2 --quantize fp16 --seq-lengths 64,128 --for gpu
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
        "how the graph is built, with the same results; auto is group-fused, or what suits --for",
        group="conversion",
        choices=("auto", *LOWERINGS),
    )
    target: str = option(
        "cpu",
        "the processor that the package is for: gpu and npu need --seq-lengths, and refuse what LiteRT's GPU "
        "accelerator or Qualcomm's compiler would not take whole, or answer wrongly",
        group="conversion",
        names=("--for", "--target"),
        choices=TARGETS,
    )
    search: bool = option(
        False,
        "if the recipe misses its bounds, find the cheapest mix of weight dtypes that keeps them; with "
        "int8-full, in any case, the fewest layers with 16-bit activations that keep them",
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
    overwrite: bool = option(
        False,
        "replace what is at --output; without it, only an earlier package of the same bundle and recipe is "
        "replaced",
        group="saving",
    )

    def __post_init__(self) -> None:
        check_choices(self)
        if self.search_budget <= 0:
            raise InputError(f"--search-budget {self.search_budget}: expected seconds above 0")


def main(args: argparse.Namespace) -> int:
    options = arguments.read(ConvertOptions, args)
    held_out = arguments.read(HeldOutOptions, args)
    recipe = RecipeSpec.read(options.quantize)
    if options.search:
        recipe.check_searchable()
    seq_lengths = (
        arguments.whole_numbers(options.seq_lengths, "--seq-lengths")
        if options.seq_lengths
        else None
    )
    choose(options.target, recipe, options.lowering, seq_lengths)
    directory = options.model or str(DEMO_BUNDLE)  # a string may name a checkpoint that ships
    files = ReleaseFiles(
        Path(options.output or f"{_named(Path(directory))}-{recipe.base.label}.tflite")
    )
    if options.model:
        bundle.read_info(directory)
    files.check_writable(options.search)
    if not options.model:
        if not options.overwrite:
            _check_new(files, DEMO_BUNDLE, recipe)
        make_demo_bundle()

    info = bundle.read_info(directory)
    _check_samples(info, recipe, options, held_out)
    examples, source = held_out.examples(info)
    texts = read_texts(options.calibration, info.task.paired) if options.calibration else None
    if not options.overwrite:
        _check_new(files, info.directory, recipe)
    from sqb_tf.progress import log, warn
    from sqb_tflite.verification.release import BoundsMissed, release

    if (caveat := info.head.mediapipe_caveat(info.task.lowercase)) is not None:
        warn(caveat)
    try:
        released = release(
            directory,
            files.package,
            recipe,
            examples,
            allow_loss=options.allow_loss,
            search=options.search,
            search_budget=options.search_budget,
            seq_lengths=seq_lengths,
            calibration=texts,
            lowering=options.lowering,
            target=options.target,
            source=source,
        )
    except BoundsMissed as missed:
        report = missed.release.report
        results.emit(args, missed.release.table(), missed.release.manifest)
        misses = "; ".join(report.misses)
        log(f"{files.package} was not written: {misses}. --allow-loss writes it anyway")
        return entry.MISSED
    table = f"{released.table()}\npackage {files.package}\nmanifest {files.manifest}"
    results.emit(args, table, released.manifest)
    return entry.DONE


def _check_samples(
    info: bundle.BundleInfo, recipe: RecipeSpec, options: ConvertOptions, held_out: HeldOutOptions
) -> None:
    """`InputError` if the bundle lacks texts that are neither named; it says all that must be."""
    needed = []
    if held_out.data is None and not info.sample("verification"):
        needed.append(held_out.what(info))
    if recipe.needs_calibration and not options.calibration and not info.sample("calibration"):
        needed.append("texts to calibrate on with --calibration FILE, one per line")
    if needed:
        raise no_samples(info, needed)


def _check_new(files: ReleaseFiles, directory: Path | None, recipe: RecipeSpec) -> None:
    """`InputError` if a file is there that is no earlier package of this bundle and recipe."""
    assert directory is not None, "a bundle on disk has a folder"
    if files.package.exists() and not files.is_earlier(directory, recipe):
        raise InputError(
            f"{files.package} is there already, and not as the package of {directory} with recipe "
            f"{recipe.name}: --overwrite replaces it"
        )


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
