"""A multiple-choice task from SQuAD: which of four sentences of a paragraph answers the question?

The development data has no published multiple-choice task; this one consists of SQuAD's real questions and
paragraphs. Writes `train.jsonl` and `dev.jsonl` (every tenth article) for `--task multiple_choice`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks.random_bundle import SHARED_DATA

CHOICES = 4


def sentences(context: str) -> list[tuple[int, str]]:
    """(index of its first character, sentence); sentences end at a stop followed by a capital letter."""
    starts = [0, *(m.end() for m in re.finditer(r"[.!?][\"']? +(?=[A-Z\"'])", context))]
    ends = [*starts[1:], len(context)]
    return [(start, context[start:end].strip()) for start, end in zip(starts, ends, strict=True)]


def questions(article: dict[str, Any], rng: random.Random) -> Iterator[dict[str, Any]]:
    """One for each question whose paragraph has enough sentences."""
    for paragraph in article["paragraphs"]:
        parts = sentences(paragraph["context"])
        for question in paragraph["qas"]:
            answer_start = question["answers"][0]["answer_start"]
            correct = max(i for i, (start, _) in enumerate(parts) if start <= answer_start)
            wrong = [text for i, (_, text) in enumerate(parts) if i != correct]
            if len(wrong) < CHOICES - 1:
                continue
            choices = rng.sample(wrong, CHOICES - 1)
            label = rng.randrange(CHOICES)
            choices.insert(label, parts[correct][1])
            yield {"text": question["question"].strip(), "choices": choices, "label": label}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    source = SHARED_DATA / "squad" / "dev-v1.1.json"
    parser.add_argument("--squad", default=str(source), help="SQuAD's JSON")
    parser.add_argument("--output", default="runs/choices", metavar="DIR", help="folder to write")
    args = parser.parse_args()
    rng = random.Random(0)
    articles = json.loads(Path(args.squad).read_text(encoding="utf-8"))["data"]
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    for split, chosen in (
        ("train", [a for i, a in enumerate(articles) if i % 10]),
        ("dev", articles[::10]),
    ):
        rows = [row for article in chosen for row in questions(article, rng)]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{folder / split}.jsonl: {len(rows)} questions from {len(chosen)} articles")


if __name__ == "__main__":
    main()
