"""What encoding text costs: start, memory, time per text, lines per second.

    python benchmarks/text_encoder.py --package demo.tflite --vocabulary vocab.txt --texts reviews.txt
    ... --before ../ff36b52                 the same of that checkout, whose `Runner` used tensorflow-text
    ... --tokenizers other/bin/python       Hugging Face's `tokenizers`, in an environment that has it

Each figure is from a process of its own. `--before` compares in one run; docs/decisions/001-text-encoder.md
has the figures that decided.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Words that any English vocabulary has; 14 of them, so 16 tokens with BERT's.
TEXT = "the film was not very good and the story is bad in the end"

COMMON = """
import json, resource, statistics, sys, time

def median_us(function, count):
    times = []
    for _ in range(count):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)

def finish(**figures):
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures))
"""
RUNNER = """
try:
    from sqb_tflite.runtime.runner import Runner
except ImportError:
    from tflite.runner import Runner  # the layout of ff36b52
"""
# CPU seconds of a process from its start to its first answer.
START = """
Runner(sys.argv[1]).classify([sys.argv[2]])
finish(cpu_s=time.process_time())
"""
# One text through `classify`, less the interpreter's own time for the same inputs.
CLASSIFY = """
runner, text, count = Runner(sys.argv[1]), sys.argv[2], int(sys.argv[3])
(inputs,) = runner.inputs([(text, None)])
runner.classify([text])
whole = median_us(lambda: runner.classify([text]), count)
invoke = median_us(runner.prepare(inputs), count)
finish(tokens=inputs["input_word_ids"].shape[1], classify_us=whole, beyond_us=whole - invoke)
"""
ENCODER = """
import numpy
start = time.process_time()
from sqb_tf.text.encoder import TextEncoder
encoder = TextEncoder(sys.argv[1], True, 512)
encode = encoder.ids
"""
TOKENIZERS = """
start = time.process_time()
from tokenizers import BertWordPieceTokenizer
encoder = BertWordPieceTokenizer(sys.argv[1], lowercase=True)
encode = lambda text: encoder.encode(text, add_special_tokens=False).ids
"""
# Import and vocabulary, a text of 14 words, the lines of a file.
ENCODE = """
encode(sys.argv[2])
ready = time.process_time() - start
lines = open(sys.argv[3], encoding="utf-8").read().splitlines()
begin = time.process_time()
for line in lines:
    encode(line)
per_line = 1e6 * (time.process_time() - begin) / len(lines)
finish(ready_s=ready, text_us=median_us(lambda: encode(sys.argv[2]), 5000), line_us=per_line)
"""


def measure(script: str, *arguments: object, python: str = sys.executable, path: str = "") -> dict:
    """The figures that a script prints in a process of its own."""
    environment = os.environ | ({"PYTHONPATH": path} if path else {})
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [python, "-c", COMMON + script, *map(str, arguments)]
    result = subprocess.run(
        command, env=environment, check=True, text=True, stdout=subprocess.PIPE, cwd=path or ROOT
    )
    return json.loads(result.stdout.splitlines()[-1])


def lines_per_second(root: Path, package: Path, texts: Path, lines: int) -> dict[str, float]:
    """Lines per second of `predict`, start included, and the peak memory of its process."""
    content = itertools.cycle(texts.read_text(encoding="utf-8").splitlines())
    source = Path("runs/bench/text_encoder.txt").resolve()
    source.parent.mkdir(parents=True, exist_ok=True)
    with open(source, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in itertools.islice(content, lines))
    command = [sys.executable, root / "tools/predict.py", "--package", package, "--input", source]
    path = "" if root == ROOT else str(root)
    environment = os.environ | ({"PYTHONPATH": path} if path else {})
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=root
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{root}: predict failed with status {status}")
    cpu = usage.ru_utime + usage.ru_stime
    return {
        "lines": lines,
        "lines_per_s": lines / seconds,
        "lines_per_cpu_s": lines / cpu,
        "peak_mb": usage.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--package", type=Path, required=True, help="a classifier of single texts")
    parser.add_argument("--vocabulary", type=Path, required=True, help="a vocab.txt")
    parser.add_argument("--texts", type=Path, required=True, help="a file, one text per line")
    parser.add_argument("--before", type=Path, help="a checkout of the version before")
    parser.add_argument("--tokenizers", help="a Python that has Hugging Face's tokenizers")
    parser.add_argument("--lines", type=int, default=300_000, help="lines through predict")
    parser.add_argument("--before-lines", type=int, help="lines through the version before's")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    package, vocabulary, texts = (p.resolve() for p in (args.package, args.vocabulary, args.texts))

    figures: dict[str, Any] = {"encoder": measure(ENCODER + ENCODE, vocabulary, TEXT, texts)}
    if args.tokenizers:
        figures["tokenizers"] = measure(
            TOKENIZERS + ENCODE, vocabulary, TEXT, texts, python=args.tokenizers
        )
    versions = {"now": (ROOT, "", 2000, args.lines)}
    if args.before:
        root = args.before.resolve()
        versions["before"] = (root, str(root), 100, args.before_lines or args.lines)
    for name, (root, path, count, lines) in versions.items():
        figures[f"start, {name}"] = measure(RUNNER + START, package, TEXT, path=path)
        figures[f"classify, {name}"] = measure(RUNNER + CLASSIFY, package, TEXT, count, path=path)
        figures[f"predict, {name}"] = lines_per_second(root, package, texts, lines)
    for name, values in figures.items():
        print(f"{name:18}", "  ".join(f"{key} {value:,.4g}" for key, value in values.items()))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
