"""Verifies a packaged .tflite against its Keras model on held-out text."""

import argparse
import dataclasses

from sqb_tf.data.example import Example
from sqb_tf.errors import InputError
from sqb_tf.options import option
from sqb_tools import arguments, entry, results
from sqb_tools.shared_options import HeldOutOptions, NpuOptions

EPILOG = """examples:
  sqb verify --model runs/sst2 --package sst2.tflite --data GLUE/SST-2
  sqb verify --model runs/sst2 --package sst2-fp16.tflite --gpu --limit 100
  sqb verify --model runs/sst2 --package sst2-qualcomm-SM8750.tflite --npu --limit 100

Exit code 1 if the package misses its recipe's bounds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyOptions(NpuOptions):
    """What is compared."""

    model: str = option(dataclasses.MISSING, "the bundle", group="model", metavar="DIR")
    package: str = option(
        dataclasses.MISSING, "the packaged .tflite", group="model", metavar="FILE"
    )
    gpu: bool = option(
        False,
        "also run it on LiteRT's GPU accelerator, over SwiftShader or the Vulkan driver of VK_DRIVER_FILES: "
        "whether it is taken whole, and answers as on the CPU",
        group="verification",
    )
    record: bool = option(
        False,
        "with --gpu: keep what it found in the manifest beside the package, where sqb describe reads it",
        group="verification",
    )
    npu: bool = option(
        False,
        "run a package that sqb compile wrote for a chip of Qualcomm, by its binary, on Qualcomm's emulator",
        group="compilation",
    )

    def __post_init__(self) -> None:
        if self.record and not self.gpu:
            raise InputError("--record: expected with --gpu, whose result it keeps")
        if self.npu_python and not self.npu:
            raise InputError("--npu-python: expected with --npu, which runs it")
        if self.gpu and self.npu:
            raise InputError(
                "--gpu and --npu: a package compiled for an NPU runs nowhere else: give one"
            )


def main(args: argparse.Namespace) -> int:
    options = arguments.read(VerifyOptions, args)
    held_out = arguments.read(HeldOutOptions, args)
    from sqb_tf.checkpoint import bundle
    from sqb_tflite.accelerators import records, vulkan
    from sqb_tflite.package.container import unpack
    from sqb_tflite.package.info import PackageInfo
    from sqb_tflite.package.properties import check_for_cpu

    # Files that may be wrong are read before TensorFlow is imported.
    examples, source = held_out.examples(bundle.read_info(options.model))
    package = unpack(options.package)
    if options.npu:
        return _verify_compiled(args, options, examples, source)
    check_for_cpu(package.properties, options.package)
    if options.gpu:
        vulkan.find()
        if any(s.seq_length is None for s in PackageInfo.read(options.package).signatures):
            raise InputError(
                f"{options.package}: takes texts of any length, a GPU those of fixed ones: convert it with "
                "--seq-lengths"
            )
        if options.record:
            records.check_manifest(options.package)
    from sqb_tflite.verification.verify import verify

    report = verify(bundle.load(options.model), options.package, examples)
    table, values, misses = report.table(), {**report.to_dict(), "data": source}, report.misses
    if options.gpu:
        from sqb_tflite.accelerators.check import check_gpu

        checked = check_gpu(options.package, examples)
        table, misses = f"{table}\n{checked.table()}", [*misses, *checked.misses]
        values |= {"misses": misses, records.KEY: {checked.accelerator: checked.to_dict()}}
        if options.record:
            kept = records.keep(options.package, checked.accelerator, checked.to_dict())
            table = f"{table}\nkept in {kept}"
    results.emit(args, table, values)
    return entry.MISSED if misses else entry.DONE


def _verify_compiled(
    args: argparse.Namespace, options: VerifyOptions, examples: list[Example], source: str
) -> int:
    """Judges the binary in a compiled package as any package."""
    from sqb_tf.checkpoint import bundle
    from sqb_tflite.npu.emulator import EmulatedRunner

    with EmulatedRunner(options.package, options.npu_python) as runner:
        from sqb_tflite.verification.verify import verify

        report = verify(bundle.load(options.model), options.package, examples, runner=runner)
    note = f"on Qualcomm's emulator of {runner.chip}, whose times say nothing of a phone"
    result = {**report.to_dict(), "data": source, "emulator": runner.chip}
    results.emit(args, f"{note}\n{report.table()}", result)
    return entry.MISSED if report.misses else entry.DONE


def flags() -> arguments.Parser:
    return arguments.parser("verify", __doc__, EPILOG, VerifyOptions, HeldOutOptions)


if __name__ == "__main__":
    entry.run(main, flags())
