"""What accelerators take of each recipe and lowering, and whether a GPU answers as the CPU does.

Converts a bundle to every recipe of fixed length, also to those that `--for gpu` refuses, and runs each file
on the CPU and on LiteRT's GPU accelerator, over SwiftShader where no Vulkan driver is named: no time is
measured. The NPU's column is what `tflite/accelerators/rules.py` says of the file.

With --npu the makers' compilers are asked instead: each file is compiled for each chip, and the table says
how much of it each takes. Nothing runs. Every row is kept in --results, so that the command goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import re
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.pareto_tasks import weights_digest

MARKER, NPU_MARKER = "accelerators", "npu chips"
FLOAT_TABLES, INT8_TABLES = ({"*": "fp16", "embeddings": kind} for kind in ("float32", "int8"))
FP16_CONVOLUTIONS = {"*": "int8", "block_*": "fp16"}


@dataclasses.dataclass(frozen=True)
class Row:
    """A package: its name in the table, the recipe or its patterns, the lowering."""

    name: str
    recipe: Any
    lowering: str


def rows(only: str | None, names: Sequence[str] | None) -> list[Row]:
    """Every recipe, and the mixes that accelerators need, in both lowerings; or those that are named.

    Raises:
        InputError: a name that no row has.
    """
    from sqb_tf.errors import InputError, suggest
    from sqb_tflite.conversion.recipes import LOWERINGS, Recipe

    recipes: dict[str, Any] = {name: name for name in Recipe.names()}
    recipes |= {
        "fp16, float32 tables": FLOAT_TABLES,
        "fp16, int8 tables": INT8_TABLES,
        "int8, fp16 blocks": FP16_CONVOLUTIONS,
    }
    for name in names or ():
        if name not in recipes:
            known = ", ".join(map(repr, recipes))
            raise InputError(
                f"--recipes {name!r}: expected some of {known}{suggest(name, recipes)}"
            )
    return [
        Row(name, recipe, lowering)
        for name, recipe in recipes.items()
        for lowering in LOWERINGS
        if only in (None, lowering)
        and (names is None or name in names)
        and not (name.startswith("int4") and lowering == "grouped-conv")  # which `convert` refuses
    ]


def measure(row: Row, model: Any, length: int, limit: int) -> dict[str, Any]:
    """What the accelerator takes of the package, and its answers beside the CPU's."""
    from sqb_tf.errors import InputError
    from sqb_tflite import convert
    from sqb_tflite.accelerators import rules
    from sqb_tflite.accelerators.check import check_gpu
    from sqb_tflite.package.graph import Graph

    content = convert(model, row.recipe, [length], lowering=row.lowering)
    graph = Graph.read(content, row.name)
    record: dict[str, Any] = {
        "size_bytes": len(content),
        "operations": len(graph.main.operations),
        "rules": {name: dataclasses.asdict(rules.judge(graph, name)) for name in rules.RULES},
    }
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "package.tflite")
        package.write_bytes(content)
        try:
            check = check_gpu(package, model.info.sample("verification")[:limit])
        except InputError as error:
            return record | {"refused": str(error).replace(str(package), "package")}
    return record | {"check": check.to_dict()}


def table(results: dict[str, dict[str, Any]], length: int) -> str:
    """The records as Markdown."""
    header = (
        "package",
        "lowering",
        "MB",
        "on the GPU",
        "answers there",
        "on the NPU, by the rules",
    )
    lines = [(f"{header[0]}, {length} tokens", *header[1:])]
    for key, record in results.items():
        name, lowering = key.split(" | ")
        size = f"{record['size_bytes'] / 1e6:.2f}"
        lines.append((name, lowering, size, *gpu_cells(record), npu_cell(record["rules"]["npu"])))
    return output.markdown_table(lines)


def gpu_cells(record: dict[str, Any]) -> tuple[str, str]:
    """What is taken, and whether it is right."""
    if "refused" in record:
        reason = record["refused"].split("ERROR: ")[-1].split("; convert it")[0]
        return record["rules"]["gpu"]["extent"], f"not checked: {reason}"
    check = record["check"]
    taken = f"{record['operations'] - check['left_to_cpu']} of {record['operations']}"
    same = round(check["agreement"] * check["examples"])
    answers = f"{same} of {check['examples']}, {check['sqnr_db']:.0f} dB"
    if any("GPU:" in miss for miss in check["misses"]):
        answers = f"**wrong**: {answers}"
    return ("whole" if check["whole"] else taken), answers


def npu_cell(verdict: dict[str, Any]) -> str:
    """The extent, and the reasons."""
    reasons = "; ".join([*verdict["refused"], *verdict["chips"]])
    return f"{verdict['extent']}: {reasons}" if reasons else verdict["extent"]


