"""Tiny models, texts and a reference forward pass for the tests."""

import json
import math
import random
from pathlib import Path

import numpy as np

from sqb_tf.config import SqueezeBertConfig
from sqb_tf.tasks.delimited import Example
from tflite.recipes import Recipe

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["the", "a", "film", "plot", "story", "end", "was", "is", "not", "very", "good", "bad"]
SENTENCES = ["The film was good.", "Not a bad end!", "Is the plot very bad?"]
# A delimited file of two classes.
GOOD = "text\tlabel\na good film\tgood\na bad film\tbad\n"

VOCABULARY = (
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "!", "?", "é", "É", "The"]
    + WORDS
    + [letter for letter in LETTERS if letter not in WORDS]
    + [f"##{letter}" for letter in LETTERS]
    + ["##ing", "##ed"]
)
LABELS = ["bad", "fair", "good"]
SEQ_LENGTH = 32
LEAD = 0.1
# Recipes whose bounds such models keep: 16 steps are too few for tables of 32 channels.
SMALL_ENOUGH = [name for name in Recipe.names() if name != "int4-all"]


def tiny_config(**overrides) -> SqueezeBertConfig:
    """Two layers of 32 channels; no dropout unless asked for."""
    values = dict(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return SqueezeBertConfig(**{**values, **overrides})


def randomize(model, seed: int = 0) -> None:
    """Gives every weight a value unlike its initial one: no bias or beta is 0, no gamma is 1."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if not weight.path.endswith(("kernel", "embeddings", "bias", "beta", "gamma")):
            continue  # the state of a dropout's random numbers
        noise = rng.normal(size=weight.shape)
        if weight.path.endswith("kernel"):
            noise /= math.sqrt(math.prod(weight.shape[:-1]))  # outputs as large as inputs
        elif weight.path.endswith(("bias", "beta")):
            noise *= 0.2
        elif weight.path.endswith("gamma"):
            noise = 1 + 0.2 * noise
        weight.assign(noise)


def value_and_gradients(function, tensors, weights=()) -> list[np.ndarray]:
    """`function(*tensors)`, and the gradients of a curved function of it by the tensors and weights."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs = function(*tensors)
        loss = tf.reduce_sum(tf.sin(tf.cast(outputs, "float32")))
    gradients = tape.gradient(loss, [*tensors, *(weight.value for weight in weights)])
    return [tf.cast(tensor, "float32").numpy() for tensor in (outputs, *gradients)]


def random_texts(count: int, seed: int = 0, longest: int = 20) -> list[str]:
    """Texts of 1 to `longest` words, one in five of them spelled with pieces."""
    rng = random.Random(seed)

    def word() -> str:
        if rng.random() < 0.8:
            return rng.choice(WORDS)
        return "".join(rng.choices(LETTERS, k=rng.randint(1, 4)))

    return [" ".join(word() for _ in range(rng.randint(1, longest))) for _ in range(count)]


def answers_of(example: Example) -> list[tuple[int, str]]:
    """Where each right answer of a question begins, and its text."""
    return [tuple(answer) for answer in json.loads(example.label)]


def documents(count: int, lines: int = 4) -> str:
    """Documents of plain text, parted by blank lines."""
    rng = np.random.default_rng(0)

    def line() -> str:
        return " ".join(rng.choice(SENTENCES, 3)) + f" {rng.choice(WORDS)} {rng.choice(WORDS)}."

    return "\n\n".join("\n".join(line() for _ in range(lines)) for _ in range(count)) + "\n"


def random_inputs(
    config: SqueezeBertConfig, batch: int, length: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Ids and type ids over their whole range; each row but the first ends in padding."""
    rng = np.random.default_rng(seed)
    mask = np.ones((batch, length), np.int32)
    for row in range(1, batch):
        mask[row, rng.integers(1, length + 1) :] = 0
    return {
        "input_word_ids": rng.integers(0, config.vocab_size, (batch, length), np.int32),
        "input_mask": mask,
        "input_type_ids": rng.integers(0, config.type_vocab_size, (batch, length), np.int32),
    }


def save_bundle(
    folder: Path, kind: str = "classification", paired: bool = False, **overrides
) -> Path:
    """A bundle of `tiny_config(**overrides)`. Examples carry its own answers: Keras' metric on them is 1.

    Of a classifier they are texts that it is sure of, its two best probabilities `LEAD` apart: a
    random model has no margins of its own, and what int8 rounding does to a tie says nothing.
    """
    from sqb_tf.checkpoint import bundle
    from sqb_tf.heads import SqueezeBertClassifier
    from sqb_tf.preprocessing import Preprocessor
    from sqb_tf.tokenizer import WordPieceTokenizer

    labels = LABELS if kind == "classification" else ["score"]
    model = SqueezeBertClassifier(tiny_config(**overrides), num_labels=len(labels))
    randomize(model)
    preprocessor = Preprocessor(WordPieceTokenizer(VOCABULARY), SEQ_LENGTH)
    # Steep and centred, so that every label is given to some of the texts.
    model.head.kernel.assign(model.head.kernel * 4)
    logits = model(preprocessor(random_texts(60, seed=20)), training=False).numpy()
    model.head.bias.assign_sub(logits.mean(0))
    if kind == "regression":
        model.head.bias.assign_add([3.0])  # ratings around 3

    def examples(count: int, seed: int) -> list[Example]:
        texts = random_texts(count, seed)
        pairs = random_texts(count, seed + 1) if paired else None
        outputs = model(preprocessor(texts, pairs), training=False).numpy()
        if kind == "classification":
            answers = [labels[i] for i in outputs.argmax(-1)]
            best = np.sort(softmax(outputs), axis=-1)
            sure = best[:, -1] - best[:, -2] > LEAD
        else:
            answers, sure = [str(score) for score in outputs[:, 0]], [True] * count
        rows = zip(texts, pairs or [None] * count, answers, strict=True)
        return [Example(*row) for row, kept in zip(rows, sure, strict=True) if kept]

    task = bundle.TaskInfo(
        task=kind,
        kind=kind,
        paired=paired,
        seq_length=SEQ_LENGTH,
        lowercase=True,
        metric={"name": "accuracy" if kind == "classification" else "pearson", "value": 1.0},
        data="random texts",
        command="",
    )
    bundle.save(
        folder,
        model,
        VOCABULARY,
        labels,
        task,
        calibration=examples(60, seed=10),
        verification=examples(200, seed=20),
        metrics={"metric": task.metric},
    )
    return folder


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def reference_outputs(model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The backbone's outputs from the formulae of BERT and SqueezeBERT, in float64, row by row.

    Written from the papers (Devlin et al. 2019; Iandola et al. 2020, section 3), token by group by
    head, with nothing of the implementation but its weights.
    """
    rows = [
        _reference_row(model, *(inputs[k][i] for k in inputs))
        for i in range(len(inputs["input_word_ids"]))
    ]
    sequence, pooled = zip(*rows, strict=True)
    return {"sequence_output": np.stack(sequence), "pooled_output": np.stack(pooled)}


def _reference_row(model, ids, mask, types):
    config = model.config
    w = {weight.path: np.asarray(weight.numpy(), np.float64) for weight in model.weights}

    def norm(x, name):
        mean = x.mean(-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(-1, keepdims=True)
        epsilon = config.layer_norm_eps if name.startswith("embeddings") else 1e-12
        normal = (x - mean) / np.sqrt(variance + epsilon)
        return normal * w[f"{name}/gamma"] + w[f"{name}/beta"]

    def grouped(x, name, groups):
        kernel, bias = w[f"{name}/kernel"][0], w[f"{name}/bias"]
        size_in, size_out = x.shape[-1] // groups, kernel.shape[-1] // groups
        outputs = np.zeros((len(x), kernel.shape[-1]))
        for g in range(groups):
            part_in = slice(g * size_in, (g + 1) * size_in)
            part_out = slice(g * size_out, (g + 1) * size_out)
            outputs[:, part_out] = x[:, part_in] @ kernel[:, part_out] + bias[part_out]
        return outputs

    def attention(x, block):
        query = grouped(x, f"{block}attention/query", config.q_groups)
        key = grouped(x, f"{block}attention/key", config.k_groups)
        value = grouped(x, f"{block}attention/value", config.v_groups)
        context = np.zeros_like(x)
        for head in range(config.num_attention_heads):
            part = slice(head * config.head_size, (head + 1) * config.head_size)
            scores = query[:, part] @ key[:, part].T / math.sqrt(config.head_size)
            # Padding weighs nothing.
            weights = np.exp(scores - scores.max(-1, keepdims=True)) * mask
            context[:, part] = weights / weights.sum(-1, keepdims=True) @ value[:, part]
        return context

    def depthwise(x, kernel):
        outputs = np.zeros_like(x)
        for place in range(len(x)):
            for tap, weights in enumerate(kernel):
                other = place + tap - len(kernel) // 2
                if 0 <= other < len(x):
                    outputs[place] += x[other] * weights
        return outputs

    x = np.stack(
        [
            w["embeddings/word_embeddings/embeddings"][token]
            + w["embeddings/position_embeddings/embeddings"][place]
            + w["embeddings/token_type_embeddings/embeddings"][kind]
            for place, (token, kind) in enumerate(zip(ids, types, strict=True))
        ]
    )
    x = norm(x, "embeddings/layer_norm")
    for layer in range(config.num_hidden_layers):
        block = f"encoder_{layer}/"
        if config.token_mixer == "separable_conv":
            context = depthwise(x * mask[:, None], w[f"{block}squeeze/kernel"][:, :, 0])
        else:
            context = attention(x, block)
        post = grouped(context, f"{block}post_attention", config.post_attention_groups)
        x = norm(x + post, f"{block}post_attention_norm")
        wide = grouped(x, f"{block}intermediate", config.intermediate_groups)
        wide = REFERENCE_ACTIVATIONS[config.hidden_act](wide)
        update = grouped(wide, f"{block}output_projection", config.output_groups)
        x = norm(x + update, f"{block}output_norm")
    # Without attention the first token does not see them all.
    text = x[0] if config.token_mixer == "self_attention" else x[mask == 1].mean(0)
    pooled = np.tanh(text @ w["pooler/kernel"] + w["pooler/bias"])
    return x, pooled


def _gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _silu(x):
    return x / (1 + np.exp(-x))


REFERENCE_ACTIVATIONS = {
    "gelu": _gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": lambda x: np.maximum(x, 0),
    "silu": _silu,
    "swish": _silu,
    "tanh": np.tanh,
}
