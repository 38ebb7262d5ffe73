"""Shows what is in a packaged .tflite: signatures, operations and who runs them, bytes, weights by layer."""

import argparse
import dataclasses

from sqb_tf.errors import InputError
from sqb_tf.options import option
from sqb_tools import arguments, entry, results
from sqb_tools.shared_options import no_samples

EPILOG = """examples:
  sqb describe --package sst2.tflite
  sqb describe --package sst2.tflite --json - | jq .layers
  sqb describe --package sst2-int8-full.tflite --sensitivity --model runs/sst2

The patterns of a mixed recipe are matched with these layer names (sqb convert --help)."""

# Of --sensitivity, by default.
TEXTS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class DescribeOptions:
    """What is described."""

    package: str = option(
        dataclasses.MISSING, "the packaged .tflite", group="model", metavar="FILE"
    )
    model: str | None = option(
        None,
        "with --sensitivity: the bundle that it was converted from",
        group="model",
        metavar="DIR",
    )
    sensitivity: bool = option(
        False,
        "also measure what each layer costs, dB and decisions on held-out text: its weights rounded as they "
        "are stored (4-bit kernels to nearest, without GPTQ), and in int8-full its activations rounded to 8 "
        "bits, all other layers exact",
        group="verification",
    )
    limit: int | None = option(
        None,
        "with --sensitivity: the first N held-out texts of the bundle",
        group="verification",
        fallback=str(TEXTS),
    )

    def __post_init__(self) -> None:
        if self.sensitivity and self.model is None:
            raise InputError(
                "--sensitivity: expected with --model, the bundle that the package was converted from"
            )
        if self.model is not None and not self.sensitivity:
            raise InputError(
                "--model: expected with --sensitivity, which compares the package with it"
            )
        if self.limit is not None and not self.sensitivity:
            raise InputError("--limit: expected with --sensitivity, which alone runs texts")
        if self.limit is not None and self.limit < 2:
            raise InputError(
                f"--limit {self.limit}: expected at least 2, of which the outputs differ"
            )


def main(args: argparse.Namespace) -> int:
    options = arguments.read(DescribeOptions, args)
    if options.sensitivity:
        return _describe_with_sensitivity(args, options)
    from sqb_tflite.runtime import describe

    description = describe.describe(options.package)
    results.emit(args, describe.table(description), description)
    return entry.DONE


def _describe_with_sensitivity(args: argparse.Namespace, options: DescribeOptions) -> int:
    """The package, and what coarse weights or activations of each layer cost."""
    from sqb_tf.checkpoint import bundle
    from sqb_tflite.conversion.recipes import check_layers
    from sqb_tflite.package.info import PackageInfo
    from sqb_tflite.runtime import describe

    assert options.model is not None
    # Files that may be wrong are read before TensorFlow is imported.
    info, package = bundle.read_info(options.model), PackageInfo.read(options.package)
    check_layers(package.recipe, package.properties.get("weights"), package.path)
    examples = info.sample("verification")[: options.limit or TEXTS]
    if not examples:
        raise no_samples(info, ["another bundle of the model with --model"])
    description = describe.describe(options.package)
    from sqb_tflite.verification import sensitivity

    measured = sensitivity.of_package(package, bundle.load(options.model), examples)
    table = f"{describe.table(description)}\n\n{measured.table()}"
    results.emit(args, table, {**description, "sensitivity": measured.to_dict()})
    return entry.DONE


def flags() -> arguments.Parser:
    return arguments.parser("describe", __doc__, EPILOG, DescribeOptions)


if __name__ == "__main__":
    entry.run(main, flags())
