"""Fine-tunes SqueezeBERT on labelled texts and writes a bundle."""

import argparse
from typing import Any

from sqb_tf.config import PRESETS
from sqb_tf.data.task_specs import TASKS
from sqb_tools import cli

EPILOG = """examples:
  python tools/finetune.py --data sqb_tf/demo --output runs/demo
  python tools/finetune.py --data GLUE/SST-2 --task sst2 --preset squeezebert-small
  python tools/finetune.py --data reviews.csv --text-column body --label-column stars \\
      --task regression --output runs/stars

A killed or interrupted run continues exactly where it was saved last with --resume."""


def main(args: argparse.Namespace) -> int:
    return run(args)


def run(args: argparse.Namespace, **distillation: Any) -> int:
    """A fine-tuning by `flags`, and by the options of distillation where given."""
    from sqb_tf.data.example import Columns
    from sqb_tf.data.task import Task
    from sqb_tf.training.finetune import finetune
    from sqb_tf.training.options import FinetuneOptions

    task = Task(
        args.task,
        args.data,
        Columns(args.text_column, args.pair_column, args.label_column),
        args.limit,
    )
    options = FinetuneOptions(
        preset=None if args.init else args.preset,
        init=args.init,
        vocabulary=args.vocab,
        vocab_size=args.vocab_size,
        lowercase=not args.cased,
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        warmup=args.warmup,
        weight_decay=args.weight_decay,
        seq_length=args.seq_length,
        doc_stride=args.doc_stride,
        dropout=args.dropout,
        evaluate_every=args.evaluate_every,
        precision=args.precision,
        quantize_aware=args.quantize_aware,
        seed=args.seed,
        **distillation,
    )
    output = args.output or f"runs/{args.task}"
    metrics = finetune(
        task, output, options, args.resume, save_every=args.save_every, command=cli.command()
    )
    metric = metrics["metric"]
    table = (
        f"bundle           {output}\n"
        f"dev {metric['name']:<12} {metric['value']:.4f} "
        f"({metrics['dev_examples']} examples, epoch {metrics['best_epoch']}, "
        f"step {metrics['best_step']})\n"
        f"parameters       {metrics['parameters']:,}\n"
        f"seconds          {metrics['seconds']}"
    )
    cli.emit(args, table, metrics)
    return cli.DONE


def flags() -> argparse.ArgumentParser:
    made = cli.parser(__doc__, EPILOG)
    add_flags(made)
    return made


def add_flags(made: argparse.ArgumentParser) -> None:
    """The flags of a fine-tuning."""
    made.add_argument("--data", required=True, help="folder with train and dev files, or one file")
    made.add_argument(
        "--task",
        default="classification",
        help="classification, regression, multiple_choice, or a published layout: "
        + ", ".join(list(TASKS)[3:]),
    )
    cli.add_columns(made)
    made.add_argument("--preset", default="squeezebert-small", help=f"size: {', '.join(PRESETS)}")
    made.add_argument("--init", metavar="DIR", help="start from this bundle instead of a preset")
    made.add_argument("--output", metavar="DIR", help="bundle to write; none: runs/TASK")
    made.add_argument("--vocab", metavar="FILE", help="vocab.txt; none: learned from the texts")
    made.add_argument("--vocab-size", type=int, default=6000, help="of a learned vocabulary")
    made.add_argument("--cased", action="store_true", help="keep upper case and accents")
    made.add_argument("--epochs", type=int, default=2, help="passes over the training data")
    made.add_argument("--batch-size", type=int, default=16, help="examples a step")
    made.add_argument(
        "--learning-rate",
        type=float,
        help="AdamW's peak rate; none: 1e-3, with --init 1e-4, times the root of batch size / 32",
    )
    made.add_argument("--warmup", type=float, default=0.1, help="share of steps that warm up")
    made.add_argument("--weight-decay", type=float, default=0.01, help="AdamW's decay")
    made.add_argument("--dropout", type=float, help="dropout rate; none: the preset's")
    made.add_argument("--seq-length", type=int, default=128, help="longest input in tokens")
    made.add_argument(
        "--doc-stride",
        type=int,
        help="of question answering: tokens between the windows of a long context at most; none: 128, or a "
        "third of a --seq-length below 384",
    )
    made.add_argument(
        "--evaluate-every",
        type=int,
        default=500,
        help="steps between dev evaluations, which also end each epoch; the best one's weights stay",
    )
    made.add_argument(
        "--precision",
        default="float32",
        help="what layers compute in: float32, or mixed_bfloat16, a third faster on CPUs with AVX512-BF16 "
        "or AMX",
    )
    made.add_argument(
        "--quantize-aware",
        metavar="RECIPE",
        help="with --init: go on training with weights and activations rounded as in a file of int8, int4, "
        "int4-all or int8-full, for a model that loses by them; none: exact ones",
    )
    made.add_argument("--limit", type=int, help="use only the first N examples of each split")
    made.add_argument("--seed", type=int, default=0, help="the same seed repeats a run exactly")
    made.add_argument("--resume", action="store_true", help="go on from the last saved step")
    made.add_argument(
        "--save-every", type=int, help="steps between saved states; none: every 60 seconds"
    )


if __name__ == "__main__":
    cli.run(main, flags())
