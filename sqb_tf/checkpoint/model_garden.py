"""A BERT classifier as TensorFlow Model Garden's `sentence_prediction` training leaves it, read only.

params.yaml   the experiment, as `official.core.train_utils.serialize_config` writes it
ckpt-N.*      the checkpoints, of which the one of the highest step is read
vocab.txt     the vocabulary that it was trained with, one token a line
labels.txt    label names in the order of its class ids; none of a regression (`num_classes: 1`)

The first two are the training's own; the others are to be put beside them. `tf-models-official` itself
builds the model, on `tf_keras`; it is imported when a model is built and not before, since it takes many
seconds.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError, one_line
from sqb_tf.line_file import read_lines
from sqb_tf.text.vocabulary import read_vocabulary

PARAMS = "params.yaml"
# Encoders whose first token is BERT's, with every layer's outputs.
ENCODERS = ("bert", "bert_v2")


@dataclasses.dataclass(frozen=True)
class GardenInfo:
    """Such a folder without its weights."""

    directory: Path
    checkpoint: Path  # without `.index`
    model: dict[str, Any]  # `task.model` of params.yaml
    kind: str  # classification or regression
    labels: list[str]
    lowercase: bool
    seq_length: int
    num_layers: int


def read_info(directory: str | Path) -> GardenInfo:
    """Everything of the folder but the weights. Imports no TensorFlow.

    The longest input is that of training (`task.train_data.seq_length`), or as long as there are positions.
    `task.train_data.lower_case` is recorded of training from text alone; of training from ids, a vocabulary
    with a capital letter is a cased one.

    Raises:
        InputError: naming the file or the key of params.yaml that is missing or wrong.
    """
    directory = Path(directory)
    path = directory / PARAMS
    params = _read_params(path)

    def setting(key: str, kind: type, default: Any = None) -> Any:
        value: Any = params
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        value = default if value is None else value
        if not isinstance(value, kind):
            raise InputError(
                f"{path}: {key} is {value!r}: expected {kind.__name__}, as Model Garden's "
                "sentence_prediction has it"
            )
        return value

    encoder = setting("task.model.encoder.type", str)
    if encoder not in ENCODERS or setting("task.hub_module_url", str, ""):
        raise InputError(
            f"{path}: the encoder is {encoder!r} or from a hub module: expected one of {', '.join(ENCODERS)}"
        )
    encoder = f"task.model.encoder.{encoder}"
    num_classes = setting("task.model.num_classes", int)
    vocabulary = read_vocabulary(directory / "vocab.txt")
    labels = ["score"]
    if num_classes != 1:
        labels = _labels(directory / "labels.txt")
    for name, lines, expected, key in (
        ("labels.txt", labels, num_classes, "task.model.num_classes"),
        ("vocab.txt", vocabulary, setting(f"{encoder}.vocab_size", int), f"{encoder}.vocab_size"),
    ):
        if len(lines) != expected:
            raise InputError(
                f"{directory / name}: {len(lines)} lines: {PARAMS} has {key} {expected}"
            )
    positions = setting(f"{encoder}.max_position_embeddings", int)
    cased = any(re.search("[A-Z]", t) for t in vocabulary if not re.fullmatch(r"\[.*\]", t))
    return GardenInfo(
        directory,
        _last_checkpoint(directory),
        setting("task.model", dict),
        "regression" if num_classes == 1 else "classification",
        labels,
        setting("task.train_data.lower_case", bool, not cased),
        min(positions, setting("task.train_data.seq_length", int, positions)),
        setting(f"{encoder}.num_layers", int),
    )


def load(info: GardenInfo) -> Any:
    """The trained model, a `tf_keras.Model`: the three inputs by name -> logits and first-token states.

    Outputs: `logits` `[batch, labels]`; `first_token_states`, a list of `[batch, hidden]` for each layer.

    Raises:
        InputError: a config that Model Garden refuses; a checkpoint that is damaged or another model's.
    """
    import tensorflow as tf
    import tf_keras
    from official.nlp.tasks import sentence_prediction

    config = sentence_prediction.SentencePredictionConfig()
    try:
        config.override({"model": info.model})
        classifier = sentence_prediction.SentencePredictionTask(config).build_model()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{info.directory / PARAMS}: Model Garden refuses task.model: {one_line(error)}"
        ) from None
    try:
        status = tf.train.Checkpoint(model=classifier).read(str(info.checkpoint))
        status.expect_partial().assert_existing_objects_matched()
    except (tf.errors.OpError, ValueError, IndexError, RuntimeError, AssertionError) as error:
        raise InputError(
            f"{info.checkpoint}: damaged, or of another model than {PARAMS}'s: {one_line(error)}"
        ) from None
    # The encoder's outputs in the classifier's own graph: so it is computed once for both.
    encoded = classifier.checkpoint_items["encoder"].inbound_nodes[-1].outputs
    states = [states[:, 0] for states in encoded["encoder_outputs"]]
    outputs = {"logits": classifier.output, "first_token_states": states}
    return tf_keras.Model(classifier.input, outputs)


def _read_params(path: Path) -> dict[str, Any]:
    import yaml  # late: only this reader needs it, and fine-tuning looks for a teacher here

    class Loader(yaml.SafeLoader):
        """Plain YAML with the tuples of Model Garden's configs: no tag that names code is followed."""

    Loader.add_constructor("tag:yaml.org,2002:python/tuple", Loader.construct_yaml_seq)
    try:
        params = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML: {one_line(error)}") from None
    if not isinstance(params, dict):
        raise InputError(f"{path}: expected Model Garden's experiment: a mapping with `task`")
    return params


def _labels(path: Path) -> list[str]:
    try:
        return read_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read: {error}: expected the label names, in the order of their ids"
        ) from None


def _last_checkpoint(directory: Path) -> Path:
    found = {
        int(match[1]): directory / match[0]
        for file in directory.glob("ckpt-*.index")
        if (match := re.fullmatch(r"ckpt-(\d+)", file.stem))
    }
    if not found:
        raise InputError(
            f"{directory}: no checkpoint: expected ckpt-N.index and its data, as Model Garden's training "
            "writes them"
        )
    return found[max(found)]
