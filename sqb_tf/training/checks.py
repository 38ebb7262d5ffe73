"""What can be wrong with a run before it starts. Imports no TensorFlow, so that it is reported at once."""

from __future__ import annotations

from pathlib import Path

from sqb_tf.checkpoint import bundle, source
from sqb_tf.checkpoint.bundle import BundleInfo
from sqb_tf.checkpoint.saving import real_tokens
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.data.labels import differences, unnamed_hint
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.progress import log, warn
from sqb_tf.survey import findings
from sqb_tf.survey.survey import Survey
from sqb_tf.survey.tokens import measure
from sqb_tf.text.encoder import MIN_SEQ_LENGTH, TextEncoder, check_seq_length
from sqb_tf.text.vocabulary import read_vocabulary
from sqb_tf.training.options import FinetuneOptions
from sqb_tf.training.pretraining.corpus import Corpus
from sqb_tf.training.pretraining.options import PretrainOptions, ShardOptions
from sqb_tf.training.pretraining.shards import MAX_TOKENS, Shards
from sqb_tf.training.squeezing.options import SqueezeOptions
from sqb_tf.training.teacher import HEADS as TEACHABLE
from sqb_tf.training.teacher import find_teacher
from sqb_tf.training.training_data import TrainingData

# The heads whose weights a pretraining trains on.
MASKED_LM_NAMES = ("masked_lm", "pretraining")


def check_request(output: Path, save_every: int | None) -> None:
    """Checks where a run writes and how often it saves, before anything is read or written.

    Raises:
        InputError: `output` cannot become a bundle, or `save_every` is below 1.
    """
    if save_every is not None and save_every < 1:
        raise InputError(f"save_every {save_every}: expected at least 1")
    bundle.check_target(output)


def check_finetune(task: Task, output: str | Path, options: FinetuneOptions) -> TrainingData:
    """Checks options, data, initial bundle and teacher of a fine-tuning; returns the data as read.

    Raises:
        InputError: any of them is wrong, or they do not go together.
    """
    bundle.check_target(output)
    init = None if options.init is None else source.read_info(options.init)
    config = options.new_config() if init is None else init.config
    check_seq_length(options.seq_length, config.max_position_embeddings)
    if task.takes_pairs and config.type_vocab_size < 2:
        raise InputError(
            f"{options.init}: type_vocab_size is {config.type_vocab_size}, so the model takes single "
            f"texts only: expected at least 2 for the pairs of {task.data}"
        )
    if options.vocabulary is not None:
        read_vocabulary(options.vocabulary)
    if options.teacher is not None and task.learner.distillation_loss is None:
        raise InputError(
            f"teacher: task {task.name} cannot be learned from one: expected one for {' or '.join(TEACHABLE)}"
        )
    teacher = None if options.teacher is None else find_teacher(options.teacher)
    data, surveyed = TrainingData.read(task, options)
    _tell_findings(data, surveyed, init, options)
    if teacher is not None:
        teacher.check(task, data.labels)
    return data


def _tell_findings(
    data: TrainingData, surveyed: Survey, init: BundleInfo | None, options: FinetuneOptions
) -> None:
    """Logs how much data there is, and warns of what in it costs accuracy; `sqb survey` shows more."""
    tokens = None
    if init is not None and not data.is_of(init):
        encoder = TextEncoder(init.vocabulary, init.task.lowercase, MIN_SEQ_LENGTH)
        tokens = measure(data.calibration, data.head, encoder)
    log(findings.summary(surveyed, tokens))
    origin, weighted = f"--init {options.init}", options.class_weights is not None
    for finding in findings.find(surveyed, tokens, options.seq_length, origin, weighted):
        if finding.severity == findings.WARNING:
            warn(finding.text)
    caveat = data.head.mediapipe_caveat(options.lowercase if init is None else init.task.lowercase)
    if caveat is not None:
        warn(caveat)
    if init is not None and not data.is_of(init):
        _tell_new_head(data, init, f"--init {options.init}")


