"""Shows what a data set holds before a model is trained on it: classes, lengths, duplicates, faults."""

import argparse
import dataclasses
from pathlib import Path

from sqb_tf.atomic_write import check_writable, staged_file
from sqb_tf.checkpoint import pretrained, source
from sqb_tf.errors import InputError
from sqb_tf.options import option
from sqb_tf.text.encoder import MIN_SEQ_LENGTH, TextEncoder
from sqb_tf.training.options import INIT_SOURCES
from sqb_tools import arguments, entry, results
from sqb_tools.shared_options import DataOptions

EPILOG = """examples:
  sqb survey --data reviews.csv --text-column body --label-column stars
  sqb survey --data GLUE/SST-2 --task sst2 --page survey.html
  sqb survey --data tweets --vocab vocab.txt --cased

Rows that training would refuse are counted. The exit code is 1 if there is anything that it would refuse."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurveyOptions:
    """Whose tokens the texts are counted in, and what is written."""

    init: str | None = option(
        None,
        f"count the tokens of this model's vocabulary: {INIT_SOURCES}",
        group="model",
        metavar="DIR or NAME",
        fallback=f"{pretrained.DEFAULT}, unless --vocab is given",
    )
    vocabulary: str | None = option(
        None,
        "count the tokens of this vocabulary, one token per line",
        group="model",
        names=("--vocab", "--vocabulary"),
        metavar="FILE",
    )
    lowercase: bool = option(
        True, "with --vocab: keep upper case and accents", group="model", names="--cased"
    )
    seq_length: int = option(128, "longest input in tokens, special tokens included", group="model")
    page: str | None = option(None, "also write an HTML page", group="output", metavar="FILE")

    def __post_init__(self) -> None:
        if self.init is not None and self.vocabulary is not None:
            raise InputError(
                "--init and --vocab: the model of --init has its own: give one of the two"
            )
        if self.vocabulary is None and not self.lowercase:
            raise InputError("--cased goes with --vocab: the model of --init has its own case")

    @property
    def start(self) -> tuple[str, str]:
        """The flag of the vocabulary, and its value."""
        if self.vocabulary is not None:
            return "--vocab", self.vocabulary
        return "--init", self.init or pretrained.DEFAULT

    def encoder(self) -> TextEncoder:
        """What counts the tokens."""
        if self.vocabulary is not None:
            return TextEncoder(self.vocabulary, self.lowercase, MIN_SEQ_LENGTH)
        info = source.read_info(self.init or pretrained.DEFAULT)
        return TextEncoder(info.vocabulary, info.task.lowercase, MIN_SEQ_LENGTH)


def main(args: argparse.Namespace) -> int:
    options = arguments.read(SurveyOptions, args)
    task = arguments.read(DataOptions, args).load_task()
    if options.page:
        check_writable(options.page)
    from sqb_tf.survey import findings
    from sqb_tf.survey.report import make_report

    report = make_report(task, options.encoder(), options.seq_length, options.start)
    if options.page:
        with staged_file(Path(options.page)) as staged:
            staged.write_text(report.page(), encoding="utf-8")
    results.emit(args, report.table(), report.to_json())
    refused = any(finding.severity == findings.ERROR for finding in report.findings)
    return entry.MISSED if refused else entry.DONE


def flags() -> arguments.Parser:
    return arguments.parser(
        "survey", __doc__, EPILOG, DataOptions, SurveyOptions, required=["data"]
    )


if __name__ == "__main__":
    entry.run(main, flags())
