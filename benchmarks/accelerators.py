"""What LiteRT's GPU accelerator takes of each recipe and lowering, and whether it answers as the CPU does.

Converts a bundle to every recipe of fixed length, also to those that `--for gpu` refuses, and runs each file
on the CPU and on the accelerator, over SwiftShader where no Vulkan driver is named: no time is measured. The
NPU's column is what `tflite/accelerators/rules.py` says of the file; Qualcomm's compiler is not asked here.
Every row is kept in --results, so that the command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.pareto_tasks import weights_digest

MARKER = "accelerators"
FLOAT_TABLES, INT8_TABLES = ({"*": "fp16", "embeddings": kind} for kind in ("float32", "int8"))
FP16_CONVOLUTIONS = {"*": "int8", "block_*": "fp16"}


@dataclasses.dataclass(frozen=True)
class Row:
    """A package: its name in the table, the recipe or its patterns, the lowering."""

    name: str
    recipe: Any
    lowering: str


def rows() -> list[Row]:
    """Every recipe in both lowerings, and the mixes that accelerators need."""
    from sqb_tflite.conversion.recipes import LOWERINGS, Recipe

    recipes: dict[str, Any] = {name: name for name in Recipe.names()}
    recipes |= {
        "fp16, float32 tables": FLOAT_TABLES,
        "fp16, int8 tables": INT8_TABLES,
        "int8, fp16 blocks": FP16_CONVOLUTIONS,
    }
    return [
        Row(name, recipe, lowering)
        for name, recipe in recipes.items()
        for lowering in LOWERINGS
        if not (name.startswith("int4") and lowering == "grouped-conv")  # which `convert` refuses
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
    parser.add_argument(
        "--recipes",
        metavar="NAME,NAME",
        help="these packages alone, and not for --readme (default: all)",
    )
    output.add_flags(parser)
    args = parser.parse_args()
    if args.recipes and args.readme:
        parser.error("--recipes: expected without --readme, whose table has every package")
    output.check_markers(args.readme, MARKER)

    import sqb_tf
    from sqb_tflite.accelerators import vulkan

    vulkan.find()
    model = sqb_tf.load(args.model)
    chosen = rows()
    if args.recipes:
        names = args.recipes.split(",")
        if unknown := {*names} - {row.name for row in chosen}:
            parser.error(f"--recipes: no such package: {', '.join(sorted(unknown))}")
        chosen = [row for row in chosen if row.name in names]
    kept, settings = output.Results(args.results), (args.length, args.limit)
    weights = weights_digest(args.model)
    results = {
        f"{row.name} | {row.lowering}": kept.get(
            f"{row.name} | {row.lowering}",
            output.digest(dataclasses.astuple(row), *settings, weights, version("ai-edge-litert")),
            functools.partial(measure, row, model, *settings),
        )
        for row in chosen
    }
    output.publish(args, MARKER, results, table(results, args.length))


if __name__ == "__main__":
    main()
