"""Models with the weights of Hugging Face `transformers`, and back. Names and shapes only, no code of it.

The names are those of `transformers`' `models/squeezebert`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.atomic_write import staged_directory, writing
from sqb_tf.checkpoint import bundle
from sqb_tf.checkpoint.saving import FILLER, fill_vocabulary
from sqb_tf.checkpoint.transformers_folder import ARCHITECTURES, MODEL_TYPE, Folder, fetch, read
from sqb_tf.config import OWN_FIELDS
from sqb_tf.data.task_specs import PAIRED_KINDS
from sqb_tf.errors import InputError
from sqb_tf.text.preprocessing import check_seq_length
from sqb_tf.text.vocabulary import read_vocabulary

WEIGHTS = "model.safetensors"
PREFIX = "transformer."  # of the encoder in a model with a head

# Our layer's path -> theirs; {i} is a block. Convolutions have kernels of rank 3 on both sides.
_ENCODER_LAYERS = {
    "embeddings/word_embeddings": "embeddings.word_embeddings",
    "embeddings/position_embeddings": "embeddings.position_embeddings",
    "embeddings/token_type_embeddings": "embeddings.token_type_embeddings",
    "embeddings/layer_norm": "embeddings.LayerNorm",
    "encoder_{i}/attention/query": "encoder.layers.{i}.attention.query",
    "encoder_{i}/attention/key": "encoder.layers.{i}.attention.key",
    "encoder_{i}/attention/value": "encoder.layers.{i}.attention.value",
    "encoder_{i}/post_attention": "encoder.layers.{i}.post_attention.conv1d",
    "encoder_{i}/post_attention_norm": "encoder.layers.{i}.post_attention.layernorm",
    "encoder_{i}/intermediate": "encoder.layers.{i}.intermediate.conv1d",
    "encoder_{i}/output_projection": "encoder.layers.{i}.output.conv1d",
    "encoder_{i}/output_norm": "encoder.layers.{i}.output.layernorm",
    "pooler": "pooler.dense",
}
_HEAD_LAYERS = {
    "classifier_head": "classifier",
    "token_head": "classifier",
    "choice_head": "classifier",
    "span_head": "qa_outputs",
    "masked_lm_head/transform": "cls.predictions.transform.dense",
    "masked_lm_head/norm": "cls.predictions.transform.LayerNorm",
    "masked_lm_head": "cls.predictions",
    "sentence_order_head": "cls.seq_relationship",
}
_LEAVES = {
    "kernel": "weight",
    "embeddings": "weight",
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
}


def import_bundle(
    source: str,
    output: str | Path,
    kind: str | None = None,
    vocabulary: str | None = None,
    revision: str | None = None,
    seq_length: int | None = None,
    paired: bool = False,
    command: str = "",
) -> bundle.BundleInfo:
    """Writes the bundle of a transformers folder, or of a hub repository.

    Args:
        source: the folder, or the repository's name.
        output: the bundle's folder.
        kind: a key of `ARCHITECTURES`; None: what the weights say.
        vocabulary: a vocab.txt, for a folder without a tokenizer.
        revision: of the repository.
        seq_length: the longest input in tokens; None: the model's positions.
        paired: whether the model takes two texts, which the folder does not say.
        command: what is running, for the bundle's record.

    Raises:
        InputError: as `read` and `build`; no vocabulary, or one larger than the model's.
    """
    bundle.check_target(output)
    if kind is not None and kind not in ARCHITECTURES:
        raise InputError(f"head {kind!r}: expected one of {', '.join(ARCHITECTURES)}")
    folder = read(fetch(source, revision))
    config = folder.config
    if seq_length is not None:
        check_seq_length(seq_length, config.max_position_embeddings)
    tokens = folder.vocabulary if vocabulary is None else read_vocabulary(vocabulary)
    if tokens is None:
        raise InputError(f"{source}: no vocab.txt or tokenizer.json in it: name one with --vocab")
    if len(tokens) > config.vocab_size:
        raise InputError(
            f"{source}: {len(tokens)} tokens in the vocabulary, config.json says vocab_size "
            f"{config.vocab_size}"
        )
    tokens = fill_vocabulary(tokens, config.vocab_size)
    model = build(folder, kind)
    kind = kind or folder.kind
    task = bundle.TaskInfo(
        task=kind,
        kind=kind,
        paired=paired or kind in PAIRED_KINDS,
        seq_length=seq_length or config.max_position_embeddings,
        lowercase=folder.lowercase,
        metric={},
        data=source,
        command=command,
    )
    bundle.write(output, bundle.BundleContents(model, tokens, folder.labels(kind), task))
    return bundle.read_info(output)


def export_folder(directory: str | Path, output: str | Path) -> list[str]:
    """Writes a bundle as a transformers folder; its files' names.

    Raises:
        InputError: a bad bundle, one without self-attention, or an `output` that holds something else.
    """
    output = Path(output)
    if output.is_dir() and any(output.iterdir()) and not (output / WEIGHTS).is_file():
        raise InputError(
            f"cannot write {output}: the folder holds something else than a transformers model: "
            "name a new one"
        )
    mixer = bundle.read_info(directory).config.token_mixer
    if mixer != "self_attention":
        raise InputError(
            f"{directory}: token_mixer={mixer!r} in its config.json: `transformers` has no such model; "
            "expected a bundle with self_attention"
        )
    model = bundle.load(directory)
    with staged_directory(output) as staged:
        write(staged, model, model.info)
        return sorted(file.name for file in staged.iterdir())


def build(folder: Folder, kind: str | None = None) -> Any:
    """The model of a folder, with its weights; `kind` is a key of `ARCHITECTURES`, None the folder's own.

    Raises:
        InputError: a weight that is missing, left over, or of another shape than the config's.
    """
    from sqb_tf.model import heads

    kind = kind or folder.kind
    model = heads.build(kind, folder.config, len(folder.labels(kind)))
    arrays = _with_known_names(folder.arrays)
    prefix = PREFIX if any(name.startswith(PREFIX) for name in arrays) else ""
    names = weight_names(model, prefix)
    _drop_derived(folder.path, arrays, prefix)
    missing = sorted(set(names) - set(arrays))
    extra = sorted(set(arrays) - set(names))
    if missing or extra:
        raise InputError(
            f"{folder.path}: not the weights of {ARCHITECTURES[kind]}: "
            + "; ".join(
                f"{what} {', '.join(some[:4])}{f' and {len(some) - 4} more' * (len(some) > 4)}"
                for what, some in (("missing", missing), ("left over", extra))
                if some
            )
        )
    for name, weight in names.items():
        value = _turn(arrays[name], weight)
        if value.shape != tuple(weight.shape):
            expected = _turn(np.empty(weight.shape), weight).shape
            raise InputError(
                f"{folder.path}: {name} has shape {arrays[name].shape}, config.json says {expected}"
            )
        weight.assign(value.astype(np.float32))
    return model


def weight_names(model: Any, prefix: str | None = None) -> dict[str, Any]:
    """Our weights by `transformers`' names; the random generators of dropout have none.

    `prefix` is that of the encoder's names; None: what `transformers` gives a model of this head.
    """
    if prefix is None:
        prefix = PREFIX if any(_their_layer(w, _HEAD_LAYERS) for w in model.weights) else ""
    names = {}
    for weight in model.trainable_weights:
        leaf = _LEAVES[weight.path.rpartition("/")[2]]
        if (layer := _their_layer(weight, _ENCODER_LAYERS)) is not None:
            names[f"{prefix}{layer}.{leaf}"] = weight
        else:
            names[f"{_their_layer(weight, _HEAD_LAYERS)}.{leaf}"] = weight
    return names


def write(folder: Path, model: Any, info: Any) -> None:
    """Writes the files of a transformers folder for a bundle's model (`sqb_tf.load`) and `info`."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    kind, config = info.task.kind, info.config
    settings = {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": MODEL_TYPE,
        **{name: value for name, value in config.to_dict().items() if name not in OWN_FIELDS},
        "embedding_size": config.hidden_size,
        "pad_token_id": info.vocabulary.index("[PAD]"),
        "tie_word_embeddings": True,
    }
    if info.labels:
        settings["id2label"] = {str(i): label for i, label in enumerate(info.labels)}
        settings["label2id"] = {label: i for i, label in enumerate(info.labels)}
    if kind in ("classification", "regression"):
        single = "single_label_classification"
        settings["problem_type"] = "regression" if kind == "regression" else single
    arrays = {
        name: np.ascontiguousarray(_turn(weight.numpy(), weight))
        for name, weight in weight_names(model).items()
    }
    with writing(folder / WEIGHTS, SafetensorError):
        save_file(arrays, folder / WEIGHTS, metadata={"format": "pt"})
    tokens = [token for i, token in enumerate(info.vocabulary) if token != FILLER.format(i)]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    tokenizer = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": info.task.lowercase,
        "model_max_length": config.max_position_embeddings,
    }
    for name, content in (("config", settings), ("tokenizer_config", tokenizer)):
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


