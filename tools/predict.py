"""Labels texts with a package or a bundle."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import Any

import cli

from sqb_tf.errors import InputError

EPILOG = """examples:
  python tools/predict.py --package sst2.tflite "a charming journey" "a tedious mess"
  python tools/predict.py --package sst2.tflite --input reviews.txt --jsonl > labels.jsonl
  cat reviews.txt | python tools/predict.py --model runs/sst2

A file or standard input holds a text a line; for pairs, text and pair parted by a tab. It is streamed:
a million lines take no more memory than a thousand."""


def main(args: argparse.Namespace) -> int:
    if bool(args.package) == bool(args.model):
        raise InputError("give either --package FILE or --model DIR")
    if args.jsonl and args.json == "-":
        raise InputError("give --jsonl or --json -, not both: each writes to standard output")
    if args.batch_size < 1:
        raise InputError(f"--batch-size {args.batch_size}: expected at least 1")
    from tflite.predictor import BundlePredictor
    from tflite.runner import Runner

    predictor = Runner(args.package, args.threads) if args.package else BundlePredictor(args.model)
    results = []
    examples = _examples(args, predictor.paired)
    for (text, pair), found in predictor.stream(examples, args.batch_size):
        row = {"text": text, **({"pair": pair} if pair is not None else {})}
        row |= dataclasses.asdict(found)
        if args.json:
            results.append(row)
        if args.jsonl:
            print(json.dumps(row, ensure_ascii=False))
        elif args.json != "-":
            print(_shown(text, pair, found))
    if args.json:
        cli.write_json(args, {"predictions": results})
    return cli.DONE


def _shown(text: str, pair: str | None, found: Any) -> str:
    """A result on one line: label, score and text, or every word with its tag."""
    if hasattr(found, "tags"):
        return " ".join(f"{word}/{tag}" for word, tag in zip(found.words, found.tags, strict=True))
    shown = text if pair is None else f"{text}\t{pair}"
    return f"{found.label}\t{found.scores[found.label]:.4f}\t{shown}"


def _examples(args: argparse.Namespace, paired: bool) -> Iterator[tuple[str, str | None]]:
    """The texts of the arguments, of `--input` or of standard input; an empty one is an error."""
    from sqb_tf.tasks.delimited import decoded_lines, numbered_lines

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
        text, tab, pair = line.rstrip("\r\n").partition("\t")
        if paired and not (text.strip() and pair.strip()):
            raise InputError(f"{name}:{number}: expected two texts parted by a tab")
        if not paired:
            text, pair = text + tab + pair, None
        if not text.strip():
            raise InputError(f"{name}:{number}: the text is empty")
        yield text, pair


def flags() -> argparse.ArgumentParser:
    made = cli.parser(__doc__, EPILOG)
    made.add_argument("texts", nargs="*", help="texts to label; none: --input or standard input")
    made.add_argument("--package", metavar="FILE", help="a packaged .tflite")
    made.add_argument("--model", metavar="DIR", help="a bundle, run in Keras")
    made.add_argument("--input", metavar="FILE", help="file with a text a line")
    made.add_argument("--batch-size", type=int, default=64, help="texts read and tokenized at once")
    made.add_argument("--threads", type=int, default=1, help="CPU threads of a package")
    made.add_argument("--jsonl", action="store_true", help="a JSON object a line")
    return made


if __name__ == "__main__":
    cli.run(main, flags())
