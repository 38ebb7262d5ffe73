"""Reference values of PyTorch models of `transformers`: reference.py OUTPUT MODEL_TYPE HEAD COUNT [SEED].

Runs in the environment of benchmarks/torch-requirements.txt. Builds COUNT models with random configs and
writes each to a folder OUTPUT/0, OUTPUT/1 and so on: the model, as `save_pretrained` writes it, and
`reference.npz` with inputs, outputs, hidden states, attention scores and gradients. `make golden` writes
tests/golden with it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

# Class names without the prefix of the model type.
CLASSES = {
    "classification": "ForSequenceClassification",
    "regression": "ForSequenceClassification",
    "token_classification": "ForTokenClassification",
    "span": "ForQuestionAnswering",
    "multiple_choice": "ForMultipleChoice",
    "masked_lm": "ForMaskedLM",
    "pretraining": "ForPreTraining",
    "encoder": "Model",
}
PREFIXES = {"squeezebert": "SqueezeBert", "bert": "Bert"}
# The outputs that our models have too, by the reference's names.
OUTPUTS = (
    "logits",
    "start_logits",
    "end_logits",
    "prediction_logits",
    "seq_relationship_logits",
    "last_hidden_state",
    "pooler_output",
)
BATCH, CHOICES, LENGTH = 3, 2, 7


def random_config(
    rng: np.random.Generator, model_type: str, head: str
) -> transformers.PretrainedConfig:
    """A small architecture."""

    def divisor(*sizes: int) -> int:
        return int(rng.choice([n for n in (1, 2, 4, 8) if not any(size % n for size in sizes)]))

    hidden, wide = int(rng.choice([16, 24, 32])), int(rng.choice([32, 48]))
    labels = {"classification": 3, "regression": 1, "token_classification": 5}.get(head, 2)
    shared = dict(
        vocab_size=int(rng.integers(20, 40)),
        hidden_size=hidden,
        num_hidden_layers=int(rng.integers(1, 4)),
        num_attention_heads=divisor(hidden),
        intermediate_size=wide,
        hidden_act=str(rng.choice(["gelu", "gelu", "gelu_new", "relu", "silu"])),
        max_position_embeddings=int(rng.integers(LENGTH, 20)),
        type_vocab_size=int(rng.integers(1, 4)),
        layer_norm_eps=float(rng.choice([1e-12, 1e-5])),
        num_labels=labels,
    )
    if model_type == "bert":
        # Other implementations of attention return no probabilities.
        return transformers.BertConfig(**shared, attn_implementation="eager")
    return transformers.SqueezeBertConfig(
        **shared,
        embedding_size=hidden,
        q_groups=divisor(hidden),
        k_groups=divisor(hidden),
        v_groups=divisor(hidden),
        post_attention_groups=divisor(hidden),
        intermediate_groups=divisor(hidden, wide),
        output_groups=divisor(hidden, wide),
    )


def randomize(model: torch.nn.Module, rng: np.random.Generator) -> None:
    """Sets every weight to a random value, such that activations are around 1."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            value = rng.normal(size=weight.shape)
            if "norm" in name.lower():
                value = (1.0 if name.endswith("weight") else 0.0) + 0.2 * value
            elif name.endswith("bias"):
                value *= 0.2
            elif "embeddings" not in name:
                value /= np.sqrt(np.prod(weight.shape[1:]))
            weight.copy_(torch.from_numpy(value))


def random_inputs(config: transformers.PretrainedConfig, rng: np.random.Generator, head: str):
    """Random ids and lengths, without padding's id: `transformers` gives its embedding no gradient."""
    shape = (BATCH, CHOICES, LENGTH) if head == "multiple_choice" else (BATCH, LENGTH)
    lengths = rng.integers(1, LENGTH + 1, shape[:-1])
    return {
        "input_ids": rng.integers(1, config.vocab_size, shape),
        "attention_mask": (np.arange(LENGTH) < lengths[..., None]).astype(np.int64),
        "token_type_ids": rng.integers(0, config.type_vocab_size, shape),
    }


def reference(model_type: str, head: str, folder: Path, rng: np.random.Generator) -> None:
    """Writes the folder of one model."""
    config = random_config(rng, model_type, head)
    model = getattr(transformers, PREFIXES[model_type] + CLASSES[head])(config).eval()
    randomize(model, rng)
    model.save_pretrained(folder)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [f"w{i}" for i in range(config.vocab_size - len(tokens))]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    inputs = random_inputs(config, rng, head)
    tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
    outputs = model(**tensors, output_hidden_states=True, output_attentions=True)
    arrays = {f"inputs/{name}": values.astype(np.int32) for name, values in inputs.items()}
    mask, loss = tensors["attention_mask"], torch.zeros(())
    for name in OUTPUTS:
        if (values := outputs.get(name)) is not None:
            arrays[f"outputs/{name}"] = values.detach().numpy()
            # The outputs at padding are undefined: the loss, a sum of sines, leaves them out.
            if values.shape[: mask.ndim] == mask.shape:
                values = values[mask.bool()]
            loss = loss + values.sin().sum()
    for name in ("hidden_states", "attentions"):
        for index, values in enumerate(outputs[name]):
            arrays[f"{name}/{index}"] = values.detach().numpy()
    loss.backward()
    arrays["loss"] = loss.detach().numpy()
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            arrays[f"gradients/{name}"] = weight.grad.numpy()
    np.savez_compressed(folder / "reference.npz", **arrays)


def main() -> None:
    """Runs the command; see the module's docstring."""
    output, model_type, head, count = Path(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4])
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else 0
    rng = np.random.default_rng([seed, *head.encode()])  # each head has its own configs
    for index in range(count):
        reference(model_type, head, output / str(index), rng)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps(versions))


if __name__ == "__main__":
    main()
