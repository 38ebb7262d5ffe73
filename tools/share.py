"""Writes a copy of a bundle without sample texts, command line and paths, to give to others."""

import argparse
import dataclasses

from sqb_tf.checkpoint import bundle, sharing
from sqb_tf.options import option
from sqb_tools import arguments, entry, outputs, results
from sqb_tools.shared_options import ReplacingOptions

EPILOG = """example:
  sqb share --model runs/reviews --output reviews-model

The copy predicts, evaluates and is trained on as before. To convert or verify it, name texts with --data and
--calibration. Labels stay in it, and a vocabulary that was learned from the texts has words of theirs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShareOptions:
    """What is copied, and where to."""

    model: str = option(dataclasses.MISSING, "the bundle", group="model", metavar="DIR")
    output: str = option(dataclasses.MISSING, "bundle to write", group="saving", metavar="DIR")


def main(args: argparse.Namespace) -> int:
    options = arguments.read(ShareOptions, args)
    info = bundle.read_info(options.model)
    outputs.check_new(options.output, arguments.read(ReplacingOptions, args).overwrite)
    left_out = {name: len(info.sample(name)) for name in ("calibration", "verification")}
    sharing.copy_without_private(info, options.output)
    texts = " and ".join(f"{count} {name}" for name, count in left_out.items())
    table = (
        f"bundle    {options.output}\n"
        f"left out  {texts} texts, the command line, paths, logs\n"
        "still in  labels, and the words of a vocabulary that was learned from texts"
    )
    result = {"bundle": options.output, "model": options.model, "left_out": left_out}
    results.emit(args, table, result)
    return entry.DONE


def flags() -> arguments.Parser:
    return arguments.parser("share", __doc__, EPILOG, ShareOptions, ReplacingOptions)


if __name__ == "__main__":
    entry.run(main, flags())
