"""Bundles from and to Hugging Face `transformers` folders, without importing `transformers`.

The weight names are those of `transformers`' `models/squeezebert`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.atomic_write import staged_directory, writing
from sqb_tf.checkpoint import bundle
from sqb_tf.checkpoint.import_options import ImportOptions
from sqb_tf.checkpoint.loaded_model import LoadedModel
from sqb_tf.checkpoint.saving import FILLER, fill_vocabulary
from sqb_tf.checkpoint.transformers_folder import MODEL_TYPE, Folder, fetch, read
from sqb_tf.config import OWN_FIELDS
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.line_file import write_lines
from sqb_tf.text.encoder import check_seq_length
from sqb_tf.text.vocabulary import read_vocabulary

WEIGHTS = "model.safetensors"
PREFIX = "transformer."  # precedes the encoder's names in a model with a head

# Our layer path -> theirs; {i} is the block's index. Convolution kernels have rank 3 on both sides.
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
    ours: theirs for head in registry.HEADS.values() for ours, theirs in head.hf_layers.items()
}
# Our variable name -> theirs.
_VARIABLES = {
    "kernel": "weight",
    "embeddings": "weight",
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
}


def import_bundle(options: ImportOptions, command: str = "") -> bundle.BundleInfo:
    """Writes the bundle of a transformers folder, or of a repository on the hub.

    Args:
        options: the source, the bundle's directory and the model's head.
        command: the command line, for the bundle's record.

    Raises:
        InputError: as `read` and `build`; no vocabulary, or one larger than the model's.
    """
    bundle.check_target(options.output)
    folder = read(fetch(options.source, options.revision))
    config = folder.config
    if options.seq_length is not None:
        check_seq_length(options.seq_length, config.max_position_embeddings)
    vocabulary = _vocabulary(folder, options)
    head = options.head or folder.head
    task = bundle.TaskInfo(
        task=head,
        kind=head,
        paired=options.paired or registry.get(head).always_paired,
        seq_length=options.seq_length or config.max_position_embeddings,
        lowercase=folder.lowercase,
        data=options.source,
        command=command,
    )
    contents = bundle.BundleContents(build(folder, head), vocabulary, folder.labels(head), task)
    bundle.write(options.output, contents)
    return bundle.read_info(options.output)


def _vocabulary(folder: Folder, options: ImportOptions) -> list[str]:
    """The tokens in id order, one for every row of the word embeddings."""
    tokens, vocab_size = folder.vocabulary, folder.config.vocab_size
    if options.vocabulary is not None:
        tokens = read_vocabulary(options.vocabulary)
    if tokens is None:
        raise InputError(
            f"{options.source}: no vocab.txt or tokenizer.json in it: name one with --vocab"
        )
    if len(tokens) > vocab_size:
        raise InputError(
            f"{options.source}: {len(tokens)} tokens in the vocabulary, config.json says vocab_size "
            f"{vocab_size}"
        )
    return fill_vocabulary(tokens, vocab_size)


def export_folder(directory: str | Path, output: str | Path) -> list[str]:
    """Writes a bundle as a transformers folder; returns the names of its files.

    Raises:
        InputError: a bad bundle, one without self-attention, or an `output` that has other contents.
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


def build(folder: Folder, head: str | None = None) -> Any:
    """The Keras model of a folder, with its weights.

    Args:
        folder: the folder's contents.
        head: the head, by name; None: that of the weights.

    Raises:
        InputError: a weight that is missing, left over, or of another shape than the config's.
    """
    from sqb_tf.model import heads

    head = head or folder.head
    model = heads.build(head, folder.config, len(folder.labels(head)))
    arrays = _with_current_names(folder.arrays)
    prefix = PREFIX if any(name.startswith(PREFIX) for name in arrays) else ""
    _drop_derived(folder.path, arrays, prefix)
    weights = weight_names(model, prefix)
    _check_names(folder.path, registry.get(head).hf_class, weights, arrays)
    for name, weight in weights.items():
        value = _transpose_kernel(arrays[name], weight)
        if value.shape != tuple(weight.shape):
            expected = _transpose_kernel(np.empty(weight.shape), weight).shape
            raise InputError(
                f"{folder.path}: {name} has shape {arrays[name].shape}, config.json says {expected}"
            )
        weight.assign(value.astype(np.float32))
    return model


def _check_names(
    path: Path, architecture: str, expected: Collection[str], actual: Collection[str]
) -> None:
    """`InputError` unless both are the same names."""
    differences = []
    for what, names in (
        ("missing", sorted(set(expected) - set(actual))),
        ("left over", sorted(set(actual) - set(expected))),
    ):
        if names:
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            differences.append(f"{what} {', '.join(names[:4])}{more}")
    if differences:
        raise InputError(f"{path}: not the weights of {architecture}: {'; '.join(differences)}")