def _their_layer(weight: Any, layers: dict[str, str]) -> str | None:
    """The name of the layer that holds a weight of ours, None if it is not one of `layers`."""
    path = weight.path.rpartition("/")[0]
    number = re.match(r"encoder_(\d+)/", path)
    if number is None:
        return layers.get(path)
    name = layers.get(path.replace(number[0], "encoder_{i}/", 1))
    return None if name is None else name.format(i=number[1])


def _turn(array: np.ndarray, weight: Any) -> np.ndarray:
    """Theirs to ours and back: kernels have their axes the other way round, tables have not."""
    return array.T if weight.path.endswith("/kernel") else array


def _with_known_names(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names of checkpoints before 2019 called a norm's gain and bias gamma and beta."""
    old = {".gamma": ".weight", ".beta": ".bias"}
    return {
        re.sub(r"\.(gamma|beta)$", lambda match: old[match[0]], name): array
        for name, array in arrays.items()
    }


def _drop_derived(path: Path, arrays: dict[str, np.ndarray], prefix: str) -> None:
    """Takes out what repeats another weight, if it truly does: `InputError` where it does not."""
    table, bias = f"{prefix}embeddings.word_embeddings.weight", "cls.predictions.bias"
    for copy, original in (
        ("cls.predictions.decoder.weight", table),
        ("cls.predictions.decoder.bias", bias),
    ):
        if copy in arrays and original not in arrays:
            arrays[original] = arrays.pop(copy)
        elif copy in arrays and not np.array_equal(arrays[copy], arrays[original]):
            raise InputError(
                f"{path}: {copy} is not {original}: the embeddings are not tied, which they are here"
            )
        arrays.pop(copy, None)
    places = arrays.pop(f"{prefix}embeddings.position_ids", None)
    if places is not None and not np.array_equal(places.ravel(), np.arange(places.size)):
        raise InputError(f"{path}: {prefix}embeddings.position_ids: expected 0, 1, 2 and so on")
