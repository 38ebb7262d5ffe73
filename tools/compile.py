"""Compiles a packaged .tflite ahead for the NPUs of phones, and says how much of it they take."""

import argparse
import dataclasses
from typing import Any

from sqb_tf.atomic_write import check_writable
from sqb_tf.errors import InputError
from sqb_tf.options import option
from sqb_tools import arguments, entry, results
from sqb_tools.shared_options import NpuOptions

EPILOG = """examples:
  sqb convert --model runs/sst2 --quantize int8-full --seq-lengths 64 --output sst2.tflite
  sqb compile --package sst2.tflite --npu qualcomm:SM8750
  sqb compile --package sst2.tflite --npu qualcomm:all --ai-pack sst2_pack
  sqb verify --model runs/sst2 --package sst2-qualcomm-SM8750.tflite --npu

NPUs take fixed lengths, int8-full whole, fp16 on all but the oldest chips. The makers' compilers are not part
of this project: the error for one that is missing says how to get it. What is measured is what the compiler
takes, never speed.

Exit code 1 if the compiler failed for a chip; the files of the others are written."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompileOptions(NpuOptions):
    """What is compiled, for which chips, and where it is written."""

    package: str = option(
        dataclasses.MISSING, "the packaged .tflite, of fixed lengths", group="model", metavar="FILE"
    )
    npu: str = option(
        dataclasses.MISSING,
        "chips, as qualcomm:SM8750,mediatek:MT6991; all those of a maker, as qualcomm:all; or all, of every "
        "maker whose compiler is installed. Makers: qualcomm, mediatek, google-tensor, samsung, intel",
        group="compilation",
        metavar="CHIPS",
    )
    time_limit: float = option(
        600.0,
        "seconds that the compiler may take for a chip",
        group="compilation",
        metavar="SECONDS",
    )
    output: str | None = option(
        None,
        "name of the compiled packages, to which maker and chip are added: a.tflite becomes "
        "a-qualcomm-SM8750.tflite",
        group="saving",
        metavar="FILE",
        fallback="that of --package",
    )
    ai_pack: str | None = option(
        None,
        "also write an AI pack for Google Play: the package for each chip, and that of --package for others",
        group="saving",
        metavar="DIR",
    )
    overwrite: bool = option(
        False,
        "replace compiled packages and an AI pack; without it, one that is there is an error",
        group="saving",
    )

    def __post_init__(self) -> None:
        if not self.time_limit > 0:
            raise InputError(f"--time-limit {self.time_limit}: expected seconds above 0")


def main(args: argparse.Namespace) -> int:
    options = arguments.read(CompileOptions, args)
    from sqb_tflite.npu import ai_pack, chips, compiler, report, sdk

    wanted = chips.parse(options.npu)
    compiler.check_package(options.package)
    if chips.ALL in map(str.strip, options.npu.split(",")):
        wanted = sdk.with_compiler(wanted, options.npu_python)
    outputs = compiler.output_paths(options.output or options.package, wanted)
    for output in outputs.values():
        if output.exists() and not options.overwrite:
            raise InputError(f"{output} is there already: --overwrite replaces it")
        check_writable(output)
    if options.ai_pack:
        others = [options.package, *outputs.values(), *filter(None, [args.json])]
        ai_pack.check_new(options.ai_pack, options.overwrite, others)
    compilations = compiler.compile_package(
        options.package, outputs, npu_python=options.npu_python, time_limit=options.time_limit
    )
    table = report.table(compilations)
    result: dict[str, Any] = {
        "package": options.package,
        "chips": [compilation.to_json() for compilation in compilations],
        "ai_pack": None,
    }
    if options.ai_pack and any(compilation.file for compilation in compilations):
        groups = ai_pack.write(options.ai_pack, options.package, compilations)
        result["ai_pack"] = {"folder": options.ai_pack, "groups": groups}
        table += f"\n\nAI pack {options.ai_pack}: {', '.join(groups)}"
    results.emit(args, table, result)
    return entry.MISSED if any(c.failure for c in compilations) else entry.DONE


def flags() -> arguments.Parser:
    return arguments.parser("compile", __doc__, EPILOG, CompileOptions)


if __name__ == "__main__":
    entry.run(main, flags())
