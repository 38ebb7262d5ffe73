"""Fine-tunes transformers' PyTorch SqueezeBERT: learning_curve.py FOLDER BATCHES OUTPUT.

Runs in the environment of benchmarks/torch-requirements.txt. FOLDER is a transformers model; BATCHES an
`.npz` with `input_ids`, `attention_mask`, `token_type_ids` `[steps, batch, length]`, `labels` `[steps,
batch]` and `learning_rates` `[steps]`. The loss of every step is written to OUTPUT as JSON. AdamW has the
settings of `sqb_tf.training.optimizer.adamw`; dropout is that of the folder's config.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

BETA_2, EPSILON = 0.98, 1e-6


def main() -> None:
    """Runs the command; see the module's docstring."""
    folder, batches, output = sys.argv[1:]
    model = transformers.SqueezeBertForSequenceClassification.from_pretrained(folder).train()
    decayed, not_decayed = [], []
    for name, parameter in model.named_parameters():
        is_excluded = name.endswith("bias") or "norm" in name.lower()
        (not_decayed if is_excluded else decayed).append(parameter)
    optimizer = torch.optim.AdamW(
        [dict(params=decayed, weight_decay=0.01), dict(params=not_decayed, weight_decay=0.0)],
        lr=1.0,
        betas=(0.9, BETA_2),
    )
    data, losses = dict(np.load(batches)), []
    for step, rate in enumerate(data.pop("learning_rates")):
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
            # Keras adds epsilon before the bias correction of the second moment, PyTorch after it.
            group["eps"] = EPSILON / (1 - BETA_2 ** (step + 1)) ** 0.5
        optimizer.zero_grad()
        batch = {name: torch.from_numpy(values[step]).long() for name, values in data.items()}
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    Path(output).write_text(json.dumps(losses))


if __name__ == "__main__":
    main()
