"""Every recipe beside BERT-base and MobileBERT: latency, size, load time, memory, in one interleaved run.

Converts packages of squeezebert-base and of Model Garden's encoders with random weights (speed does not
depend on the values) and measures them with tools/benchmark.py at fixed lengths and on real texts. Then
measures transformers' SqueezeBERT in other runtimes (peer_inference.py), interleaved with our float32 and
int8. The targets (performance_targets.py) are bounded by the machine's peak rate (matmul_limits.py) and by
the time of the operations (op_breakdown.py). Writes records, tables and plots; with --readme also the tables
of a results page.
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

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import comparison_tables, matmul_limits, op_breakdown, output
from benchmarks.performance_targets import (
    FLOAT32,
    INT4,
    INT4_ALL,
    INT8,
    LENGTH,
    NAME,
    PEER,
    PRESET,
    TARGETS,
    Records,
    results,
)
from benchmarks.random_bundle import SHARED_DATA, random_bundle

ROOT = Path(__file__).resolve().parent.parent
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
# 2.2 s per run on a CPU (docs/results, AVX2), where others take 0.01 to 0.4: it gets a few rounds of its own.
SLOW = f"{NAME}-int16x8"
SLOW_RUNS = 3
BASELINES = [
    (name, recipe, length)
    for name in ("bert-base", "mobilebert")
    for recipe, length in (("float32", LENGTH), ("dynamic", LENGTH), ("dynamic", None))
]
# Real texts by length: name, task, file or folder. Pairs are joined to one text.
TEXTS = (
    ("SST-2", "sst2", SHARED_DATA / "glue" / "SST-2"),
    ("MRPC", "mrpc", SHARED_DATA / "glue" / "MRPC"),
    ("SQuAD", "squad", SHARED_DATA / "squad" / "dev-v1.1.json"),
)
LONGEST = 384


def packages(folder: Path) -> list[Path]:
    """Ours in every recipe, with the slow one last, and the baselines."""
    import sqb_tf
    from sqb_tflite import convert
    from sqb_tflite.bench import baselines

    random_bundle(folder / "bundle", PRESET, LONGEST)
    model = sqb_tf.load(folder / "bundle")
    ours = {**OURS, SLOW: ("int16x8", [LENGTH], "auto")}
    for name, (recipe, lengths, lowering) in ours.items():
        print(f"converting {name}", file=sys.stderr)
        content = convert(model, recipe, lengths, lowering=lowering)
        (folder / f"{name}.tflite").write_bytes(content)
    requested = [baselines.Baseline(*fields) for fields in BASELINES]
    tokenizer = model.tokenizer
    theirs = baselines.convert_baselines(
        requested, ROOT / "runs" / "baselines", tokenizer.vocabulary, tokenizer.lowercase
    )
    return [*(folder / f"{name}.tflite" for name in OURS), *theirs, folder / f"{SLOW}.tflite"]


def write_texts(path: Path, task: str, data: Path, limit: int) -> None:
    """A file with one text per line, sampled evenly from the dev split."""
    from sqb_tf.data.task import Task

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


def least_times(files: list[Path], limits: dict[str, float]) -> dict[str, float]:
    """{package: milliseconds that its matmuls take at the peak rate} at `LENGTH` tokens."""
    inputs = encode_inputs(files, LENGTH)
    named = {name for target in TARGETS for name in (target.ours, target.baseline)}
    return {
        file.stem: matmul_limits.least_ms(matmul_limits.operations(file, inputs), limits)
        for file in files
        if file.stem in named
    }


def measure_parts(files: list[Path], records: Records, runs: int) -> dict[str, Any]:
    """Time by part of the targets' packages, by tokens: each target's length, the median of texts."""
    (tokens,) = {int(r["lengths"]["median"]) for r in records if r["seq_length"] is None}
    parts = {}
    for length in dict.fromkeys(target.length for target in TARGETS):
        targets = [target for target in (*TARGETS, PEER) if target.length == length]
        names = {name for target in targets for name in (target.ours, target.baseline)}
        if length != LENGTH:
            names = {name for name in names if not name.endswith(f"-{LENGTH}")}
        chosen = [file for file in files if file.stem in names]
        name = str(length) if length else f"{tokens}, as texts"
        inputs = encode_inputs(files, length or tokens)
        parts[name] = op_breakdown.measure(chosen, inputs, runs)
    return parts


def encode_inputs(files: list[Path], length: int) -> dict[str, Any]:
    """Inputs of a length for our packages, which the baselines take too."""
    from sqb_tflite.bench.inputs import Text, encode_length
    from sqb_tflite.runtime.runner import Runner

    (ours,) = (file for file in files if file.stem == INT8)
    return encode_length(Runner(ours), Text.demo(), length)


def memory_just_written(folder: Path) -> float:
    """MB that our int8 adds to a process's peak at `LENGTH` tokens if the file was just written."""
    from sqb_tflite.bench.host import cold_start

    path, copy = folder / f"{INT8}.tflite", folder / "written.tflite"
    copy.write_bytes(path.read_bytes())  # in one piece, as tools/convert.py writes it
    return cold_start.measure(str(copy), 1, encode_inputs([path], LENGTH))["peak_memory_mb"]


