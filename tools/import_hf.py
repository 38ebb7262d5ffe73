"""Makes a bundle from a Hugging Face transformers folder, or from a repository on its hub."""

import argparse

from sqb_tf.checkpoint.import_options import ImportOptions
from sqb_tools import arguments, entry, outputs, results
from sqb_tools.shared_options import ReplacingOptions

EPILOG = """examples:
  sqb import_hf --source squeezebert/squeezebert-uncased --output runs/uncased
  sqb import_hf --source checkpoints/mnli --paired --output runs/mnli
  sqb finetune --data GLUE/SST-2 --task sst2 --init runs/uncased

Every weight is accounted for: one that is missing or left over is an error that names it."""


def main(args: argparse.Namespace) -> int:
    options = arguments.read(ImportOptions, args)
    outputs.check_new(options.output, arguments.read(ReplacingOptions, args).overwrite)
    from sqb_tf.checkpoint.hugging_face import import_bundle

    info = import_bundle(options, command=results.command())
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
    private = "private: the command line and the source's path; `sqb share` writes a copy without"
    results.emit(args, f"{table}\n{private}", result)
    return entry.DONE


def flags() -> arguments.Parser:
    return arguments.parser("import_hf", __doc__, EPILOG, ImportOptions, ReplacingOptions)


if __name__ == "__main__":
    entry.run(main, flags())
