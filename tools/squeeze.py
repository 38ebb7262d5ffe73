"""Squeezes a BERT on plain text into a smaller SqueezeBERT with grouped layers, and writes a bundle."""

import argparse
import dataclasses
from typing import Any

from sqb_tf.options import option
from sqb_tf.training.checks import check_squeeze
from sqb_tf.training.pretraining.options import CorpusOptions, ShardOptions
from sqb_tf.training.squeezing.options import SqueezeOptions
from sqb_tools import arguments, entry, outputs, results, shard_runs
from sqb_tools.shard_runs import ShardRunOptions

EPILOG = """examples:
  sqb squeeze --teacher sentence-transformers/all-MiniLM-L6-v2 --layers 3 --groups 2 --text corpus/ \\
      --seq-length 64 --precision mixed_bfloat16 --output runs/squeezed
  sqb finetune --data reviews.tsv --init runs/squeezed --output runs/reviews

The student learns the states of its teacher's layers, not labels: any text like that of the tasks will do. It
keeps the teacher's vocabulary, embeddings and head. Text is tokenized once, into shards that --shards
keeps for other runs; --backend jax reads shards without TensorFlow."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstanceOptions(CorpusOptions):
    """The text, and how long an instance of it is. The vocabulary is the teacher's."""

    seq_length: int = option(64, "tokens of an instance", group="data")


def main(args: argparse.Namespace) -> int:
    shard_runs.check(args)
    run = arguments.read(ShardRunOptions, args)
    options = arguments.read(SqueezeOptions, args, steps=args.steps or 1)
    instances = dataclasses.asdict(arguments.read(InstanceOptions, args))
    shard_options = ShardOptions(**instances)
    teacher = check_squeeze(run.directory, shard_options, options, run.output)
    if run.output and args.steps and outputs.is_finished(run.output, run, options):
        return outputs.tell_finished(args, run.output)
    shard_options = dataclasses.replace(shard_options, lowercase=teacher.task.lowercase)
    shards = shard_runs.open_shards(run, shard_options, teacher.vocabulary)
    if args.steps == 0:
        return shard_runs.emit_counts(args, shards)
    assert run.output is not None  # checked above: only --steps 0 does without
    from sqb_tf.training.squeezing.squeeze import squeeze

    metrics = squeeze(
        *(shards, run.output, options, run.resume, run.save_every),
        command=results.command(),
        samples=run.samples,
    )
    table = f"{summary(run.output, metrics)}\n\n{outputs.privacy(run.samples)}"
    results.emit(args, table, metrics)
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
    return arguments.parser(
        "squeeze", __doc__, EPILOG, InstanceOptions, SqueezeOptions, ShardRunOptions
    )


if __name__ == "__main__":
    entry.run(main, flags())
