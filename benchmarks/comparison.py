"""Every recipe beside BERT-base and MobileBERT: latency, size, load time, memory, in one interleaved run.

Converts packages of squeezebert-base and of Model Garden's encoders with fresh weights (speed does not depend
on their values), measures them with tools/benchmark.py at fixed lengths and on real texts, and asks LiteRT
what the machine's limit is (benchmarks/products.py). Then, in turns with our float32 and int8, what other
runtimes need for transformers' SqueezeBERT (benchmarks/peer_inference.py). Writes records, table and plots;
with --readme also the README's table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import products
import readme
from bundles import SHARED_DATA, random_bundle

ROOT = Path(__file__).resolve().parent.parent
PRESET = "squeezebert-base"
LENGTH = 128
NAME = "squeezebert"
FLOAT32, INT8 = f"{NAME}-float32", f"{NAME}-int8"
INT4, INT4_ALL = f"{NAME}-int4", f"{NAME}-int4-all"
# Recipe, fixed length, lowering.
OURS = {
    FLOAT32: ("float32", None, "auto"),
    f"{NAME}-fp16": ("fp16", None, "auto"),
    f"{NAME}-dynamic": ("dynamic", None, "auto"),
    INT8: ("int8", None, "auto"),
    f"{NAME}-int8-grouped-conv": ("int8", None, "grouped-conv"),
    INT4: ("int4", None, "auto"),
    INT4_ALL: ("int4-all", None, "auto"),
    f"{NAME}-int8-full": ("int8-full", [LENGTH], "auto"),
}
# 2.2 s a run on a CPU (docs/avx2.md), where others take 0.01 to 0.4: it has a few rounds of its own.
SLOW = f"{NAME}-int16x8"
SLOW_RUNS = 3
BASELINES = [
    (name, recipe, length)
    for name in ("bert-base", "mobilebert")
    for recipe, length in (("float32", LENGTH), ("dynamic", LENGTH), ("dynamic", None))
]
# Real texts by length: name, task, file or folder. Those of two parts are run as one text.
TEXTS = (
    ("SST-2", "sst2", SHARED_DATA / "glue" / "SST-2"),
    ("MRPC", "mrpc", SHARED_DATA / "glue" / "MRPC"),
    ("SQuAD", "squad", SHARED_DATA / "squad" / "dev-v1.1.json"),
)
LONGEST = 384
# Goal, what is divided, by what; `texts` are SST-2's, each at its own length where the package takes any.
GOALS = (
    (3.2, f"{LENGTH} tokens: float32 against BERT-base float32", FLOAT32, "bert-base-float32-128"),
    (10.0, f"{LENGTH} tokens: int8 against BERT-base float32", INT8, "bert-base-float32-128"),
    (2.6, f"{LENGTH} tokens: int8 against BERT-base int8", INT8, "bert-base-dynamic-128"),
    (1.0, f"{LENGTH} tokens: int8 against MobileBERT int8", INT8, "mobilebert-dynamic-128"),
    (2.5, f"{LENGTH} tokens: int8 against float32", INT8, FLOAT32),
    (1.3, "16 tokens: int4 against int8", INT4, INT8),
    (3.2, "texts: int8 against MobileBERT int8 fixed at 128", INT8, "mobilebert-dynamic-128"),
    (None, "texts: int8 against MobileBERT int8 of any length", INT8, "mobilebert-dynamic-any"),
    (None, "texts: int8 against BERT-base int8 of any length", INT8, "bert-base-dynamic-any"),
)
# Goal, at most, of a package's size in MB.
SIZES = ((54.0, INT8), (40.0, INT4), (28.0, INT4_ALL))
MEMORY = 1.6  # of an int8 package, times its size
# What is shown of opening a package.
LOADS = ("init_ms", "first_run_ms", "peak_memory_mb", "private_memory_mb")


def packages(folder: Path) -> list[Path]:
    """Ours in every recipe, the slow one last, and the baselines."""
    import sqb_tf
    from tflite import convert
    from tflite.bench import baselines

    random_bundle(folder / "bundle", PRESET, LONGEST)
    model = sqb_tf.load(folder / "bundle")
    ours = {**OURS, SLOW: ("int16x8", [LENGTH], "auto")}
    for name, (recipe, lengths, lowering) in ours.items():
        print(f"converting {name}", file=sys.stderr)
        content = convert(model, recipe, lengths, lowering=lowering)
        (folder / f"{name}.tflite").write_bytes(content)
    wanted = [baselines.Baseline(*one) for one in BASELINES]
    tokenizer = model.tokenizer
    made = baselines.make(
        wanted, ROOT / "runs" / "baselines", tokenizer.vocabulary, tokenizer.lowercase
    )
    return [*(folder / f"{name}.tflite" for name in OURS), *made, folder / f"{SLOW}.tflite"]


def write_texts(path: Path, task: str, data: Path, limit: int) -> None:
    """A file of a text a line, spread over the dev split."""
    from sqb_tf.tasks.task import Task

    examples = list(Task(task, data).split("dev"))
    chosen = examples[:: max(1, len(examples) // limit)][:limit]
    lines = (" ".join(f"{e.text} {e.pair or ''}".split()) for e in chosen)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def measure(
    files: list[Path], text: Path, lengths: str, runs: int, report: Path
) -> list[dict[str, Any]]:
    """The records of tools/benchmark.py."""
    command = [sys.executable, str(ROOT / "tools" / "benchmark.py"), "--package"]
    command += [*map(str, files), "--lengths", lengths, "--runs", str(runs)]
    command += ["--text", str(text), "--report", str(report)]
    subprocess.run(command, check=True)
    return json.loads((report / "records.json").read_text(encoding="utf-8"))["records"]


def model_operations(length: int) -> float:
    """Multiplications and additions of the model's products for a text, two for each pair of factors."""
    from sqb_tf import SqueezeBertConfig

    c = SqueezeBertConfig.from_preset(PRESET)
    size, inner = c.hidden_size, c.intermediate_size
    kernels = sum(size * size / g for g in (c.q_groups, c.k_groups, c.v_groups))
    kernels += size * size / c.post_attention_groups
    kernels += size * inner / c.intermediate_groups + inner * size / c.output_groups
    return 2 * c.num_hidden_layers * length * (kernels + 2 * length * size)


