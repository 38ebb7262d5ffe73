"""Makes a bundle of a Hugging Face transformers folder, or of a repository on its hub."""

import argparse

from sqb_tf.data.task_specs import KINDS
from sqb_tools import cli

EPILOG = """examples:
  python tools/import_hf.py --source squeezebert/squeezebert-uncased --output runs/uncased
  python tools/import_hf.py --source checkpoints/mnli --paired --output runs/mnli
  python tools/finetune.py --data GLUE/SST-2 --task sst2 --init runs/uncased

Every weight is accounted for: one that is missing or left over is an error that names it."""


def main(args: argparse.Namespace) -> int:
    from sqb_tf.checkpoint.hugging_face import import_bundle

    info = import_bundle(
        args.source,
        args.output,
        kind=args.head,
        vocabulary=args.vocab,
        revision=args.revision,
        seq_length=args.seq_length,
        paired=args.paired,
        command=cli.command(),
    )
    result = {
        "bundle": str(info.directory),
        "source": args.source,
        "kind": info.task.kind,
        "labels": info.labels,
        "vocab_size": info.config.vocab_size,
        "lowercase": info.task.lowercase,
        "seq_length": info.task.seq_length,
        "paired": info.task.paired,
    }
    table = "\n".join(f"{name:<11} {value}" for name, value in result.items() if value != [])
    cli.emit(args, table, result)
    return cli.DONE


def flags() -> argparse.ArgumentParser:
    made = cli.parser(__doc__, EPILOG)
    made.add_argument(
        "--source", required=True, metavar="DIR or REPO_ID", help="a folder, or the hub's name"
    )
    made.add_argument("--output", required=True, metavar="DIR", help="bundle to write")
    made.add_argument("--head", help=f"{', '.join(KINDS)}; none: what the weights say")
    made.add_argument("--vocab", metavar="FILE", help="vocab.txt; none: the source's own")
    made.add_argument("--revision", help="branch, tag or commit of the repository")
    made.add_argument(
        "--seq-length", type=int, help="longest input in tokens; none: the model's positions"
    )
    made.add_argument(
        "--paired", action="store_true", help="the model takes two texts, as one for MNLI does"
    )
    return made


if __name__ == "__main__":
    cli.run(main, flags())
