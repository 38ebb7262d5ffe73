"""Labels texts, tags words, answers questions or chooses with a package or a bundle."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator

from sqb_tf.errors import InputError
from sqb_tools import cli

EPILOG = """examples:
  python tools/predict.py --package sst2.tflite "a charming journey" "a tedious mess"
  python tools/predict.py --package sst2.tflite --input reviews.txt --jsonl > labels.jsonl
  cat reviews.txt | python tools/predict.py --model runs/sst2
  python tools/predict.py --package squad.tflite --context article.txt "Who won?" "When?"

A file or standard input holds a text a line; for pairs, text and pair parted by a tab; for multiple choice,
text and choices parted by tabs; for question answering, a JSON object with question and context, or with
--context the question alone. It is streamed: a million lines take no more memory than a thousand."""


def main(args: argparse.Namespace) -> int:
    if bool(args.package) == bool(args.model):
        raise InputError("give either --package FILE or --model DIR")
    if args.jsonl and args.json == "-":
        raise InputError("give --jsonl or --json -, not both: each writes to standard output")
    if args.batch_size < 1:
        raise InputError(f"--batch-size {args.batch_size}: expected at least 1")
    from sqb_tflite.runtime.runner import Runner
    from sqb_tflite.verification.keras_backend import BundlePredictor

    predictor = Runner(args.package, args.threads) if args.package else BundlePredictor(args.model)
    predictor.task_kind.change(cli.answer_settings(args))
    if args.context and predictor.kind != "span":
        raise InputError(f"--context is for question answering: the model is a {predictor.kind}")
    results = []
    examples = _questions(args) if predictor.kind == "span" else _examples(args, predictor.paired)
    for (text, pair), found in predictor.stream(examples, args.batch_size):
        row = {"text": text, **({"pair": pair} if pair is not None else {})}
        row |= dataclasses.asdict(found)
        if args.json:
            results.append(row)
        if args.jsonl:
            print(json.dumps(row, ensure_ascii=False))
        elif args.json != "-":
            print(found.line(text, pair))
    if args.json:
        cli.write_json(args, {"predictions": results})
    return cli.DONE


def _examples(args: argparse.Namespace, paired: bool) -> Iterator[tuple[str, str | None]]:
    """The texts of the lines; an empty one is an error."""
    for where, line in _lines(args):
        text, tab, pair = line.partition("\t")
        if paired and not (text.strip() and pair.strip()):
            raise InputError(f"{where}: expected two texts parted by a tab")
        if not paired:
            text, pair = text + tab + pair, None
        if not text.strip():
            raise InputError(f"{where}: the text is empty")
        yield text, pair


def _questions(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Questions with their contexts: of `--context`, or of the JSON objects in the lines."""
    context = None if args.context is None else _read_context(args.context)
    for where, line in _lines(args):
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


def _lines(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """(where it stands, line) of the arguments, of `--input` or of standard input."""
    from sqb_tf.data.lines import decoded_lines, numbered_lines

    if args.texts and args.input:
        raise InputError("give texts as arguments or --input FILE, not both")
    if args.texts:
        lines, name = enumerate(args.texts, 1), "argument"
    elif args.input:
        lines, name = numbered_lines(args.input), str(args.input)
    else:
        name = "standard input"
        lines = decoded_lines(sys.stdin.buffer, name)
    for number, line in lines:
        yield f"{name}:{number}", line.rstrip("\r\n")


def flags() -> argparse.ArgumentParser:
    made = cli.parser(__doc__, EPILOG)
    made.add_argument("texts", nargs="*", help="texts to label; none: --input or standard input")
    made.add_argument("--package", metavar="FILE", help="a packaged .tflite")
    made.add_argument("--model", metavar="DIR", help="a bundle, run in Keras")
    made.add_argument("--input", metavar="FILE", help="file with a text a line")
    made.add_argument("--context", metavar="FILE", help="text that the questions are about")
    cli.add_answers(made)
    made.add_argument("--batch-size", type=int, default=64, help="texts read and tokenized at once")
    made.add_argument("--threads", type=int, default=1, help="CPU threads of a package")
    made.add_argument("--jsonl", action="store_true", help="a JSON object a line")
    return made


if __name__ == "__main__":
    cli.run(main, flags())
