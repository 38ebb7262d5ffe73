"""Reads a BERT classifier that TensorFlow Model Garden's `sentence_prediction` task has trained.

params.yaml   the experiment, as `official.core.train_utils.serialize_config` writes it
ckpt-N.*      the checkpoints; the one of the highest step is read
vocab.txt     the vocabulary that it was trained with, one token per line
labels.txt    label names in the order of the class ids; not needed for a regression (`num_classes: 1`)

Training writes the first two; the user puts the others beside them. `tf-models-official` builds the model, on
`tf_keras`. It is imported only when a model is built, since the import takes many seconds.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, TypeVar

from sqb_tf.data.labels import clean_label
from sqb_tf.errors import InputError, one_line
from sqb_tf.line_file import read_lines
from sqb_tf.text.vocabulary import read_vocabulary

T = TypeVar("T")

PARAMS = "params.yaml"
# Encoders that pool the first token, as BERT, and return every layer's outputs.
ENCODERS = ("bert", "bert_v2")


@dataclasses.dataclass(frozen=True)
class GardenInfo:
    """Everything in such a folder but the weights."""

    directory: Path
    checkpoint: Path  # without the suffix `.index`
    model: dict[str, Any]  # `task.model` of params.yaml
    head: str  # classification or regression
    labels: list[str]
    lowercase: bool
    seq_length: int
    num_layers: int


@dataclasses.dataclass(frozen=True)
class _Params:
    """The settings of a `params.yaml`."""

    path: Path
    settings: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> _Params:
        import yaml  # late: fine-tuning looks for a teacher here, and only this reader needs it

        class Loader(yaml.SafeLoader):
            """Plain YAML with the tuples of Model Garden's configs; tags that name code are errors."""

        Loader.add_constructor("tag:yaml.org,2002:python/tuple", Loader.construct_yaml_seq)
        try:
            settings = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{path}: cannot be read as YAML: {one_line(error)}") from None
        if not isinstance(settings, dict):
            raise InputError(f"{path}: expected Model Garden's experiment: a mapping with `task`")
        return cls(path, settings)

    def get(self, key: str, value_type: type[T], default: T | None = None) -> T:
        """The value of a dotted key, or `default`; `InputError` if it is missing or of another type."""
        value: Any = self.settings
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        value = default if value is None else value
        if not isinstance(value, value_type):
            raise InputError(
                f"{self.path}: {key} is {value!r}: expected {value_type.__name__}, as Model Garden's "
                "sentence_prediction has it"
            )
        return value

    def encoder_key(self) -> str:
        """The key of the encoder's settings; `InputError` for an encoder that cannot be read."""
        encoder = self.get("task.model.encoder.type", str)
        if encoder not in ENCODERS or self.get("task.hub_module_url", str, ""):
            raise InputError(
                f"{self.path}: the encoder is {encoder!r} or from a hub module: expected one of "
                f"{', '.join(ENCODERS)}"
            )
        return f"task.model.encoder.{encoder}"


def read_info(directory: str | Path) -> GardenInfo:
    """Everything in the folder but the weights. Imports no TensorFlow.

    The longest input is that of training (`task.train_data.seq_length`), or the number of positions if that
    is not recorded. `task.train_data.lower_case` is recorded only by training from text; otherwise a
    vocabulary with a capital letter is taken to be cased.

    Raises:
        InputError: names the file, or the key of params.yaml, that is missing or wrong.
    """
    directory = Path(directory)
    params = _Params.read(directory / PARAMS)
    encoder = params.encoder_key()
    vocabulary = _read_tokens(directory / "vocab.txt", params, f"{encoder}.vocab_size")
    labels = _read_labels(directory / "labels.txt", params)
    positions = params.get(f"{encoder}.max_position_embeddings", int)
    seq_length = params.get("task.train_data.seq_length", int, positions)
    return GardenInfo(
        directory,
        checkpoint=_last_checkpoint(directory),
        model=params.get("task.model", dict),
        head="regression" if labels is None else "classification",
        labels=["score"] if labels is None else labels,
        lowercase=params.get("task.train_data.lower_case", bool, not _is_cased(vocabulary)),
        seq_length=min(positions, seq_length),
        num_layers=params.get(f"{encoder}.num_layers", int),
    )


def load(info: GardenInfo) -> Any:
    """The trained model, a `tf_keras.Model` of the three inputs by name.

    Outputs: `logits` `[batch, labels]`; `first_token_states`, a list of `[batch, hidden]` for each layer.

    Raises:
        InputError: a config that Model Garden rejects; a checkpoint that is damaged or another model's.
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
            f"{info.directory / PARAMS}: Model Garden rejects task.model: {one_line(error)}"
        ) from None
    try:
        status = tf.train.Checkpoint(model=classifier).read(str(info.checkpoint))
        status.expect_partial().assert_existing_objects_matched()
    except (tf.errors.OpError, ValueError, IndexError, RuntimeError, AssertionError) as error:
        raise InputError(
            f"{info.checkpoint}: damaged, or of another model than {PARAMS}'s: {one_line(error)}"
        ) from None
    # The encoder's outputs from the classifier's own graph, so that the encoder is computed once.
    encoded = classifier.checkpoint_items["encoder"].inbound_nodes[-1].outputs
    states = [states[:, 0] for states in encoded["encoder_outputs"]]
    outputs = {"logits": classifier.output, "first_token_states": states}
    return tf_keras.Model(classifier.input, outputs)


def _read_tokens(path: Path, params: _Params, size_key: str) -> list[str]:
    tokens = read_vocabulary(path)
    _check_count(path, tokens, size_key, params.get(size_key, int))
    return tokens


def _read_labels(path: Path, params: _Params) -> list[str] | None:
    """The label names of a classifier; None for a regression."""
    key = "task.model.num_classes"
    num_classes = params.get(key, int)
    if num_classes == 1:
        return None
    lines = read_lines(path, "the label names, in the order of their ids")
    _check_count(path, lines, key, num_classes)
    try:
        return [clean_label(line.removesuffix("\r")) for line in lines]
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _check_count(path: Path, lines: list[str], key: str, expected: int) -> None:
    if len(lines) != expected:
        raise InputError(f"{path}: {len(lines)} lines: {PARAMS} has {key} {expected}")


def _is_cased(vocabulary: list[str]) -> bool:
    """Whether a token other than the special ones, which are in brackets, has a capital letter."""
    tokens = (token for token in vocabulary if not re.fullmatch(r"\[.*\]", token))
    return any(re.search("[A-Z]", token) for token in tokens)


def _last_checkpoint(directory: Path) -> Path:
    checkpoints = {
        int(match[1]): directory / match[0]
        for file in directory.glob("ckpt-*.index")
        if (match := re.fullmatch(r"ckpt-(\d+)", file.stem))
    }
    if not checkpoints:
        raise InputError(
            f"{directory}: no checkpoint: expected ckpt-N.index and its data, as Model Garden's training "
            "writes them"
        )
    return checkpoints[max(checkpoints)]
