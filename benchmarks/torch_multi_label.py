"""Fine-tunes a transformers folder on texts with several labels: torch_multi_label.py FOLDER TEXTS OUTPUT.

Runs in the environment of benchmarks/torch-requirements.txt, as one would write it with `transformers`. TEXTS
is JSON: `train`, `dev`, `test`, each a list of [text, [indices of its labels]]; `labels`, their number;
`epochs`, `batch_size`, `seq_length`, `learning_rate`, `seed`. OUTPUT is an `.npz` with the probabilities
`[texts, labels]` of `dev` and `test` after each epoch: `dev0`, `test0`, `dev1` and so on.
"""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

WARMUP, WEIGHT_DECAY = 0.1, 0.01
# Texts are sorted by length within so many batches, for less padding.
SORTED_BATCHES = 100


def batches(lengths: list[int], batch_size: int, rng: random.Random) -> list[list[int]]:
    """The rows of each batch of an epoch, of nearly equal length, shuffled."""
    order = rng.sample(range(len(lengths)), len(lengths))
    chunk, cut = batch_size * SORTED_BATCHES, []
    for start in range(0, len(order), chunk):
        rows = sorted(order[start : start + chunk], key=lengths.__getitem__)
        cut += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    rng.shuffle(cut)
    return cut


def main() -> None:
    """Runs the command; see the module's docstring."""
    folder, texts, output = sys.argv[1:]
    task = json.loads(Path(texts).read_text(encoding="utf-8"))
    torch.manual_seed(task["seed"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=task["labels"], problem_type="multi_label_classification"
    )
    ids = {
        split: tokenizer(
            [text for text, _ in task[split]], truncation=True, max_length=task["seq_length"]
        )
        for split in ("train", "dev", "test")
    }

    def inputs(split: str, rows: list[int]) -> dict[str, torch.Tensor]:
        return tokenizer.pad(
            {k: [v[i] for i in rows] for k, v in ids[split].items()}, return_tensors="pt"
        )

    def predict(split: str) -> np.ndarray:
        model.eval()
        order = sorted(range(len(task[split])), key=lambda i: len(ids[split]["input_ids"][i]))
        probabilities = np.zeros((len(order), task["labels"]), np.float32)
        with torch.no_grad():
            for start in range(0, len(order), 64):
                rows = order[start : start + 64]
                probabilities[rows] = model(**inputs(split, rows)).logits.sigmoid().numpy()
        return probabilities

    steps = task["epochs"] * math.ceil(len(task["train"]) / task["batch_size"])
    optimizer = torch.optim.AdamW(
        model.parameters(), task["learning_rate"], weight_decay=WEIGHT_DECAY
    )
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, round(WARMUP * steps), steps)
    lengths, results = [len(row) for row in ids["train"]["input_ids"]], {}
    for epoch in range(task["epochs"]):
        model.train()
        cut = batches(lengths, task["batch_size"], random.Random(f"{task['seed']} {epoch}"))
        for step, rows in enumerate(cut, 1):
            targets = torch.zeros(len(rows), task["labels"])
            for row, index in enumerate(rows):
                targets[row, task["train"][index][1]] = 1
            loss = model(**inputs("train", rows), labels=targets).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            if step % 50 == 0:
                print(f"epoch {epoch} step {step}/{len(cut)} loss {loss.item():.4f}", flush=True)
        results |= {f"{split}{epoch}": predict(split) for split in ("dev", "test")}
    np.savez_compressed(output, **results)


if __name__ == "__main__":
    main()
