"""Pretrains SqueezeBERT on plain text (masked LM and sentence order) and writes a bundle."""

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

from sqb_tf.errors import InputError
from sqb_tf.heads.registry import TEXT_NAMES
from sqb_tf.options import check_choices, option
from sqb_tf.training.checks import check_pretrain
from sqb_tf.training.pretraining.options import PretrainOptions, ShardOptions
from sqb_tf.training.pretraining.shards import Shards
from sqb_tools import arguments, entry, results
from sqb_tools.shared_options import SavingOptions

EPILOG = """examples:
  sqb pretrain --text corpus/ --preset squeezebert-small --output runs/small
  sqb finetune --data reviews.tsv --init runs/small --output runs/reviews

Text is tokenized once, into shards that --shards keeps for other runs. A machine that only trains needs just
the shards: with --backend jax neither the text nor TensorFlow, just keras, jax and h5py beside this package:
  sqb pretrain --text corpus/ --vocab vocab.txt --shards shards/ --steps 0
  sqb pretrain --backend jax --shards shards/ --preset squeezebert-base \\
      --batch-size 1024 --precision mixed_bfloat16 --output runs/base

The paper's two phases, 8192 examples per step, as many at once as the machine can hold:
  sqb pretrain --shards at128/ --preset squeezebert-base --output runs/first --steps 56000 \\
      --optimizer lamb --warmup 0.28 --batch-size 8192 --micro-batch-size 256
  sqb pretrain --shards at512/ --init runs/first --output runs/base --steps 6000 \\
      --optimizer lamb --warmup 0.28 --batch-size 8192 --micro-batch-size 64"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(SavingOptions):
    """What is read, what computes and what is written."""

    shards: str | None = option(
        None,
        "folder of tokenized shards: read, or written from --text",
        group="data",
        metavar="DIR",
        fallback="OUTPUT.shards",
    )
    head: str = option("masked_lm", "head of the bundle", group="model", choices=TEXT_NAMES)
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
    options = arguments.read(PretrainOptions, args, steps=args.steps or 1)
    shard_options = arguments.read(ShardOptions, args)
    if args.text is not None and run.backend != "tensorflow":
        raise InputError(
            f"--backend {run.backend}: shards are made with TensorFlow: leave out --text, and make them "
            "first with --steps 0"
        )
    directory = Path(run.shards or f"{run.output}.shards")
    check_pretrain(directory, shard_options, options, run.output)
    os.environ["KERAS_BACKEND"] = run.backend
    if args.text is not None:
        from sqb_tf.training.pretraining.shard_writer import make_shards

        make_shards(directory, shard_options)
    shards = Shards(directory)
    if args.steps == 0:
        counts = {split: shards.count(split) for split in shards.index.records}
        table = f"shards           {directory}\ntrain            {counts['train']:,} instances\n"
        results.emit(args, f"{table}held out         {counts['dev']:,}", {"instances": counts})
        return entry.DONE
    assert run.output is not None  # checked above: only --steps 0 does without
    from sqb_tf.training.pretraining.pretrain import pretrain

    metrics = pretrain(
        shards, run.output, options, run.resume, run.save_every, results.command(), run.head
    )
    results.emit(args, summary(run.output, metrics), metrics)
    return entry.DONE


def summary(output: str, metrics: dict[str, Any]) -> str:
    """The result as a table."""
    return (
        f"bundle           {output}\n"
        f"held-out loss    {metrics['metric']['value']:.4f} ({metrics['held_out_predictions']} tokens; "
        f"perplexity {metrics['perplexity']:.1f})\n"
        f"unigram loss     {metrics['unigram_loss']:.4f} (the model's: {-metrics['below_unigram']:+.1%})\n"
        f"parameters       {metrics['parameters']:,}\n"
        f"seconds          {metrics['seconds']}"
    )


def flags() -> arguments.Parser:
    return arguments.parser("pretrain", __doc__, EPILOG, ShardOptions, PretrainOptions, RunOptions)


if __name__ == "__main__":
    entry.run(main, flags())
