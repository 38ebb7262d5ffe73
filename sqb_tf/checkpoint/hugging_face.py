"""Bundles from and to Hugging Face `transformers` folders, without importing `transformers`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.atomic_write import staged_directory, writing
from sqb_tf.checkpoint import architectures, bundle, sentence_transformers
from sqb_tf.checkpoint.architectures import POOLER, SQUEEZEBERT, Architecture
from sqb_tf.checkpoint.import_options import ImportOptions
from sqb_tf.checkpoint.loaded_model import LoadedModel
from sqb_tf.checkpoint.saving import fill_vocabulary, real_tokens, warn_of_unused_rows
from sqb_tf.checkpoint.sentence_transformers import SentenceModules
from sqb_tf.checkpoint.tokenizer_files import with_added
from sqb_tf.checkpoint.transformers_folder import Folder, fetch, read
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.data.labels import are_unnamed, clean_label, shortened
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.embedding import POOLINGS
from sqb_tf.heads.head import Head
from sqb_tf.line_file import write_lines
from sqb_tf.progress import warn
from sqb_tf.text.encoder import check_seq_length
from sqb_tf.text.vocabulary import SPECIAL_TOKENS, read_vocabulary

WEIGHTS = "model.safetensors"
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
    info = folder_info(folder, options, command)
    model = build(folder, info.task.kind)
    warn_of_limits(folder, info)
    if are_unnamed(info.labels):
        warn(
            f"{options.source}: its outputs have no names but {shortened(info.labels)}: --labels gives them "
            "those of your data"
        )
    contents = bundle.BundleContents(model, info.vocabulary, info.labels, info.task)
    bundle.write(options.output, contents)
    return bundle.read_info(options.output)


def folder_info(folder: Folder, options: ImportOptions, command: str = "") -> bundle.BundleInfo:
    """What the bundle of a folder says of it; arguments and errors of `import_bundle`."""
    config = folder.config
    if options.seq_length is not None:
        check_seq_length(options.seq_length, config.max_position_embeddings)
    head = options.head or folder.head
    task = bundle.TaskInfo(
        task=head,
        kind=head,
        paired=options.paired or registry.get(head).always_paired,
        seq_length=options.seq_length or folder.seq_length,
        lowercase=folder.tokenizer.lowercase,
        data=options.source,
        command=command,
        settings=folder.head_settings(head),
    )
    labels = (
        folder.labels(head) if options.labels is None else _labels(folder, head, options.labels)
    )
    return bundle.BundleInfo(None, config, _vocabulary(folder, options), labels, task)


def warn_of_limits(folder: Folder, info: bundle.BundleInfo) -> None:
    """Logs what the user of a folder's model has to know."""
    warn_of_unused_rows(real_tokens(info.vocabulary), info.config.vocab_size)
    if folder.modules is not None and folder.modules.prompt is not None:
        warn(
            f"{folder.path}: begin every text with its default prompt {folder.modules.prompt!r}: it is not "
            "added for you"
        )
    added = [token for token in folder.tokenizer.added if token not in SPECIAL_TOKENS]
    if unknown := [token for token in added if token not in info.vocabulary]:
        warn(
            f"{folder.path}: without its added tokens {shortened(unknown)}, which the vocabulary lacks"
        )
    elif added:
        warn(
            f"{folder.path}: its added tokens {shortened(added)} are found as whole words; transformers also "
            "finds them inside words"
        )


def _labels(folder: Folder, head: str, names: Sequence[str]) -> list[str]:
    """`names` for the outputs of a head; `InputError` unless each has one of its own."""
    expected = folder.num_outputs(head)
    labels = [clean_label(name) for name in names]
    if not all(labels) or len(set(labels)) != len(labels) or len(labels) != expected:
        raise InputError(
            f"--labels {shortened(labels)}: expected {expected or 'none'} "
            f"{'different names' if expected else f'as the head {head} has no labels'}"
        )
    return labels


def _vocabulary(folder: Folder, options: ImportOptions) -> list[str]:
    """The tokens in id order, one for every row of the word embeddings."""
    vocab_size = folder.config.vocab_size
    if options.vocabulary is not None:
        tokens = read_vocabulary(options.vocabulary)
    elif folder.tokenizer.vocabulary is not None:
        tokens = with_added(folder.path, folder.tokenizer)
    else:
        raise InputError(
            f"{options.source}: no vocab.txt or tokenizer.json in it: name one with --vocab"
        )
    if len(tokens) > vocab_size:
        raise InputError(
            f"{options.source}: {len(tokens)} tokens in the vocabulary, config.json says vocab_size "
            f"{vocab_size}"
        )
    return fill_vocabulary(tokens, vocab_size)