def compile_for(row: Row, model: Any, length: int, names: Sequence[str]) -> dict[str, Any]:
    """What the compilers take of the package, by chip: the keys of `sqb compile --json`."""
    from sqb_tflite import convert
    from sqb_tflite.npu import chips, compiler

    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "package.tflite")
        package.write_bytes(convert(model, row.recipe, [length], lowering=row.lowering))
        wanted = chips.parse(",".join(names))
        results = compiler.compile_package(package, compiler.output_paths(package, wanted))
    return {str(result.chip): {**result.to_json(), "file": None} for result in results}


def compiler_versions(chips: Sequence[Any]) -> list[str]:
    """What tells LiteRT and the makers' compilers from other ones: another may take what this one refuses."""
    from sqb_tflite.npu import sdk

    names = ("ai-edge-litert", "openvino")
    installed = {d.name.replace("_", "-"): d.version for d in distributions()}
    libraries = [
        f"{path.name} {path.stat().st_size}"
        for maker in dict.fromkeys(chip.maker for chip in chips)
        for folder in sdk.library_folders(maker, None)
        for path in sorted(Path(folder).rglob("*.so*"))
    ]
    return [f"{n} {v}" for n, v in sorted(installed.items()) if n.startswith(names)] + libraries


def chip_table(results: dict[str, dict[str, Any]], length: int) -> str:
    """Packages by chips; chips that take the same of every package share a column."""
    columns: dict[tuple[str, ...], list[str]] = {}
    for chip in next(iter(results.values())):
        cells = tuple(chip_cell(record[chip]) for record in results.values())
        columns.setdefault(cells, []).append(chip.partition(":")[2])
    header = [f"package, {length} tokens", "lowering", *map(", ".join, columns.values())]
    rows = [key.split(" | ") for key in results]
    for row, *cells in zip(rows, *columns):
        row += cells
    refused = (
        (_failure(record),) if record["failure"] else map(_refusal, record["refused"])
        for by_chip in results.values()
        for record in by_chip.values()
    )
    reasons = dict.fromkeys(reason for reasons in refused for reason in reasons)
    return "\n".join(
        [output.markdown_table([header, *rows]), "", *(f"- {reason}" for reason in reasons)]
    )


def chip_cell(record: dict[str, Any]) -> str:
    """`whole`, `168 of 170 in 2` binaries, or `refused` where the compiler gave no file."""
    if record["failure"]:
        return "refused"
    if record["taken"] == record["operations"]:
        return "whole" if record["partitions"] == 1 else f"whole in {record['partitions']}"
    return f"{record['taken']} of {record['operations']} in {record['partitions']}"


def _failure(record: dict[str, Any]) -> str:
    """Without the name of the operation in this package, which no other has."""
    return "refused: " + re.sub(r'"[^"]*_\d+" ', "", record["failure"])


def _refusal(refused: dict[str, Any]) -> str:
    reasons = "; ".join(refused["reasons"]) or "the compiler does not say why"
    return f"`{refused['operation']}` on the CPU: {reasons}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="runs/demo", help="bundle (default: %(default)s)")
    parser.add_argument("--length", type=int, default=64, help="tokens (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=40, help="texts (default: %(default)s)")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("runs/accelerators/results.json"),
        help="what was measured; what is there is not measured again (default: %(default)s)",
    )
    parser.add_argument("--lowering", help="this one alone (default: all)")
    parser.add_argument(
        "--recipes",
        nargs="+",
        metavar="NAME",
        help="these rows alone, without --readme (default: all)",
    )
    parser.add_argument(
        "--npu",
        metavar="CHIPS",
        help="compile for these instead, as qualcomm:all, or all: those whose maker's compiler is installed",
    )
    output.add_flags(parser)
    args = parser.parse_args()
    if args.recipes and args.readme:
        parser.error("--recipes: a part of the table is no table for --readme")
    output.check_markers(args.readme, NPU_MARKER if args.npu else MARKER)

    import sqb_tf
    from sqb_tf.errors import InputError
    from sqb_tflite.accelerators import vulkan
    from sqb_tflite.npu import chips, sdk

    try:
        chosen = rows(args.lowering, args.recipes)
    except InputError as error:
        parser.error(str(error))
    if not chosen:
        parser.error("--recipes, --lowering: no such package")
    settings: tuple[Any, ...] = (args.length, args.limit)
    prefix, work, versions = "", measure, [version("ai-edge-litert")]
    if args.npu:
        named = sdk.with_compiler(chips.parse(args.npu), None)
        settings = (args.length, tuple(map(str, named)))
        prefix, work, versions = "npu | ", compile_for, compiler_versions(named)
    else:
        vulkan.find()
    model = sqb_tf.load(args.model)
    kept, weights = output.Results(args.results), weights_digest(args.model)
    results = {
        (name := f"{row.name} | {row.lowering}"): kept.get(
            prefix + name,
            output.digest(dataclasses.astuple(row), *settings, weights, *versions),
            functools.partial(work, row, model, *settings),
        )
        for row in chosen
    }
    if args.npu:
        output.publish(args, NPU_MARKER, results, chip_table(results, args.length))
    else:
        output.publish(args, MARKER, results, table(results, args.length))


if __name__ == "__main__":
    main()
