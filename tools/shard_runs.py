"""What the tools share that train on shards of text: their options, and where the shards come from."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from sqb_tf.errors import InputError
from sqb_tf.options import check_choices, option
from sqb_tf.training.pretraining.options import ShardOptions
from sqb_tf.training.pretraining.shards import Shards
from sqb_tools import entry, results
from sqb_tools.shared_options import SavingOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardRunOptions(SavingOptions):
    """What is read, what computes and what is written."""

    shards: str | None = option(
        None,
        "folder of tokenized shards: read, or written from --text",
        group="data",
        metavar="DIR",
        fallback="OUTPUT.shards",
    )
    backend: str = option(
        "tensorflow",
        "Keras backend; jax needs no TensorFlow",
        group="training",
        choices=("tensorflow", "jax"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self)

    @property
    def directory(self) -> Path:
        """The folder of the shards."""
        return Path(self.shards or f"{self.output}.shards")


def check(args: argparse.Namespace) -> None:
    """`InputError` unless the command line names text or shards, and what is written."""
    if args.text is None and args.shards is None:
        raise InputError("give --text, or --shards with a folder of shards made from it")
    if args.steps == 0 and args.shards is None:
        raise InputError("--steps 0 only makes shards: name their folder with --shards")
    if args.steps and not args.output:
        raise InputError("--output is missing: name the folder for the bundle")
    if args.text is not None and args.backend == "jax":
        raise InputError(
            f"--backend {args.backend}: shards are made with TensorFlow: leave out --text, and make them "
            "first with --steps 0"
        )


def open_shards(
    run: ShardRunOptions, options: ShardOptions, vocabulary: Sequence[str] | None = None
) -> Shards:
    """The shards of a run, made first if there is text."""
    if options.text is not None:
        from sqb_tf.training.pretraining.shard_writer import make_shards

        make_shards(run.directory, options, vocabulary)
    return Shards(run.directory)


def emit_counts(args: argparse.Namespace, shards: Shards) -> int:
    """The result of `--steps 0`."""
    counts = {split: shards.count(split) for split in shards.index.records}
    table = f"shards           {shards.directory}\ntrain            {counts['train']:,} instances\n"
    results.emit(args, f"{table}held out         {counts['dev']:,}", {"instances": counts})
    return entry.DONE
