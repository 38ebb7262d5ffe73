"""What every tool shares: common flags, errors as one line, exit codes, `--json`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from sqb_tf.atomic_write import check_writable, staged_file
from sqb_tf.errors import InputError
from sqb_tools import logs

DONE, MISSED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def parser(description: str, epilog: str = "") -> argparse.ArgumentParser:
    """A parser with `--json` and `--verbose` that shows every default."""
    made = argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=type(
            "Formatter",
            (argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter),
            {},
        ),
    )
    made.add_argument("--json", metavar="FILE", help="write the result as JSON (- is stdout)")
    made.add_argument("--verbose", action="store_true", help="show TensorFlow's log, tracebacks")
    made.add_argument("--quiet", action="store_true", help="show no log and no progress")
    return made


def run(tool: Callable[[argparse.Namespace], int], made: argparse.ArgumentParser) -> None:
    """Parses the flags, calls `tool`, exits with its code: 2 and one line for bad input."""
    args = made.parse_args()
    # TensorFlow multiplies by oneDNN of itself only where the CPU has AVX-512 VNNI. With AVX2 alone a step of
    # training squeezebert-base took 4.91 s without it and 3.99 with it (benchmarks/training_step.py).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if not args.verbose:
        _hush()
    logs.start(args.verbose, args.quiet)
    try:
        if args.json and args.json != "-":
            check_writable(args.json)
        code = tool(args)
        sys.stdout.flush()
    except InputError as error:
        code = BAD_INPUT
        _fail(args, f"error: {error}")
    except KeyboardInterrupt:
        code = INTERRUPTED
        _fail(args, "interrupted")
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        code = DONE
        _drop_stdout()
    except OSError as error:  # such as standard output on a full disk
        code = BAD_INPUT
        _drop_stdout()
        where = error.filename or "standard input or output"
        _fail(args, f"error: {where}: {error.strerror or error}")
    try:
        sys.stdout.flush()
    except OSError:
        _drop_stdout()
    sys.exit(code)


def numbers(text: str, flag: str) -> list[int]:
    """The whole numbers above 0 of `16,128`."""
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or min(values) < 1:
        raise InputError(f"{flag} {text}: expected whole numbers above 0, as 16,128")
    return sorted(set(values))


def share(text: str, flag: str) -> float:
    """0.05 of `5%` or `0.05`.

    Raises:
        InputError: no number, or not between 0 and 1.
    """
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise InputError(f"{flag} {text}: expected a share, as 5% or 0.05")
    return value


def add_held_out(made: argparse.ArgumentParser) -> None:
    """The flags that name held-out examples."""
    made.add_argument(
        "--data",
        help="folder or file, of a head without labels for texts a file of lines; none: the held-out "
        "sample in the bundle",
    )
    made.add_argument("--task", help="layout of --data; none: the bundle's own task")
    add_columns(made)
    made.add_argument("--split", default="dev", help="split of --data: dev or test")
    made.add_argument("--limit", type=int, help="use only the first N held-out examples")


def held_out(args: argparse.Namespace, info: Any) -> tuple[list[Any], str]:
    """The held-out examples that the flags name, and where they are from."""
    from sqb_tf.data.example import Columns
    from sqb_tf.data.task import Task
    from sqb_tf.data.task_specs import TASK_KINDS

    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit {args.limit}: expected at least 1")
    if args.data is None:
        return info.sample("verification")[: args.limit], f"{info.directory}/verification.jsonl"
    if info.task.kind not in TASK_KINDS:  # texts are all that it takes
        from sqb_tf.data.example import Example
        from sqb_tflite.conversion.calibration import read_texts

        texts = read_texts(args.data, paired=info.task.paired)
        rows = [(text, None) if isinstance(text, str) else text for text in texts]
        return [Example(*row) for row in rows][: args.limit], args.data
    columns = Columns(args.text_column, args.pair_column, args.label_column)
    task = Task(args.task or info.task.task, args.data, columns, args.limit)
    split = task.split(args.split)
    return list(split), split.name


def package_record(content: bytes) -> dict[str, Any]:
    """What a package says of itself: recipe, lowering, lengths, versions, calibration, signatures."""
    from sqb_tflite.runtime.runner import Runner

    runner = Runner(content)
    signatures = {
        s.name: {"inputs": s.inputs, "outputs": s.outputs, "seq_length": s.seq_length}
        for s in runner.signatures.values()
    }
    return {**runner.package.properties, "signatures": signatures}


def write_json(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """The result to the file of `--json`, or to stdout for `-`."""
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    if args.json == "-":
        sys.stdout.write(text)
    elif args.json:
        with staged_file(args.json) as staged:
            staged.write_text(text, encoding="utf-8")


def emit(args: argparse.Namespace, table: str, result: dict[str, Any]) -> None:
    """The table to stdout and the result to the file of `--json` (`-`: to stdout instead)."""
    try:
        if args.json != "-":
            print(table)
        write_json(args, result)
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads it: the exit code still says how it went
        _drop_stdout()


def command() -> str:
    """The command line as typed, for the records."""
    return shlex.join(["python", *sys.argv])


def add_columns(made: argparse.ArgumentParser) -> None:
    """The flags that name the columns of a delimited file."""
    made.add_argument("--text-column", default="text", help="column of the text")
    made.add_argument("--pair-column", help="column of the second text, for pairs")
    made.add_argument("--label-column", default="label", help="column of the label or number")


def add_answers(made: argparse.ArgumentParser) -> None:
    """The flags that say how answers to questions are found; none: as in training."""
    made.add_argument(
        "--max-answer-length", type=int, help="of question answering: tokens at most; none: 30"
    )
    made.add_argument(
        "--n-best-size", type=int, help="of question answering: answers at most; none: 20"
    )
    made.add_argument(
        "--null-threshold",
        type=float,
        help="of question answering: give the empty answer where it scores more than this above the best "
        "one; none: 0 for a model of squad2, never for one of squad",
    )


def answer_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What `add_answers` was given, as `SpanSettings` name it."""
    given = {
        "max_answer_length": args.max_answer_length,
        "n_best": args.n_best_size,
        "null_threshold": args.null_threshold,
    }
    return {name: value for name, value in given.items() if value is not None}


def _hush() -> None:
    """Sends warnings and what native code writes to standard error nowhere; messages still come.

    TensorFlow, MLIR and LiteRT print notes there that no level of logging turns off.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _drop_stdout() -> None:
    """Sends what is still to be written to standard output nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _fail(args: argparse.Namespace, message: str) -> None:
    if args.verbose:
        traceback.print_exc()
    print(message, file=sys.stderr)
