"""What encoding text costs beside Hugging Face's `tokenizers`, and how many lines get other ids from it.

    python benchmarks/text_encoder.py --vocabulary vocab.txt --texts reviews.txt --tokenizers OTHER/bin/python

OTHER is an environment with `tokenizers`; each of the two runs in a process of its own. What the whole
runtime costs is measured by benchmarks/runtime_start.py; docs/decisions/001-text-encoder.md has the figures
that decided.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import output

# Words that any English vocabulary has; 14 of them, so 16 tokens with BERT's.
TEXT = "the film was not very good and the story is bad in the end"

OURS = """
import time, numpy
start = time.process_time()
from sqb_tf.text.encoder import TextEncoder
encode = TextEncoder(sys.argv[1], True, 512).ids
"""
THEIRS = """
import time
start = time.process_time()
from tokenizers import BertWordPieceTokenizer
encoder = BertWordPieceTokenizer(sys.argv[1], lowercase=True)
encode = lambda text: encoder.encode(text, add_special_tokens=False).ids
"""
# After one of the two above, which makes `encode`.
MEASURE = """
import json, statistics, zlib
encode(sys.argv[2])
ready = time.process_time() - start
times = []
for _ in range(5000):
    begin = time.perf_counter()
    encode(sys.argv[2])
    times.append(time.perf_counter() - begin)
peak_kb = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
lines = open(sys.argv[3], encoding="utf-8").read().splitlines()
begin = time.process_time()
for line in lines:
    encode(line)
per_line = (time.process_time() - begin) / len(lines)
figures = {
    "import and vocabulary, CPU ms": 1e3 * ready,
    "one text of 14 words, median us": 1e6 * statistics.median(times),
    "a line of the file, mean us": 1e6 * per_line,
    "peak memory before the file, MB": peak_kb * 1024 / 1e6,
}
print(json.dumps([figures, [zlib.crc32(repr(list(encode(line))).encode()) for line in lines]]))
"""


def measure(python: str, script: str, *arguments: object) -> tuple[dict[str, float], list[int]]:
    """The figures of an encoder in a process of its own, and a checksum of each line's ids."""
    command = [python, "-c", f"import sys\n{script}{MEASURE}", *map(str, arguments)]
    completed = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    figures, checksums = json.loads(completed.stdout)
    return figures, checksums


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocabulary", type=Path, required=True, help="a vocab.txt")
    parser.add_argument("--texts", type=Path, required=True, help="a file, one text per line")
    parser.add_argument("--tokenizers", required=True, help="a Python that has tokenizers")
    output.add_flags(parser)
    args = parser.parse_args()
    arguments = (args.vocabulary, TEXT, args.texts)
    ours, ids = measure(sys.executable, OURS, *arguments)
    theirs, other_ids = measure(args.tokenizers, THEIRS, *arguments)
    different = sum(a != b for a, b in zip(ids, other_ids, strict=True))
    rows = [["", "TextEncoder", "tokenizers"]]
    rows += [[name, f"{value:.3g}", f"{theirs[name]:.3g}"] for name, value in ours.items()]
    rows.append([f"lines with other ids, of {len(ids):,}", "", f"{different:,}"])
    report: dict[str, Any] = {
        "TextEncoder": ours,
        "tokenizers": theirs,
        "lines": len(ids),
        "other_ids": different,
    }
    output.publish(args, "text encoder", report, output.markdown_table(rows))


if __name__ == "__main__":
    main()
