"""Fine-tunes SqueezeBERT on labelled texts and on a teacher's outputs for them, and writes a bundle."""

import argparse

import cli
import finetune

EPILOG = """examples:
  python tools/distill.py --teacher runs/base-mnli --data GLUE/MNLI --task mnli \\
      --preset squeezebert-small --output runs/mnli
  python tools/distill.py --teacher runs/base-rte --data GLUE/RTE --task rte \\
      --init runs/mnli --output runs/rte

The two of them are the paper's two stages: MNLI with a teacher, then the task with its own. The
teacher is any bundle for classification or regression, also an imported one; its outputs are computed
once."""


def main(args: argparse.Namespace) -> int:
    return finetune.run(args, teacher=args.teacher, temperature=args.temperature, alpha=args.alpha)


def flags() -> argparse.ArgumentParser:
    made = cli.parser(__doc__, EPILOG)
    made.add_argument("--teacher", required=True, metavar="DIR", help="the bundle to learn from")
    made.add_argument(
        "--temperature",
        type=float,
        default=2.0,
        help="softens both outputs before they are compared",
    )
    made.add_argument("--alpha", type=float, default=0.5, help="the teacher's share of the loss")
    finetune.add_flags(made)
    return made


if __name__ == "__main__":
    cli.run(main, flags())