def _tell_new_head(data: TrainingData, init: BundleInfo, name: str) -> None:
    """Says that the head of an initial model is not trained on, where it has learned from labels."""
    if init.task.kind not in registry.TASK_NAMES:
        return
    if init.task.kind != data.task.head:
        log(f"{name}: a new {data.task.head} head takes the place of its {init.task.kind} head")
        return
    warn(
        f"{name}: a new head is trained in place of its own, which has other labels: "
        f"{differences(data.labels, init.labels)}{unnamed_hint(init.labels)}"
    )


def check_pretrain(
    shards: Path, shard_options: ShardOptions, options: PretrainOptions, output: str | None
) -> BundleInfo | None:
    """Checks the text or the shards, the vocabulary and the initial model of a pretraining.

    Args:
        shards: folder of the shards, which are read if `shard_options` names no text.
        output: the bundle to write; None: shards alone are made.

    Returns:
        What the initial model says of itself; None without one.

    Raises:
        InputError: any of them is missing or wrong.
    """
    if output is not None:
        bundle.check_target(output)
    init = None if options.init is None else source.read_info(options.init)
    if init is not None and init.config.type_vocab_size < 2:
        raise InputError(
            f"{options.init}: type_vocab_size is {init.config.type_vocab_size}: pretraining is on pairs of "
            "texts: expected at least 2"
        )
    if init is not None and init.task.kind not in MASKED_LM_NAMES:
        log(
            f"--init {options.init}: a new masked-LM head is trained: the model is a {init.task.kind}"
        )
    if shard_options.vocabulary is not None:
        read_vocabulary(shard_options.vocabulary)
    _check_text(shards, shard_options, init, str(options.init))
    return init


def check_squeeze(
    shards: Path, shard_options: ShardOptions, options: SqueezeOptions, output: str | None
) -> BundleInfo:
    """Checks teacher, student and text of a squeezing; returns what the teacher says of itself.

    Args and errors as `check_pretrain`.
    """
    if output is not None:
        bundle.check_target(output)
    teacher = source.read_info(options.teacher)
    check_student(options, teacher)
    _check_text(shards, shard_options, teacher, options.teacher)
    return teacher


def check_student(options: SqueezeOptions, teacher: BundleInfo) -> SqueezeBertConfig:
    """The student's architecture.

    Raises:
        InputError: as `SqueezeOptions.student_config`; a model `init` of another vocabulary.
    """
    if options.init is None:
        return options.student_config(teacher.config)
    init = source.read_info(options.init)
    for name, own, expected in (
        ("vocabulary", init.vocabulary, teacher.vocabulary),
        ("case", init.task.lowercase, teacher.task.lowercase),
    ):
        if own != expected:
            raise InputError(
                f"init {options.init}: its {name} is not that of {options.teacher}: expected a student of it"
            )
    return options.student_config(teacher.config, init.config)


def _check_text(shards: Path, options: ShardOptions, model: BundleInfo | None, name: str) -> None:
    """Checks the text that shards are made of, or the shards if there is none, for the model `name`."""
    if options.text is None:
        opened = Shards(shards)
        if model is not None:
            check_shards(opened, model, name)
        return
    Corpus.find(options.text, options.held_out)
    if model is not None and options.seq_length > model.config.max_position_embeddings:
        raise InputError(
            f"seq_length {options.seq_length}: {name} has {model.config.max_position_embeddings} positions"
        )
    if model is not None and len(model.vocabulary) > MAX_TOKENS:
        raise InputError(
            f"{name}: {len(model.vocabulary)} tokens: expected at most {MAX_TOKENS}, which shards can hold"
        )


def check_shards(shards: Shards, model: BundleInfo, name: str) -> None:
    """`InputError` unless shards have a model's vocabulary and are no longer than the inputs it takes."""
    again = "make them with this model: give --text and another --shards"
    if shards.vocabulary not in (model.vocabulary, real_tokens(model.vocabulary)):
        raise InputError(f"{shards.directory}: its vocabulary is not that of {name}: {again}")
    if shards.index.lowercase != model.task.lowercase:
        case = "lowercased" if shards.index.lowercase else "cased"
        raise InputError(f"{shards.directory}: {case} text, unlike that of {name}: {again}")
    if shards.index.seq_length > model.config.max_position_embeddings:
        raise InputError(
            f"{shards.directory}: instances of {shards.index.seq_length} tokens: {name} has "
            f"{model.config.max_position_embeddings} positions"
        )
