"""One runner shared by threads: how much faster than one thread, and whether every answer is right.

Runs the same texts by one thread and by several, in turns, on one `Runner` of the package.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.random_bundle import SHARED_DATA

TEXTS = SHARED_DATA / "glue" / "SST-2" / "dev.tsv"


def run(runner: Any, texts: list[str], expected: list[Any], threads: int) -> tuple[float, int]:
    """Seconds that the texts take, one call each, and wrong answers; `expected` repeats."""

    def work(first: int) -> int:
        return sum(
            runner.classify([texts[i]])[0] != expected[i % len(expected)]
            for i in range(first, len(texts), threads)
        )

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        wrong = sum(pool.map(work, range(threads)))
    return time.perf_counter() - start, wrong


def main() -> None:
    """Runs the command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--package", required=True, help="a classifier's .tflite")
    parser.add_argument("--threads", type=int, default=8, help="default: %(default)s")
    parser.add_argument(
        "--texts", type=int, default=10_000, help="of each thread, in all turns (default: 10000)"
    )
    parser.add_argument("--turns", type=int, default=5, help="default: %(default)s")
    output.add_flags(parser)
    args = parser.parse_args()
    from sqb_tf.data.task import Task
    from sqb_tflite import Runner

    lines = [example.text for example in Task("sst2", TEXTS.parent).split("dev")]
    count = args.texts * args.threads // args.turns
    texts = list(itertools.islice(itertools.cycle(lines), count))
    runner = Runner(args.package)
    expected = runner.classify(lines)
    ratios, wrong = [], 0
    for _ in range(args.turns):
        alone, wrong_alone = run(runner, texts, expected, 1)
        together, wrong_together = run(runner, texts, expected, args.threads)
        ratios.append(alone / together)
        wrong += wrong_alone + wrong_together
        print(f"{count / alone:,.0f} and {count / together:,.0f} texts a second", file=sys.stderr)
    report = {"texts": count * args.turns, "wrong": wrong, "ratios": ratios}
    rows = [
        ["threads", "texts", "wrong answers", "texts a second, times one thread's"],
        [
            str(args.threads),
            f"{report['texts']:,}",
            str(wrong),
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        ],
    ]
    foot = (
        f"{Path(args.package).name}, SST-2's dev sentences, one call each, on {output.processor()}."
    )
    output.publish(args, "threads", report, f"{output.markdown_table(rows)}\n\n{foot}")


if __name__ == "__main__":
    main()
