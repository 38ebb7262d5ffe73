"""Training steps of transformers' PyTorch SqueezeBERT, for benchmarks/training_step.py.

Runs in the environment of torch-requirements.txt. Reads one line of JSON from standard input:
`config` (SqueezeBertConfig's fields), `batch_size`, `seq_length`, `threads`, `precision`; answers with a
line of versions. After that each line read runs one training step, answered by a line with its times.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

LEARNING_RATE, WEIGHT_DECAY = 3e-5, 0.01  # as in training_step.py


def training_step(setup: dict[str, Any]) -> Callable[[], float]:
    """A function that runs one step (forward, backward, AdamW) and returns the loss."""
    import numpy as np
    import torch
    from transformers import SqueezeBertConfig, SqueezeBertForSequenceClassification

    torch.set_num_threads(setup["threads"])
    torch.manual_seed(0)
    fields = setup["config"]
    config = SqueezeBertConfig(**fields, embedding_size=fields["hidden_size"], num_labels=2)
    model = SqueezeBertForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    generator = np.random.default_rng(0)
    shape = (setup["batch_size"], setup["seq_length"])
    batch = {
        "input_ids": torch.from_numpy(generator.integers(0, config.vocab_size, shape)),
        "attention_mask": torch.ones(shape, dtype=torch.int64),
        "token_type_ids": torch.zeros(shape, dtype=torch.int64),
        "labels": torch.from_numpy(generator.integers(0, 2, shape[:1])),
    }

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=setup["precision"] == "mixed_bfloat16"):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def main() -> None:
    """Serves steps until standard input ends."""
    step = training_step(json.loads(sys.stdin.readline()))
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
    main()
