"""Writes a bundle as a folder that Hugging Face transformers or sentence-transformers loads."""

import argparse
import dataclasses

from sqb_tf.checkpoint.architectures import ARCHITECTURES
from sqb_tf.options import check_choices, option
from sqb_tools import arguments, entry, outputs, results
from sqb_tools.shared_options import ReplacingOptions

EPILOG = """example:
  sqb export_hf --model runs/sst2 --output checkpoints/sst2"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is exported, and where to."""

    model: str = option(dataclasses.MISSING, "the bundle", group="model", metavar="DIR")
    model_type: str | None = option(
        None,
        "model type to write it as",
        group="model",
        choices=tuple(ARCHITECTURES),
        fallback="bert if no projection has groups, as in an imported BERT",
    )
    output: str = option(dataclasses.MISSING, "folder to write", group="saving", metavar="DIR")

    def __post_init__(self) -> None:
        check_choices(self)


def main(args: argparse.Namespace) -> int:
    options = arguments.read(ExportOptions, args)
    outputs.check_new(options.output, arguments.read(ReplacingOptions, args).overwrite)
    from sqb_tf.checkpoint import bundle

    bundle.read_info(options.model)  # a bad one is reported before TensorFlow is imported
    from sqb_tf.checkpoint.hugging_face import export_folder

    files = export_folder(options.model, options.output, options.model_type)
    result = {"folder": options.output, "model": options.model, "files": files}
    results.emit(args, f"folder {options.output}\nfiles  {', '.join(files)}", result)
    return entry.DONE


def flags() -> arguments.Parser:
    return arguments.parser("export_hf", __doc__, EPILOG, ExportOptions, ReplacingOptions)


if __name__ == "__main__":
    entry.run(main, flags())