def weight_names(model: Any, prefix: str | None = None) -> dict[str, Any]:
    """The trainable weights by their names in `transformers`.

    Args:
        model: a Keras model of `sqb_tf.model.heads`.
        prefix: precedes the encoder's names; None: as in `transformers` for a model with this head.
    """
    if prefix is None:
        prefix = PREFIX if any(_their_layer(w, _HEAD_LAYERS) for w in model.weights) else ""
    names = {}
    for weight in model.trainable_weights:
        variable = _VARIABLES[weight.path.rpartition("/")[2]]
        if (layer := _their_layer(weight, _ENCODER_LAYERS)) is not None:
            names[f"{prefix}{layer}.{variable}"] = weight
        else:
            names[f"{_their_layer(weight, _HEAD_LAYERS)}.{variable}"] = weight
    return names


def write(folder: Path, model: LoadedModel, info: bundle.BundleInfo) -> None:
    """Writes the files of a transformers folder for a bundle's model (`sqb_tf.load`) and `info`."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {
        name: np.ascontiguousarray(_transpose_kernel(weight.numpy(), weight))
        for name, weight in weight_names(model).items()
    }
    with writing(folder / WEIGHTS, SafetensorError):
        save_file(arrays, folder / WEIGHTS, metadata={"format": "pt"})
    tokens = [token for i, token in enumerate(info.vocabulary) if token != FILLER.format(i)]
    write_lines(folder / "vocab.txt", tokens)
    shutil.copymode(
        folder / "vocab.txt", folder / WEIGHTS
    )  # safetensors makes it for its owner alone
    tokenizer = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": info.task.lowercase,
        "model_max_length": info.config.max_position_embeddings,
    }
    for name, content in (("config", _settings(info)), ("tokenizer_config", tokenizer)):
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


def _settings(info: bundle.BundleInfo) -> dict[str, Any]:
    """The `config.json` of a transformers folder."""
    head, config = registry.get(info.task.kind), info.config
    settings = {
        "architectures": [head.hf_class],
        "model_type": MODEL_TYPE,
        **{name: value for name, value in config.to_dict().items() if name not in OWN_FIELDS},
        "embedding_size": config.hidden_size,
        "pad_token_id": info.vocabulary.index("[PAD]"),
        "tie_word_embeddings": True,
    }
    if info.labels:
        settings["id2label"] = {str(i): label for i, label in enumerate(info.labels)}
        settings["label2id"] = {label: i for i, label in enumerate(info.labels)}
    if head.hf_problem_type is not None:
        settings["problem_type"] = head.hf_problem_type
    return settings


def _their_layer(weight: Any, layers: dict[str, str]) -> str | None:
    """The `transformers` name of a weight's layer; None if `layers` does not have it."""
    path = weight.path.rpartition("/")[0]
    block = re.match(r"encoder_(\d+)/", path)
    if block is None:
        return layers.get(path)
    name = layers.get(path.replace(block[0], "encoder_{i}/", 1))
    return None if name is None else name.format(i=block[1])


def _transpose_kernel(array: np.ndarray, weight: Any) -> np.ndarray:
    """Converts between their layout and ours: kernels have their axes reversed, other weights do not."""
    return array.T if weight.path.endswith("/kernel") else array


def _with_current_names(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames a norm's "gamma" and "beta", as checkpoints before 2019 have them, to "weight" and "bias"."""
    current = {".gamma": ".weight", ".beta": ".bias"}
    return {
        re.sub(r"\.(gamma|beta)$", lambda match: current[match[0]], name): array
        for name, array in arrays.items()
    }


def _drop_derived(path: Path, arrays: dict[str, np.ndarray], prefix: str) -> None:
    """Removes weights that repeat others; `InputError` if they differ from those."""
    table, bias = f"{prefix}embeddings.word_embeddings.weight", "cls.predictions.bias"
    for copy, original in (
        ("cls.predictions.decoder.weight", table),
        ("cls.predictions.decoder.bias", bias),
    ):
        if copy in arrays and original not in arrays:
            arrays[original] = arrays.pop(copy)
        elif copy in arrays and not np.array_equal(arrays[copy], arrays[original]):
            raise InputError(
                f"{path}: {copy} is not {original}: input and output embeddings differ; this implementation "
                "requires tied embeddings"
            )
        arrays.pop(copy, None)
    positions = arrays.pop(f"{prefix}embeddings.position_ids", None)
    if positions is not None and not np.array_equal(positions.ravel(), np.arange(positions.size)):
        raise InputError(f"{path}: {prefix}embeddings.position_ids: expected 0, 1, 2 and so on")
