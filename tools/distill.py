"""Fine-tunes SqueezeBERT on labelled texts and on a teacher's outputs for them, and writes a bundle."""

import argparse

from sqb_tools import cli, finetune

EPILOG = """examples:
  python tools/distill.py --teacher runs/base-mnli --data GLUE/MNLI --task mnli \\
      --preset squeezebert-small --hidden-weight 1 --output runs/mnli
  python tools/distill.py --teacher garden/bert-rte --data GLUE/RTE --task rte \\
      --init runs/mnli --hidden-weight 1 --output runs/rte

The two of them are the paper's two stages: MNLI with a teacher, then the task with its own; leave out
--hidden-weight to match logits alone.

A teacher is for classification or regression, has the labels of the data, in any order, and is one of
  a bundle         as tools/finetune.py writes it, or tools/import_hf.py
  a Model Garden   folder of a BERT trained by its sentence_prediction: params.yaml and ckpt-N.* as they
                   were left there, and put beside them vocab.txt, the vocabulary of that training, and
                   labels.txt, label names in the order of its class ids (none for a regression)
It keeps its own vocabulary, lower-casing and length. Its outputs are computed once.

With --hidden-weight all layers of the student but the last also come near to the teacher's, of which as
many are taken, evenly spread: the squared distance between the first token's states, each scaled to
length 1 (patient knowledge distillation, Sun et al. 2019)."""


def main(args: argparse.Namespace) -> int:
    return finetune.run(
        args,
        teacher=args.teacher,
        temperature=args.temperature,
        alpha=args.alpha,
        hidden_weight=args.hidden_weight,
    )


def flags() -> argparse.ArgumentParser:
    made = cli.parser(__doc__, EPILOG)
    made.add_argument(
        "--teacher", required=True, metavar="DIR", help="the folder to learn from, see below"
    )
    made.add_argument(
        "--temperature",
        type=float,
        default=2.0,
        help="softens both outputs before they are compared",
    )
    made.add_argument("--alpha", type=float, default=0.5, help="the teacher's share of the loss")
    made.add_argument(
        "--hidden-weight",
        type=float,
        default=0.0,
        help="weight of the distance from the teacher's hidden states (0 to 4), beside that loss",
    )
    finetune.add_flags(made)
    return made


if __name__ == "__main__":
    cli.run(main, flags())
