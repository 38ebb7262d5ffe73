"""Labels texts, tags words, answers questions or chooses answers, with a package or a bundle."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import Any

from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tf.options import argument, option
from sqb_tools import arguments, entry, results
from sqb_tools.shared_options import AnswerOptions

EPILOG = """examples:
  sqb predict --package sst2.tflite "a charming journey" "a tedious mess"
  sqb predict --package sst2.tflite --input reviews.txt --jsonl > labels.jsonl
  cat reviews.txt | sqb predict --model runs/sst2
  sqb predict --package squad.tflite --context article.txt "Who won?" "When?"

A file or standard input has one text per line; for pairs, text and pair separated by a tab; for multiple
choice, text and choices separated by tabs; for question answering, a JSON object with question and context,
or with --context the question alone. Input is streamed: memory does not grow with the number of lines."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """The texts, what predicts, and how results are printed."""

    texts: tuple[str, ...] = argument(
        (), "texts, in place of --input or standard input", group="data"
    )
    input: str | None = option(
        None, "file with one text per line", group="data", metavar="FILE", fallback="standard input"
    )
    context: str | None = option(
        None,
        "question answering: file with the text that the questions are about",
        group="data",
        metavar="FILE",
    )
    package: str | None = option(None, "a packaged .tflite", group="model", metavar="FILE")
    model: str | None = option(None, "a bundle, run in Keras", group="model", metavar="DIR")
    batch_size: int = option(64, "texts read and encoded at once", group="model")
    threads: int = option(1, "CPU threads of a package", group="model")
    jsonl: bool = option(False, "print one JSON object per line", group="output")

    def __post_init__(self) -> None:
        if bool(self.package) == bool(self.model):
            raise InputError("give either --package FILE or --model DIR")
        if self.batch_size < 1:
            raise InputError(f"--batch-size {self.batch_size}: expected at least 1")
        if self.texts and self.input:
            raise InputError("give texts as arguments or --input FILE, not both")


def main(args: argparse.Namespace) -> int:
    options = arguments.read(PredictOptions, args)
    answers = arguments.read(AnswerOptions, args)
    if options.jsonl and args.json == "-":
        raise InputError("give --jsonl or --json -, not both: each writes to standard output")
    predictor = _predictor(options)
    predictor.task_kind.change(answers.settings)
    if options.context and predictor.kind != "span":
        raise InputError(f"--context is for question answering: the model is a {predictor.kind}")
    rows = []
    examples = (
        _questions(options) if predictor.kind == "span" else _examples(options, predictor.paired)
    )
    for (text, pair), found in predictor.stream(examples, options.batch_size):
        row = {"text": text, **({"pair": pair} if pair is not None else {})}
        row |= dataclasses.asdict(found)
        if args.json:
            rows.append(row)
        if options.jsonl:
            print(json.dumps(row, ensure_ascii=False))
        elif args.json != "-":
            print(found.line(text, pair))
    if args.json:
        results.write_json(args, {"predictions": rows})
    return entry.DONE


def _predictor(options: PredictOptions) -> Any:
    """The interpreter's side or the Keras side; the first needs no TensorFlow."""
    if options.package:
        from sqb_tflite.runtime.runner import Runner

        return Runner(options.package, options.threads)
    bundle.read_info(options.model)  # a bad one is reported before TensorFlow is imported
    from sqb_tflite.verification.keras_backend import BundlePredictor

    return BundlePredictor(options.model)


def _examples(options: PredictOptions, paired: bool) -> Iterator[tuple[str, str | None]]:
    """The texts of the lines; an empty one is an error."""
    for where, line in _lines(options):
        text, tab, pair = line.partition("\t")
        if paired and not (text.strip() and pair.strip()):
            raise InputError(f"{where}: expected two texts separated by a tab")
        if not paired:
            text, pair = text + tab + pair, None
        if not text.strip():
            raise InputError(f"{where}: the text is empty")
        yield text, pair


def _questions(options: PredictOptions) -> Iterator[tuple[str, str]]:
    """Questions with their contexts: of `--context`, or of the JSON objects in the lines."""
    context = None if options.context is None else _read_context(options.context)
    for where, line in _lines(options):
        row = {"question": line, "context": context}
        if context is None:
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(
                    f"{where}: not JSON: {error}: expected an object with question and context, or "
                    "--context FILE"
                ) from None
        for key in ("question", "context"):
            value = row.get(key) if isinstance(row, dict) else None
            if not isinstance(value, str) or not value.strip():
                raise InputError(f"{where}: no {key}: expected an object with question and context")
        yield row["question"], row["context"]


def _read_context(path: str) -> str:
    from sqb_tf.data.lines import numbered_lines

    return "".join(line for _, line in numbered_lines(path))


def _lines(options: PredictOptions) -> Iterator[tuple[str, str]]:
    """(where it stands, line) of the arguments, of `--input` or of standard input."""
    from sqb_tf.data.lines import decoded_lines, numbered_lines

    if options.texts:
        lines, name = enumerate(options.texts, 1), "argument"
    elif options.input:
        lines, name = numbered_lines(options.input), str(options.input)
    else:
        name = "standard input"
        lines = decoded_lines(sys.stdin.buffer, name)
    for number, line in lines:
        yield f"{name}:{number}", line.rstrip("\r\n")


def flags() -> arguments.Parser:
    return arguments.parser("predict", __doc__, EPILOG, PredictOptions, AnswerOptions)


if __name__ == "__main__":
    entry.run(main, flags())
