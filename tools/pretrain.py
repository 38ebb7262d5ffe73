"""Pretrains SqueezeBERT on plain text (masked LM and sentence order) and writes a bundle."""

import argparse
import os
from pathlib import Path

from sqb_tf.config import PRESETS
from sqb_tools import cli

EPILOG = """examples:
  python tools/pretrain.py --text corpus/ --preset squeezebert-small --output runs/small
  python tools/finetune.py --data reviews.tsv --init runs/small --output runs/reviews

Text is UTF-8, blank lines part documents. It is tokenized once, into shards that --shards keeps for other
runs. A machine that trains needs them alone: with --backend jax neither the text nor TensorFlow, only keras,
jax and h5py:
  python tools/pretrain.py --text corpus/ --vocab vocab.txt --shards shards/ --steps 0
  PYTHONPATH=. python tools/pretrain.py --backend jax --shards shards/ --preset squeezebert-base \\
      --batch-size 1024 --precision mixed_bfloat16 --output runs/base

The paper's two phases, 8192 examples a step by as many at once as the machine can hold:
  python tools/pretrain.py --shards at128/ --preset squeezebert-base --output runs/first --steps 56000 \\
      --optimizer lamb --warmup 0.28 --batch-size 8192 --micro-batch-size 256
  python tools/pretrain.py --shards at512/ --init runs/first --output runs/base --steps 6000 \\
      --optimizer lamb --warmup 0.28 --batch-size 8192 --micro-batch-size 64"""


BACKENDS = ("tensorflow", "jax")


def main(args: argparse.Namespace) -> int:
    """See the module."""
    from sqb_tf.errors import InputError

    if args.text is None and args.shards is None:
        raise InputError("give --text, or --shards with a folder of shards made from it")
    if args.steps == 0 and args.shards is None:
        raise InputError("--steps 0 only makes shards: name their folder with --shards")
    if args.steps and not args.output:
        raise InputError("--output is missing: name the folder for the bundle")
    if args.backend not in BACKENDS:
        raise InputError(f"backend {args.backend}: expected {' or '.join(BACKENDS)}")
    os.environ["KERAS_BACKEND"] = args.backend
    from sqb_tf.training.pretraining.options import PretrainOptions
    from sqb_tf.training.pretraining.shards import Shards

    given = vars(args)
    names = PretrainOptions.__dataclass_fields__
    chosen = {name: given[name] for name in names if name in given}
    chosen["preset"] = None if args.init else args.preset
    options = PretrainOptions(**{**chosen, "steps": args.steps or 1})
    shards = Path(args.shards) if args.shards else Path(f"{args.output}.shards")
    if args.text is not None:
        if args.backend != "tensorflow":
            raise InputError(
                f"--backend {args.backend}: shards are made with TensorFlow: leave out --text, and make "
                "them first with --steps 0"
            )
        _make_shards(args, shards)
    found = Shards(shards)
    if args.steps == 0:
        counts = {split: found.count(split) for split in found.index.records}
        table = f"shards           {shards}\ntrain            {counts['train']:,} instances\n"
        cli.emit(args, f"{table}held out         {counts['dev']:,}", {"instances": counts})
        return cli.DONE
    from sqb_tf.training.pretraining.pretrain import pretrain

    metrics = pretrain(
        found, args.output, options, args.resume, args.save_every, cli.command(), args.head
    )
    table = (
        f"bundle           {args.output}\n"
        f"held-out loss    {metrics['metric']['value']:.4f} ({metrics['held_out_predictions']} tokens; "
        f"perplexity {metrics['perplexity']:.1f})\n"
        f"unigram loss     {metrics['unigram_loss']:.4f} (the model's: {-metrics['below_unigram']:+.1%})\n"
        f"parameters       {metrics['parameters']:,}\n"
        f"seconds          {metrics['seconds']}"
    )
    cli.emit(args, table, metrics)
    return cli.DONE


def _make_shards(args: argparse.Namespace, shards: Path) -> None:
    from sqb_tf.training.pretraining.shard_writer import ShardOptions, make_shards

    options = ShardOptions(
        text=tuple(args.text),
        vocabulary=args.vocab,
        vocab_size=args.vocab_size,
        lowercase=not args.cased,
        seq_length=args.seq_length,
        held_out=args.held_out,
    )
    make_shards(shards, options)


def flags() -> argparse.ArgumentParser:
    made = cli.parser(__doc__, EPILOG)
    add = made.add_argument
    add("--text", nargs="+", metavar="PATH", help="text files, or folders of .txt files")
    add(
        "--shards",
        metavar="DIR",
        help="tokenized shards: made here from --text, or taken from here; none: OUTPUT.shards",
    )
    add("--vocab", metavar="FILE", help="vocab.txt; none: learned from the text")
    add("--vocab-size", type=int, default=6000, help="of a learned vocabulary")
    add("--cased", action="store_true", help="keep upper case and accents")
    add("--seq-length", type=int, default=128, help="tokens of an instance")
    add("--held-out", type=float, default=5.0, help="per cent of the documents to evaluate on")
    add("--preset", default="squeezebert-small", help=f"size: {', '.join(PRESETS)}")
    add("--init", metavar="DIR", help="go on from this bundle instead of a preset")
    add("--output", metavar="DIR", help="bundle to write")
    add(
        "--head",
        default="masked_lm",
        help="of the bundle: masked_lm, pretraining (sentence order too), embedding or encoder",
    )
    add("--steps", type=int, default=10_000, help="updates of the weights; 0: only make the shards")
    add("--batch-size", type=int, default=32, help="examples a step")
    add(
        "--micro-batch-size",
        type=int,
        help="examples computed at once, their gradients summed up to a step; none: all of a step's",
    )
    add("--optimizer", default="adamw", help="adamw, or lamb for batches of thousands")
    add(
        "--learning-rate",
        type=float,
        help="the highest; none: adamw 1e-3 at 32 examples a step (--init: 1e-4), lamb the paper's 2.5e-3 "
        "at 8192, by the root of their number",
    )
    add("--warmup", type=float, default=0.1, help="share of steps that warm up")
    add("--weight-decay", type=float, default=0.01, help="decay of weights but norms and biases")
    add("--dropout", type=float, help="dropout rate; none: the preset's")
    add("--whole-words", action="store_true", help="mask the pieces of a word together")
    add(
        "--no-sentence-order",
        dest="sentence_order",
        action="store_false",
        help="masked LM alone, without telling swapped segments",
    )
    add("--evaluate-every", type=int, default=500, help="steps between held-out evaluations")
    add("--precision", default="float32", help="what layers compute in: float32 or mixed_bfloat16")
    add("--backend", default="tensorflow", help="tensorflow, or jax (needs no TensorFlow)")
    add("--mirrored", action="store_true", help="train on all GPUs of this machine")
    add("--seed", type=int, default=0, help="the same seed repeats a run exactly on CPU")
    add("--resume", action="store_true", help="go on from the last saved step")
    add("--save-every", type=int, help="steps between saved states; none: every 60 seconds")
    return made


if __name__ == "__main__":
    cli.run(main, flags())