def measure_peers(python: str, folder: Path, lengths: list[int], runs: int) -> dict[str, Any]:
    """{"NAME LENGTH": median and deviation in ms} of ours and other runtimes, 1 thread, interleaved."""
    from sqb_tf import SqueezeBertConfig
    from sqb_tflite.bench.inputs import Text, encode_length
    from sqb_tflite.runtime.runner import Runner

    ours = {name: Runner(folder / f"{name}.tflite") for name in (FLOAT32, INT8)}
    inputs = {n: encode_length(ours[INT8], Text.demo(), n) for n in lengths}
    child = subprocess.Popen(
        [python, str(Path(__file__).with_name("peer_inference.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    config = SqueezeBertConfig.from_preset(PRESET).to_dict()

    def exchange(line: str) -> str:
        child.stdin.write(f"{line}\n")
        child.stdin.flush()
        return child.stdout.readline()

    request = {"config": config, "lengths": lengths, "threads": 1, "folder": str(folder)}
    available = json.loads(exchange(json.dumps(request)))
    for name, reason in available["failed"].items():
        print(f"{name} could not be measured: {reason}", file=sys.stderr)
    times: dict[str, list[float]] = {}
    for _ in range(runs):
        for name, runner in ours.items():
            for length in lengths:
                run = runner.prepare(inputs[length])
                run()
                start = time.perf_counter()
                run()
                milliseconds = 1e3 * (time.perf_counter() - start)
                times.setdefault(f"{name} {length}", []).append(milliseconds)
        for name in available["runs"]:
            times.setdefault(name, []).append(float(exchange(name)))
    child.stdin.close()
    child.wait()
    return {
        name: {"median": statistics.median(values), "std": statistics.pstdev(values)}
        for name, values in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--lengths", default="16,64,128", help="lengths in tokens")
    parser.add_argument("--runs", type=int, default=30, help="runs of each package and length")
    parser.add_argument("--limit", type=int, default=200, help="real texts of each set")
    parser.add_argument("--report", default="runs/bench/comparison", metavar="DIR", help="results")
    parser.add_argument("--torch-python", metavar="PYTHON", help="other runtimes' environment")
    parser.add_argument("--readme", metavar="FILE", help="put the table into this file")
    args = parser.parse_args()
    report, measured, peers = Path(args.report), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        *files, slow = packages(Path(folder))
        before = matmul_limits.limits()
        available = [text for text in TEXTS if text[2].exists()]
        for name, task, data in available or [
            ("the demo", "classification", ROOT / "sqb_tf" / "demo")
        ]:
            text = Path(folder) / f"{name}.txt"
            write_texts(text, task, data, args.limit)
            if not measured:
                measured[name] = measure(files, text, args.lengths, args.runs, report)
                write_texts(few := Path(folder) / "few.txt", task, data, SLOW_RUNS)
                slow_records = measure([slow], few, str(LENGTH), SLOW_RUNS, report / "int16x8")
                measured[name] += [record for record in slow_records if record["seq_length"]]
            else:  # packages of one length would cut longer texts
                dynamic = [file for file in files if f"-{LENGTH}" not in file.stem]
                dynamic = [file for file in dynamic if not file.stem.endswith("int8-full")]
                measured[name] = measure(dynamic, text, "16", 1, report / name)
        if args.torch_python:
            lengths = [int(length) for length in args.lengths.split(",")]
            peers = measure_peers(args.torch_python, Path(folder), lengths, args.runs)
        after = matmul_limits.limits()  # a slow minute shows no peak rate
        limits = {dtype: max(before[dtype], after[dtype]) for dtype in before}
        records = next(iter(measured.values()))
        peer = Path(folder) / f"{PEER.baseline}.tflite"
        parts = measure_parts(files + [peer] * peer.exists(), records, args.runs)
        least = least_times(files, limits)
        written = memory_just_written(Path(folder))
    targets = {
        "goals": results(records, limits, least, parts, peers, written),
        "limits": limits,
        "least_ms": least,
        "parts": parts,
        "peers": peers,
    }
    output.write_json(report / "goals.json", targets)
    text = comparison_tables.text(measured, targets)
    print(text)
    if args.readme:
        output.update_markdown(args.readme, "comparison", text)


if __name__ == "__main__":
    main()