def export_folder(
    directory: str | Path, output: str | Path, model_type: str | None = None
) -> list[str]:
    """Writes a bundle as a transformers folder; returns the names of its files.

    Args:
        directory: the bundle.
        output: the folder.
        model_type: `bert` or `squeezebert`; None: `bert` where every projection has one group, as in an
            imported BERT.

    Raises:
        InputError: a bad bundle, one that is no model of that type, or an `output` that has other contents.
    """
    output = Path(output)
    if output.is_dir() and any(output.iterdir()) and not (output / WEIGHTS).is_file():
        raise InputError(
            f"cannot write {output}: the folder holds something else than a transformers model: "
            "name a new one"
        )
    info = bundle.read_info(directory)
    architecture = architectures.of_config(info.config)
    if model_type is not None:
        architecture = architectures.ARCHITECTURES[model_type]
    try:
        architecture.settings(info.config)
    except InputError as error:
        raise InputError(f"{Path(directory) / 'config.json'}: {error}") from None
    model = bundle.load(directory)
    with staged_directory(output) as staged:
        write(staged, model, model.info, architecture)
        return sorted(str(f.relative_to(staged)) for f in staged.rglob("*") if f.is_file())


def build(folder: Folder, head: str | None = None) -> Any:
    """The Keras model of a folder, with its weights.

    A BERT for masked tokens, spans or labels of tokens has no pooler, and an embedder may have none. Ours has
    one, which then has new weights, the same in every import.

    Args:
        folder: the folder's contents.
        head: the head, by name; None: that of the weights.

    Raises:
        InputError: a weight that is missing, left over, or of another shape than the config's.
    """
    from sqb_tf.model import heads

    head = head or folder.head
    settings = folder.head_settings(head)
    model = heads.build(head, folder.config, len(folder.labels(head)), settings)
    architecture = folder.architecture
    arrays = _with_current_names(folder.arrays)
    prefix = architecture.weights_prefix
    prefix = prefix if any(name.startswith(prefix) for name in arrays) else ""
    _drop_derived(folder.path, arrays, prefix)
    weights = weight_names(model, architecture, prefix)
    if not _needs_pooler(architecture, registry.get(head)):
        weights = _initialize_pooler(weights, arrays, folder.config)
    _check_names(folder.path, architecture.class_name(registry.get(head)), weights, arrays)
    for name, weight in weights.items():
        _check_values(folder.path, name, arrays[name])
        value = _to_ours(arrays[name], weight)
        if value.shape != tuple(weight.shape):
            expected = _to_theirs(np.empty(weight.shape), weight, architecture).shape
            raise InputError(
                f"{folder.path}: {name} has shape {arrays[name].shape}, config.json says {expected}"
            )
        weight.assign(value.astype(np.float32))
    return model


def _needs_pooler(architecture: Architecture, head: type[Head]) -> bool:
    """Whether a folder without a pooler is incomplete; an embedder, which pools by itself, never uses it."""
    return architecture.has_pooler(head) and "pooling" not in head.keras_settings


def _initialize_pooler(
    weights: dict[str, Any], arrays: Mapping[str, np.ndarray], config: SqueezeBertConfig
) -> dict[str, Any]:
    """`weights` without those of the pooler if the folder has none, which then gets its first weights."""
    pooler = {name: w for name, w in weights.items() if w.path.startswith(f"{POOLER}/")}
    if any(name in arrays for name in pooler):
        return weights
    rng = np.random.default_rng(0)
    for weight in pooler.values():
        is_kernel = weight.path.endswith("/kernel")
        scale = config.initializer_range if is_kernel else 0
        # BERT's initializer: nothing beyond two standard deviations.
        weight.assign(np.clip(rng.standard_normal(weight.shape), -2, 2) * scale)
    return {name: weight for name, weight in weights.items() if name not in pooler}


def _check_values(path: Path, name: str, array: np.ndarray) -> None:
    """`InputError` unless a weight is of a float dtype and finite: integers are a quantized model's."""
    if array.dtype.name not in ("float16", "bfloat16", "float32", "float64"):
        raise InputError(f"{path}: {name} is {array.dtype.name}: expected float weights")
    with np.errstate(over="ignore"):  # of float64
        is_finite = np.isfinite(array.astype(np.float32)).all()
    if not is_finite:
        raise InputError(f"{path}: {name} has values that are not finite")


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


