"""Training steps of transformers' PyTorch SqueezeBERT, for benchmarks/training_step.py.

Runs in the environment of torch-requirements.txt. Reads one line of JSON from standard input: `config`
(SqueezeBertConfig's fields), `head`, `batch_size`, `seq_length`, `threads`, `precision`; answers with a line
of versions. After that each line read runs one training step, answered by a line with its times.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

LEARNING_RATE, WEIGHT_DECAY = 3e-5, 0.01

# transformers' model of each head.
CLASSES = {
    "classification": "SqueezeBertForSequenceClassification",
    "token_classification": "SqueezeBertForTokenClassification",
    "span": "SqueezeBertForQuestionAnswering",
    "multiple_choice": "SqueezeBertForMultipleChoice",
    "masked_lm": "SqueezeBertForMaskedLM",
}
NUM_LABELS, CHOICES, MASKED = 2, 2, 0.15


def random_batch(head: str, vocab_size: int, batch_size: int, seq_length: int) -> dict[str, Any]:
    """Random ids without padding, and labels for the head, by `transformers`' names, int64.

    Multiple choice has `1 / CHOICES` as many examples.
    """
    import numpy as np

    generator, shape = np.random.default_rng(0), (batch_size, seq_length)
    arrays = {
        "input_ids": generator.integers(0, vocab_size, shape),
        "attention_mask": np.ones(shape, "int64"),
        "token_type_ids": np.zeros(shape, "int64"),
    }
    if head == "classification":
        arrays["labels"] = generator.integers(0, NUM_LABELS, batch_size)
    if head == "token_classification":
        arrays["labels"] = generator.integers(0, NUM_LABELS, shape)
    if head == "span":
        for name in ("start_positions", "end_positions"):
            arrays[name] = generator.integers(0, seq_length, batch_size)
    if head == "multiple_choice":
        batch_size //= CHOICES
        arrays = {k: x.reshape(batch_size, CHOICES, seq_length) for k, x in arrays.items()}
        arrays["labels"] = generator.integers(0, CHOICES, batch_size)
    if head == "masked_lm":  # equally many in every row; -100 elsewhere
        positions = generator.permuted(np.tile(np.arange(seq_length), (batch_size, 1)), axis=1)
        positions = positions[:, : round(MASKED * seq_length)]
        arrays["labels"] = np.full(shape, -100)
        words = np.take_along_axis(arrays["input_ids"], positions, axis=1)
        np.put_along_axis(arrays["labels"], positions, words, axis=1)
    return arrays


def training_step(setup: dict[str, Any]) -> Callable[[], float]:
    """A function that runs one step (forward, backward, AdamW) and returns the loss."""
    import torch
    import transformers

    torch.set_num_threads(setup["threads"])
    torch.manual_seed(0)
    fields = setup["config"]
    config = transformers.SqueezeBertConfig(
        **fields, embedding_size=fields["hidden_size"], num_labels=NUM_LABELS
    )
    model = getattr(transformers, CLASSES[setup["head"]])(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    shape = setup["batch_size"], setup["seq_length"]
    arrays = random_batch(setup["head"], config.vocab_size, *shape)
    batch = {name: torch.from_numpy(values) for name, values in arrays.items()}

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=setup["precision"] == "mixed_bfloat16"):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def serve(make_step: Callable[[dict[str, Any]], Callable[[], float]]) -> None:
    """Serves steps until standard input ends; `make_step` gets what the first line says."""
    step = make_step(json.loads(sys.stdin.readline()))
    import torch
    import transformers

    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps(versions), flush=True)
    while sys.stdin.readline():
        start, cpu_start = time.perf_counter(), time.process_time()
        loss = step()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        print(json.dumps({"seconds": seconds, "cpu": cpu, "loss": loss}), flush=True)


if __name__ == "__main__":
    serve(training_step)
