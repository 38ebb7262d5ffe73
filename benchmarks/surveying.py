"""How fast the survey reads: MB of data a second of one core, by row length, beside Python's csv alone.

Writes files of running text with three classes, and surveys each in a fresh process; a file that is longer
shows whether memory grows with it.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output
from benchmarks.random_bundle import SHARED_DATA

MARKER = "surveying"
TEXTS = SHARED_DATA / "text" / "mixed"
LENGTHS = (100, 300, 1000)  # characters of a row's text
CLASSES = ("negative", "neutral", "positive")
DEV_ROWS = 1000
MEASURE = """
import csv, json, resource, sys, time
from sqb_tf.data.task import Task
from sqb_tf.survey.survey import survey
data, train = sys.argv[1:]
start = time.process_time()
with open(train, encoding="utf-8", newline="") as file:
    rows = sum(1 for _ in csv.reader(file)) - 1
alone, start = time.process_time() - start, time.process_time()
survey(Task("classification", data))
seconds = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"rows": rows, "csv_seconds": alone, "seconds": seconds, "peak_bytes": peak}))
"""


def texts(length: int) -> Iterator[str]:
    """Running text, over and over, in pieces of whole words of about `length` characters."""
    while True:
        for path in sorted(TEXTS.glob("*.txt")):
            words: list[str] = []
            size = 0
            for word in itertools.chain.from_iterable(map(str.split, path.open(encoding="utf-8"))):
                words.append(word)
                size += len(word) + 1
                if size > length:
                    yield " ".join(words)
                    words, size = [], 0


def write_rows(path: Path, rows: Iterator[str], size: float) -> int:
    """Writes rows until the CSV file has `size` bytes; returns how many it has."""
    labels = itertools.cycle(CLASSES)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["text", "label"])
        for text in rows:
            writer.writerow([text, next(labels)])
            if file.tell() >= size:
                break
    return path.stat().st_size


def measure(folder: Path, length: int, megabytes: float, one_file: bool) -> dict[str, Any]:
    """Seconds of the CPU and peak memory of a survey of a file of rows of `length` characters."""
    train, rows = folder / "train.csv", texts(length)
    write_rows(folder / "dev.csv", itertools.islice(rows, DEV_ROWS), megabytes * 1e6)
    size = write_rows(train, rows, megabytes * 1e6)
    data = train if one_file else folder
    command = [sys.executable, "-c", MEASURE, str(data), str(train)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"length": length, "one_file": one_file, "bytes": size, **json.loads(run.stdout)}


def main() -> None:
    """Runs the command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--mb", type=float, default=100, help="size of a file (default: %(default)s)"
    )
    parser.add_argument(
        "--long-mb", type=float, default=1000, help="of the longer one (default: %(default)s)"
    )
    output.add_flags(parser)
    args = parser.parse_args()
    output.check_markers(args.readme, MARKER)
    settings = [(length, args.mb, False) for length in LENGTHS]
    settings += [(LENGTHS[-1], args.long_mb, False), (LENGTHS[-1], args.mb, True)]
    records = []
    for setting in settings:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{setting[1]:,.0f} MB, {setting[0]} characters a row", file=sys.stderr)
            records.append(measure(Path(folder), *setting))
    rows = [
        [
            "file",
            "characters a row",
            "MB",
            "MB a second",
            "csv alone, MB a second",
            "peak memory, MB",
        ]
    ]
    for record in records:
        megabytes = record["bytes"] / 1e6
        rows.append(
            [
                "one, a tenth held out" if record["one_file"] else "train, beside dev",
                f"{record['length']}",
                f"{megabytes:,.0f}",
                f"{megabytes / record['seconds']:.0f}",
                f"{megabytes / record['csv_seconds']:.0f}",
                f"{record['peak_bytes'] / 1e6:.0f}",
            ]
        )
    foot = f"CSV of running English; seconds of one core of {output.processor()}."
    output.publish(args, MARKER, records, f"{output.markdown_table(rows)}\n\n{foot}")


if __name__ == "__main__":
    main()
