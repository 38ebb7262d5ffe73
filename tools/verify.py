"""Verifies a packaged .tflite against its Keras model on held-out text."""

import argparse
import dataclasses
from typing import Any

from sqb_tf.options import option
from sqb_tools import arguments, entry, results
from sqb_tools.shared_options import HeldOutOptions, NpuOptions

EPILOG = """examples:
  sqb verify --model runs/sst2 --package sst2.tflite --data GLUE/SST-2
  sqb verify --model runs/sst2 --package sst2-qualcomm-SM8750.tflite --npu --limit 100

Exit code 1 if the package misses its recipe's bounds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyOptions(NpuOptions):
    """What is compared."""

    model: str = option(dataclasses.MISSING, "the bundle", group="model", metavar="DIR")
    package: str = option(
        dataclasses.MISSING, "the packaged .tflite", group="model", metavar="FILE"
    )
    npu: bool = option(
        False,
        "run a package that sqb compile wrote for a chip of Qualcomm, by its binary, on Qualcomm's emulator",
        group="compilation",
    )


def main(args: argparse.Namespace) -> int:
    options = arguments.read(VerifyOptions, args)
    held_out = arguments.read(HeldOutOptions, args)
    from sqb_tf.checkpoint import bundle
    from sqb_tflite.package.container import unpack

    # Files that may be wrong are read before TensorFlow is imported.
    examples, source = held_out.examples(bundle.read_info(options.model))
    unpack(options.package)
    with _runner(options) as runner:
        from sqb_tflite.verification.verify import verify

        report = verify(bundle.load(options.model), options.package, examples, runner=runner)
    table, result = report.table(), {**report.to_dict(), "data": source}
    if options.npu:
        result["emulator"] = runner.chip
        table = (
            f"on Qualcomm's emulator of {runner.chip}, whose times say nothing of a phone\n{table}"
        )
    results.emit(args, table, result)
    return entry.MISSED if report.misses else entry.DONE


def _runner(options: VerifyOptions) -> Any:
    """What runs the package: the CPU, or the emulator of the chip that it was compiled for."""
    if options.npu:
        from sqb_tflite.npu.emulator import EmulatedRunner

        return EmulatedRunner(options.package, options.npu_python)
    from sqb_tflite.runtime.runner import Runner

    return Runner(options.package)


def flags() -> arguments.Parser:
    return arguments.parser("verify", __doc__, EPILOG, VerifyOptions, HeldOutOptions)


if __name__ == "__main__":
    entry.run(main, flags())
