"""Steps of squeezing in PyTorch, written as one would first write it, for benchmarks/squeezing_step.py.

Runs in the environment of torch-requirements.txt. Reads one line of JSON from standard input: `teacher` (a
folder of transformers), `layers`, `groups`, `batch_size`, `seq_length`, `threads`, `precision`; answers with
a line of versions. After that each line read runs one step, answered by a line with its times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch_training_step import random_batch, serve

LEARNING_RATE, WEIGHT_DECAY, ATTENTION_WEIGHT = 1.5e-3, 0.01, 0.2


def squeezing_step(setup: dict[str, Any]) -> Callable[[], float]:
    """A function that runs one step (teacher, student, backward, AdamW) and returns the loss."""
    import torch
    import torch.nn.functional as F
    import transformers

    torch.set_num_threads(setup["threads"])
    torch.manual_seed(0)
    teacher = transformers.AutoModel.from_pretrained(
        setup["teacher"], attn_implementation="eager"
    ).eval()
    config = student_config(teacher.config, setup["layers"], setup["groups"])
    student = transformers.SqueezeBertModel(config).train()
    student.embeddings.load_state_dict(teacher.embeddings.state_dict(), strict=False)
    student.embeddings.requires_grad_(False)
    parameters = [p for p in student.encoder.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    shape = setup["batch_size"], setup["seq_length"]
    arrays = random_batch("encoder", config.vocab_size, *shape)
    batch = {name: torch.from_numpy(values) for name, values in arrays.items()}
    every = len(teacher.encoder.layer) // setup["layers"]
    outputs = {"output_hidden_states": True, "output_attentions": True}
    bfloat16 = setup["precision"] == "mixed_bfloat16"

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            with torch.no_grad():
                theirs = teacher(**batch, **outputs)
            ours = student(**batch, **outputs)
        loss = torch.zeros(())
        for index in range(setup["layers"]):
            layer = (index + 1) * every
            expected = theirs.hidden_states[layer].float()
            error = F.mse_loss(ours.hidden_states[index + 1].float(), expected)
            loss = loss + error / expected.var()
            probabilities = theirs.attentions[layer - 1].float()
            scores = F.log_softmax(ours.attentions[index].float(), dim=-1)
            rows = probabilities.shape[0] * probabilities.shape[1] * probabilities.shape[2]
            divergence = F.kl_div(scores, probabilities, reduction="sum") / rows
            loss = loss + ATTENTION_WEIGHT * divergence
        vectors = [x.hidden_states[-1].float().mean(dim=1) for x in (ours, theirs)]
        loss = loss + (1 - F.cosine_similarity(*vectors)).mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def student_config(teacher: Any, layers: int, groups: int) -> Any:
    """transformers' config of a student without dropout."""
    import transformers

    names = ("q_groups", "k_groups", "v_groups", "intermediate_groups", "output_groups")
    return transformers.SqueezeBertConfig(
        vocab_size=teacher.vocab_size,
        hidden_size=teacher.hidden_size,
        embedding_size=teacher.hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=teacher.num_attention_heads,
        intermediate_size=teacher.intermediate_size,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        post_attention_groups=1,
        **dict.fromkeys(names, groups),
    )


if __name__ == "__main__":
    serve(squeezing_step)
