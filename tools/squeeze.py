"""Squeezes a BERT on plain text into a smaller SqueezeBERT with grouped layers, and writes a bundle."""

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError
from sqb_tf.options import check_choices, option
from sqb_tf.training.checks import check_squeeze
from sqb_tf.training.pretraining.options import ShardOptions
from sqb_tf.training.pretraining.shards import Shards
from sqb_tf.training.squeezing.options import SqueezeOptions
from sqb_tools import arguments, entry, results
from sqb_tools.shared_options import SavingOptions

EPILOG = """examples:
  sqb squeeze --teacher sentence-transformers/all-MiniLM-L6-v2 --layers 3 --groups 2 --text corpus/ \\
      --seq-length 64 --precision mixed_bfloat16 --output runs/squeezed
  sqb finetune --data reviews.tsv --init runs/squeezed --output runs/reviews

The student learns the states of its teacher's layers, not labels: any text like that of the tasks will do. It
keeps the teacher's vocabulary, embeddings, width and head. Text is tokenized once, into shards that --shards
keeps for other runs; --backend jax reads shards without TensorFlow."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextOptions:
    """The text, and how it becomes shards. The vocabulary is the teacher's."""

    text: tuple[str, ...] | None = option(
        None,
        "UTF-8 text files, or folders of .txt files; blank lines separate documents",
        group="data",
        metavar="PATH",
    )
    held_out: float = option(
        1.0, "percentage of the documents that is held out for evaluation", group="data"
    )
    seq_length: int = option(64, "tokens of an instance", group="data")
    shards: str | None = option(
        None,
        "folder of tokenized shards: read, or written from --text",
        group="data",
        metavar="DIR",
        fallback="OUTPUT.shards",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(SavingOptions):
    """What computes and what is written."""

    backend: str = option(
        "tensorflow",
        "Keras backend; jax needs no TensorFlow",
        group="training",
        choices=("tensorflow", "jax"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self)


def main(args: argparse.Namespace) -> int:
    if args.text is None and args.shards is None:
        raise InputError("give --text, or --shards with a folder of shards made from it")
    if args.steps == 0 and args.shards is None:
        raise InputError("--steps 0 only makes shards: name their folder with --shards")
    if args.steps and not args.output:
        raise InputError("--output is missing: name the folder for the bundle")
    run = arguments.read(RunOptions, args)
    options = arguments.read(SqueezeOptions, args, steps=args.steps or 1)
    text = arguments.read(TextOptions, args)
    shard_options = ShardOptions(
        text=text.text,
        held_out=text.held_out,
        seq_length=text.seq_length,
        vocabulary=options.teacher,
    )
    if text.text is not None and run.backend != "tensorflow":
        raise InputError(
            f"--backend {run.backend}: shards are made with TensorFlow: leave out --text, and make them "
            "first with --steps 0"
        )
    directory = Path(text.shards or f"{run.output}.shards")
    teacher = check_squeeze(directory, shard_options, options, run.output)
    os.environ["KERAS_BACKEND"] = run.backend
    if text.text is not None:
        from sqb_tf.training.pretraining.shard_writer import make_shards

        shard_options = dataclasses.replace(shard_options, lowercase=teacher.task.lowercase)
        make_shards(directory, shard_options, teacher.vocabulary)
    shards = Shards(directory)
    if args.steps == 0:
        counts = {split: shards.count(split) for split in shards.index.records}
        table = f"shards           {directory}\ntrain            {counts['train']:,} instances\n"
        results.emit(args, f"{table}held out         {counts['dev']:,}", {"instances": counts})
        return entry.DONE
    assert run.output is not None  # checked above: only --steps 0 does without
    from sqb_tf.training.squeezing.squeeze import squeeze

    metrics = squeeze(shards, run.output, options, run.resume, run.save_every, results.command())
    results.emit(args, summary(run.output, metrics), metrics)
    return entry.DONE


def summary(output: str, metrics: dict[str, Any]) -> str:
    """The result as a table."""
    last = metrics["curve"][-1]
    rows = [
        f"{index + 1:<6} {layer:<10} {error:<14.4f} {divergence:.4f}"
        for index, (layer, error, divergence) in enumerate(
            zip(
                metrics["taught_layers"],
                last["hidden_errors"],
                last["attention_divergences"],
                strict=True,
            )
        )
    ]
    return "\n".join(
        [
            f"bundle      {output}",
            f"parameters  {metrics['parameters']:,}",
            f"seconds     {metrics['seconds']}",
            "",
            "layer  teacher's  hidden error   attention divergence",
            *rows,
        ]
    )


def flags() -> arguments.Parser:
    return arguments.parser("squeeze", __doc__, EPILOG, TextOptions, SqueezeOptions, RunOptions)


if __name__ == "__main__":
    entry.run(main, flags())