def weight_names(
    model: Any, architecture: Architecture = SQUEEZEBERT, prefix: str | None = None
) -> dict[str, Any]:
    """The trainable weights by their names in `transformers`.

    Args:
        model: a Keras model of `sqb_tf.model.heads`.
        architecture: whose names.
        prefix: precedes the encoder's names; None: as in `transformers` for a model with this head.
    """
    if prefix is None:
        has_head = any(_their_layer(w, _HEAD_LAYERS) for w in model.weights)
        prefix = architecture.weights_prefix if has_head else ""
    names = {}
    for weight in model.trainable_weights:
        variable = _VARIABLES[weight.path.rpartition("/")[2]]
        if (layer := _their_layer(weight, architecture.layers)) is not None:
            names[f"{prefix}{layer}.{variable}"] = weight
        else:
            names[f"{_their_layer(weight, _HEAD_LAYERS)}.{variable}"] = weight
    return names


def write(
    folder: Path, model: LoadedModel, info: bundle.BundleInfo, architecture: Architecture
) -> None:
    """Writes the files of a transformers folder for a bundle's model (`sqb_tf.load`) and `info`."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    head = registry.get(info.task.kind)
    arrays = {
        name: np.ascontiguousarray(_to_theirs(weight.numpy(), weight, architecture))
        for name, weight in weight_names(model, architecture).items()
        if architecture.has_pooler(head) or not weight.path.startswith(f"{POOLER}/")
    }
    with writing(folder / WEIGHTS, SafetensorError):
        save_file(arrays, folder / WEIGHTS, metadata={"format": "pt"})
    write_lines(folder / "vocab.txt", real_tokens(info.vocabulary))
    # safetensors makes a file that its owner alone can read.
    shutil.copymode(folder / "vocab.txt", folder / WEIGHTS)
    tokenizer = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": info.task.lowercase,
        "model_max_length": info.config.max_position_embeddings,
    }
    settings = _settings(info, head, architecture)
    for name, content in (("config", settings), ("tokenizer_config", tokenizer)):
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    if "pooling" in head.keras_settings:
        pooling = info.task.settings.get("pooling", POOLINGS[0])
        normalize = info.task.settings.get("normalize", True)
        modules = SentenceModules(
            encoder=folder,
            pooling=pooling,
            normalize=normalize,
            seq_length=info.task.seq_length,
            lowercase=False,
        )
        sentence_transformers.write(folder, modules)


def _settings(
    info: bundle.BundleInfo, head: type[Head], architecture: Architecture
) -> dict[str, Any]:
    """The `config.json` of a transformers folder."""
    settings = {
        "architectures": [architecture.class_name(head)],
        **architecture.settings(info.config),
        "pad_token_id": info.vocabulary.index("[PAD]"),
        "tie_word_embeddings": True,
    }
    if info.labels:
        settings["id2label"] = {str(i): label for i, label in enumerate(info.labels)}
        settings["label2id"] = {label: i for i, label in enumerate(info.labels)}
    if head.hf_problem_type is not None:
        settings["problem_type"] = head.hf_problem_type
    return settings


def _their_layer(weight: Any, layers: Mapping[str, str]) -> str | None:
    """The `transformers` name of a weight's layer; None if `layers` does not have it."""
    path = weight.path.rpartition("/")[0]
    block = re.match(r"encoder_(\d+)/", path)
    if block is None:
        return layers.get(path)
    name = layers.get(path.replace(block[0], "encoder_{i}/", 1))
    return None if name is None else name.format(i=block[1])


def _to_ours(array: np.ndarray, weight: Any) -> np.ndarray:
    """A weight of theirs in our layout: kernels have their axes reversed."""
    if not weight.path.endswith("/kernel"):
        return array
    if array.ndim < len(weight.shape):  # a dense layer's, where we have a convolution
        array = array[..., np.newaxis]
    return array.T


def _to_theirs(array: np.ndarray, weight: Any, architecture: Architecture) -> np.ndarray:
    """The inverse of `_to_ours`."""
    if not weight.path.endswith("/kernel"):
        return array
    is_dense = array.ndim == 3 and not architecture.grouped
    return array[0].T if is_dense else array.T


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
