"""Makes a bundle of a Hugging Face transformers folder, or of a repository on its hub."""

import argparse
import dataclasses

from sqb_tf.data.task_specs import KINDS
from sqb_tf.options import check_choices, option
from sqb_tools import arguments, entry, results

EPILOG = """examples:
  sqb import_hf --source squeezebert/squeezebert-uncased --output runs/uncased
  sqb import_hf --source checkpoints/mnli --paired --output runs/mnli
  sqb finetune --data GLUE/SST-2 --task sst2 --init runs/uncased

Every weight is accounted for: one that is missing or left over is an error that names it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What is imported, and as what."""

    source: str = option(
        dataclasses.MISSING,
        "a transformers folder, or the name of a repository on the hub",
        group="model",
        metavar="DIR or REPO_ID",
    )
    head: str | None = option(
        None, "head of the model", group="model", choices=KINDS, fallback="that of the weights"
    )
    vocabulary: str | None = option(
        None,
        "vocab.txt, one token per line",
        group="model",
        names="--vocab",
        metavar="FILE",
        fallback="the source's own",
    )
    revision: str | None = option(
        None,
        "branch, tag or commit of the repository",
        group="model",
        fallback="its default branch",
    )
    seq_length: int | None = option(
        None, "longest input in tokens", group="model", fallback="the model's positions"
    )
    paired: bool = option(False, "the model takes two texts, as one for MNLI does", group="model")
    output: str = option(dataclasses.MISSING, "bundle to write", group="saving", metavar="DIR")

    def __post_init__(self) -> None:
        check_choices(self)


def main(args: argparse.Namespace) -> int:
    options = arguments.read(ImportOptions, args)
    from sqb_tf.checkpoint.hugging_face import import_bundle

    info = import_bundle(
        options.source,
        options.output,
        kind=options.head,
        vocabulary=options.vocabulary,
        revision=options.revision,
        seq_length=options.seq_length,
        paired=options.paired,
        command=results.command(),
    )
    result = {
        "bundle": str(info.directory),
        "source": options.source,
        "kind": info.task.kind,
        "labels": info.labels,
        "vocab_size": info.config.vocab_size,
        "lowercase": info.task.lowercase,
        "seq_length": info.task.seq_length,
        "paired": info.task.paired,
    }
    table = "\n".join(f"{name:<11} {value}" for name, value in result.items() if value != [])
    results.emit(args, table, result)
    return entry.DONE


def flags() -> arguments.Parser:
    return arguments.parser("import_hf", __doc__, EPILOG, ImportOptions)


if __name__ == "__main__":
    entry.run(main, flags())