def least_times(folder: Path, files: list[Path], limits: dict[str, float]) -> dict[str, float]:
    """Milliseconds that the products of packages need at the limits, at `LENGTH` tokens, by package."""
    from tflite.bench.inputs import Text, of_length
    from tflite.runner import Runner

    inputs = of_length(Runner(folder / f"{INT8}.tflite"), Text.demo(), LENGTH)
    named = {name for goal in GOALS for name in goal[2:]}
    return {
        file.stem: products.least_ms(products.operations(file, inputs), limits)
        for file in files
        if file.stem in named
    }


def measure_peers(python: str, folder: Path, lengths: list[int], runs: int) -> dict[str, Any]:
    """Median and deviation in ms of ours and of other runtimes by `NAME LENGTH`, 1 thread, in turns."""
    from sqb_tf import SqueezeBertConfig
    from tflite.bench.inputs import Text, of_length
    from tflite.runner import Runner

    ours = {name: Runner(folder / f"{name}.tflite") for name in (FLOAT32, INT8)}
    given = {n: of_length(ours[INT8], Text.demo(), n) for n in lengths}
    child = subprocess.Popen(
        [python, str(Path(__file__).with_name("peer_inference.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    config = SqueezeBertConfig.from_preset(PRESET).to_dict()

    def ask(line: str) -> str:
        child.stdin.write(f"{line}\n")
        child.stdin.flush()
        return child.stdout.readline()

    told = json.loads(ask(json.dumps({"config": config, "lengths": lengths, "threads": 1})))
    for name, reason in told["failed"].items():
        print(f"{name} could not be measured: {reason}", file=sys.stderr)
    taken: dict[str, list[float]] = {}
    for _ in range(runs):
        for name, runner in ours.items():
            for length in lengths:
                run = runner.prepare(given[length])
                run()
                start = time.perf_counter()
                run()
                milliseconds = 1e3 * (time.perf_counter() - start)
                taken.setdefault(f"{name} {length}", []).append(milliseconds)
        for name in told["runs"]:
            taken.setdefault(name, []).append(float(ask(name)))
    child.stdin.close()
    child.wait()
    return {
        name: {"median": statistics.median(values), "std": statistics.pstdev(values)}
        for name, values in taken.items()
    }


def median(records: list[dict[str, Any]], name: str, length: int | None) -> float:
    """Milliseconds, 1 thread."""
    (found,) = (
        r["latency_ms"]["median"]
        for r in records
        if Path(r["package"]).stem == name and r["seq_length"] == length and r["threads"] == 1
    )
    return found


def of_package(records: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """One of its records: what is said of the file is the same in all."""
    return next(r for r in records if Path(r["package"]).stem == name)


def results(
    records: list[dict[str, Any]],
    limits: dict[str, float],
    least: dict[str, float],
    peers: dict[str, Any],
) -> list[dict[str, Any]]:
    """Each goal with what was measured, of which `at_most` or at least as much is wanted.

    `at_limits`, of ratios at `LENGTH` tokens: that of the two packages' products alone.
    """
    found = []
    for goal, what, ours, other in GOALS:
        length = None if what.startswith("texts") else int(what.split(" ")[0])
        ratio = median(records, other, length) / median(records, ours, length)
        found.append({"what": what, "goal": goal, "measured": ratio})
        if length == LENGTH:
            found[-1]["at_limits"] = least[other] / least[ours]
    if theirs := peers.get(f"litert-torch-int8 {LENGTH}"):
        ratio = theirs["median"] / peers[f"{INT8} {LENGTH}"]["median"]
        what = f"{LENGTH} tokens: int8 against litert-torch and ai-edge-quantizer, same model"
        found.append({"what": what, "goal": 1.7, "measured": ratio})
    taken, limit = median(records, INT8, LENGTH), limits["int8"]
    share = 1e3 * model_operations(LENGTH) / limit / taken
    what = f"{LENGTH} tokens: int8's share of the limit, the whole model in int8"
    found.append({"what": what, "goal": 0.65, "measured": share})
    what = f"{LENGTH} tokens: int8's share of the limits of the products that it runs"
    found.append({"what": what, "goal": None, "measured": least[INT8] / taken})
    for goal, name in SIZES:
        size = of_package(records, name)["size_bytes"] / 1e6
        what = f"{name.removeprefix(f'{NAME}-')}: MB"
        found.append({"what": what, "goal": goal, "at_most": True, "measured": size})
    record = of_package(records, INT8)
    peak, private = (record[f"{of}_memory_mb"] for of in ("peak", "private"))
    for goal, what, grown in (
        (MEMORY, "int8: what it adds to a process's peak memory, times the file", peak),
        (None, "int8: of that what is no file's, times the file", private),
    ):
        if grown is not None:
            times = grown / (record["size_bytes"] / 1e6)
            found.append({"what": what, "goal": goal, "at_most": bool(goal), "measured": times})
    return found


def table(
    measured: dict[str, list[dict[str, Any]]],
    found: list[dict[str, Any]],
    limits: dict[str, float],
    peers: dict[str, Any],
) -> str:
    """Tables in Markdown: every package by length and on each set of texts, other runtimes, the goals."""
    from tflite.bench import device

    shown = next(iter(measured.values()))
    lengths = sorted({r["seq_length"] for r in shown if r["seq_length"]})
    packages = {r["package"]: r for r in shown}
    head = ["median ms (± std)", *(f"{n} tokens" for n in lengths)]
    on_texts = {}
    for name, records in measured.items():
        on_texts[name] = {r["package"]: r for r in records if r["seq_length"] is None}
        tokens = next(iter(on_texts[name].values()))["lengths"]["median"]
        head.append(f"{name}, {tokens:.0f} tokens (median)")
    head += ["MB", "load ms", "first run ms", "memory MB", "of it no file's"]
    rows = [head, ["---"] * len(head)]
    for package, record in packages.items():
        times = {r["seq_length"]: r for r in shown if r["package"] == package}
        cells = [_cell(times.get(length)) for length in lengths]
        cells += [_cell(records.get(package)) for records in on_texts.values()]
        size = f"{record['size_bytes'] / 1e6:.1f}"
        loads = [record[key] for key in LOADS]
        loads = ["" if value is None else f"{value:.0f}" for value in loads]
        rows.append([Path(package).stem, *cells, size, *loads])
    goals = [["ratios are of medians", "goal", "measured", "at the products' limits"], ["---"] * 4]
    for one in found:
        goal = "" if one["goal"] is None else f"{one['goal']:g}"
        goal = f"at most {goal}" if one.get("at_most") else goal
        bound = f"{one['at_limits']:.2f}" if "at_limits" in one else ""
        goals.append([one["what"], goal, f"{one['measured']:.2f}", bound])
    first = shown[0]
    versions = ", ".join(f"{name} {number}" for name, number in first["versions"].items())
    fast = ", ".join(f"{kind} {limits[kind] / 1e9:.0f}" for kind in limits)
    foot = (
        f"1 thread of {device.processor(first['hardware'])}; {versions}; {first['date'][:10]}. "
        f"Limits, G operations a second of one large product in LiteRT: {fast}."
    )
    others = [["transformers' SqueezeBERT elsewhere, median ms (± std)"], ["---"]]
    for name in peers:
        (runtime, length), cell = name.split(" "), peers[name]
        title = f"{length} tokens"
        if title not in others[0]:
            others[0].append(title)
            others[1].append("---")
        row = next((row for row in others[2:] if row[0] == runtime), None)
        if row is None:
            others.append(row := [runtime])
        row.append(f"{cell['median']:.1f} ± {cell['std']:.1f}")
    shown_tables = [rows, others, goals] if peers else [rows, goals]
    parts = ["\n".join("| " + " | ".join(row) + " |" for row in part) for part in shown_tables]
    return "\n\n".join([*parts, foot])


def _cell(record: dict[str, Any] | None) -> str:
    if record is None:
        return ""
    padded = f" (at {record['padded_to']})" if record.get("padded_to") else ""
    latency = record["latency_ms"]
    return f"{latency['median']:.1f} ± {latency['std']:.1f}{padded}"


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--lengths", default="16,64,128", help="lengths in tokens")
    made.add_argument("--runs", type=int, default=30, help="runs of each package and length")
    made.add_argument("--limit", type=int, default=200, help="real texts of each kind")
    made.add_argument("--report", default="runs/bench/comparison", metavar="DIR", help="results")
    made.add_argument("--torch-python", metavar="PYTHON", help="other runtimes' environment")
    made.add_argument("--readme", metavar="FILE", help="put the table into this file")
    args = made.parse_args()
    report, measured, peers = Path(args.report), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        *files, slow = packages(Path(folder))
        before = products.limits()
        there = [one for one in TEXTS if one[2].exists()]
        for name, task, data in there or [("the demo", "classification", ROOT / "sqb_tf" / "demo")]:
            text = Path(folder) / f"{name}.txt"
            write_texts(text, task, data, args.limit)
            if not measured:
                measured[name] = measure(files, text, args.lengths, args.runs, report)
                write_texts(few := Path(folder) / "few.txt", task, data, SLOW_RUNS)
                its = measure([slow], few, str(LENGTH), SLOW_RUNS, report / "int16x8")
                measured[name] += [record for record in its if record["seq_length"]]
            else:  # at length those of one length would be cut
                some = [file for file in files if f"-{LENGTH}" not in file.stem]
                some = [file for file in some if not file.stem.endswith("int8-full")]
                measured[name] = measure(some, text, "16", 1, report / name)
        if args.torch_python:
            lengths = [int(length) for length in args.lengths.split(",")]
            peers = measure_peers(args.torch_python, Path(folder), lengths, args.runs)
        after = products.limits()  # a slow minute is no limit
        limits = {kind: max(before[kind], after[kind]) for kind in before}
        least = least_times(Path(folder), files, limits)
    found = results(next(iter(measured.values())), limits, least, peers)
    goals = {"goals": found, "limits": limits, "least_ms": least, "peers": peers}
    goals = json.dumps(goals, indent=2)
    (report / "goals.json").write_text(goals + "\n", encoding="utf-8")
    text = table(measured, found, limits, peers)
    print(text)
    if args.readme:
        readme.update(args.readme, "comparison", text)


if __name__ == "__main__":
    main()
