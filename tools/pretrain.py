"""Pretrains SqueezeBERT on plain text (masked LM and sentence order) and writes a bundle."""

import argparse
import dataclasses
from typing import Any

from sqb_tf.heads.registry import TEXT_NAMES
from sqb_tf.options import option
from sqb_tf.training.checks import check_pretrain
from sqb_tf.training.pretraining.options import PretrainOptions, ShardOptions
from sqb_tools import arguments, entry, outputs, results, shard_runs
from sqb_tools.shard_runs import ShardRunOptions

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
class RunOptions(ShardRunOptions):
    """What is read, what computes and what is written."""

    head: str = option("masked_lm", "head of the bundle", group="model", choices=TEXT_NAMES)


def main(args: argparse.Namespace) -> int:
    shard_runs.check(args)
    run = arguments.read(RunOptions, args)
    options = arguments.read(PretrainOptions, args, steps=args.steps or 1)
    shard_options = arguments.read(ShardOptions, args)
    init = check_pretrain(run.directory, shard_options, options, run.output)
    if run.output and args.steps and outputs.is_finished(run.output, run, options):
        return outputs.tell_finished(args, run.output)
    vocabulary = None
    if init is not None and shard_options.vocabulary is None:
        vocabulary = init.vocabulary
        shard_options = dataclasses.replace(shard_options, lowercase=init.task.lowercase)
    shards = shard_runs.open_shards(run, shard_options, vocabulary)
    if args.steps == 0:
        return shard_runs.emit_counts(args, shards)
    assert run.output is not None  # checked above: only --steps 0 does without
    from sqb_tf.training.pretraining.pretrain import pretrain

    metrics = pretrain(
        *(shards, run.output, options, run.resume, run.save_every),
        command=results.command(),
        head=run.head,
        samples=run.samples,
    )
    table = f"{summary(run.output, metrics)}\n{outputs.privacy(run.samples)}"
    results.emit(args, table, metrics)
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
