"""What can be wrong with a run before it starts. Imports no TensorFlow, so that it is reported at once."""

from __future__ import annotations

from pathlib import Path

from sqb_tf.checkpoint import bundle, source
from sqb_tf.checkpoint.bundle import BundleInfo
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.text.encoder import check_seq_length
from sqb_tf.text.vocabulary import read_vocabulary
from sqb_tf.training.options import FinetuneOptions
from sqb_tf.training.pretraining.corpus import Corpus
from sqb_tf.training.pretraining.options import PretrainOptions, ShardOptions
from sqb_tf.training.pretraining.shards import Shards
from sqb_tf.training.squeezing.options import SqueezeOptions
from sqb_tf.training.teacher import find_teacher
from sqb_tf.training.training_data import TrainingData


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
    config = read_config(options)
    check_seq_length(options.seq_length, config.max_position_embeddings)
    if task.paired and config.type_vocab_size < 2:
        raise InputError(
            f"{options.init}: type_vocab_size is {config.type_vocab_size}, so the model takes single "
            f"texts only: expected at least 2 for the pairs of {task.data}"
        )
    if options.vocabulary is not None:
        read_vocabulary(options.vocabulary)
    teacher = None if options.teacher is None else find_teacher(options.teacher)
    data = TrainingData.read(task, options)
    if teacher is not None:
        teacher.check(task, data.labels)
    return data


def check_pretrain(
    shards: Path, shard_options: ShardOptions, options: PretrainOptions, output: str | None
) -> None:
    """Checks the text or the shards, the vocabulary and the initial bundle of a pretraining.

    Args:
        shards: folder of the shards, which are read if `shard_options` names no text.
        output: the bundle to write; None: shards alone are made.

    Raises:
        InputError: any of them is missing or wrong.
    """
    if output is not None:
        bundle.check_target(output)
    read_config(options)
    if shard_options.vocabulary is not None:
        read_vocabulary(shard_options.vocabulary)
    if shard_options.text is None:
        Shards(shards)
    else:
        Corpus.find(shard_options.text, shard_options.held_out)


def check_squeeze(
    shards: Path, shard_options: ShardOptions, options: SqueezeOptions, output: str | None
) -> BundleInfo:
    """Checks teacher, student and text of a squeezing; returns what the teacher says of itself.

    Args and errors as `check_pretrain`.
    """
    if output is not None:
        bundle.check_target(output)
    teacher = source.read_info(options.teacher)
    config = options.student_config(teacher.config)
    check_seq_length(shard_options.seq_length, config.max_position_embeddings)
    if shard_options.text is None:
        check_shards(Shards(shards), teacher, options.teacher)
    else:
        Corpus.find(shard_options.text, shard_options.held_out)
    return teacher


def check_shards(shards: Shards, teacher: BundleInfo, name: str) -> None:
    """`InputError` unless shards have a teacher's vocabulary and are no longer than the inputs it takes."""
    same_case = shards.index.lowercase == teacher.task.lowercase
    if shards.vocabulary != teacher.vocabulary or not same_case:
        raise InputError(
            f"{shards.directory}: its vocabulary is not that of {name}: make the shards with this teacher: "
            "give --text and another --shards"
        )
    if shards.index.seq_length > teacher.config.max_position_embeddings:
        raise InputError(
            f"{shards.directory}: instances of {shards.index.seq_length} tokens: {name} has "
            f"{teacher.config.max_position_embeddings} positions"
        )


def read_config(options: FinetuneOptions | PretrainOptions) -> SqueezeBertConfig:
    """The config that a run starts from: that of `init`, or the preset's."""
    return options.new_config() if options.init is None else source.read_info(options.init).config
