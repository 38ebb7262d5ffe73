"""A multiple choice from SQuAD: which of four sentences of its paragraph answers a question?

There is no published multiple choice among the data that the project is developed on; this one is as real as
SQuAD's questions and paragraphs. Writes `train.jsonl` and `dev.jsonl` (every tenth article is held out) as
`--task multiple_choice` takes them.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from random_bundle import SHARED_DATA

CHOICES = 4


def sentences(context: str) -> list[tuple[int, str]]:
    """(place of its first character, sentence), parted behind full stops with a capital next."""
    starts = [0, *(m.end() for m in re.finditer(r"[.!?][\"']? +(?=[A-Z\"'])", context))]
    ends = [*starts[1:], len(context)]
    return [(start, context[start:end].strip()) for start, end in zip(starts, ends, strict=True)]


def questions(article: dict[str, Any], rng: random.Random) -> Iterator[dict[str, Any]]:
    """One for each question whose paragraph has enough sentences."""
    for paragraph in article["paragraphs"]:
        parts = sentences(paragraph["context"])
        for question in paragraph["qas"]:
            place = question["answers"][0]["answer_start"]
            right = max(index for index, (start, _) in enumerate(parts) if start <= place)
            others = [text for index, (_, text) in enumerate(parts) if index != right]
            if len(others) < CHOICES - 1:
                continue
            choices = rng.sample(others, CHOICES - 1)
            label = rng.randrange(CHOICES)
            choices.insert(label, parts[right][1])
            yield {"text": question["question"].strip(), "choices": choices, "label": label}


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    source = SHARED_DATA / "squad" / "dev-v1.1.json"
    made.add_argument("--squad", default=str(source), help="SQuAD's JSON")
    made.add_argument("--output", default="runs/choices", metavar="DIR", help="folder to write")
    args = made.parse_args()
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
