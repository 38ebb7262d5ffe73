"""How a tool's process starts and ends: standard streams, signals, one-line errors, exit codes."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence

from sqb_tf.atomic_write import check_writable
from sqb_tf.errors import InputError
from sqb_tf.terminal import discard, open_closed_streams, show
from sqb_tools import logs, memory_guard
from sqb_tools.arguments import BAD_INPUT, Parser, check_characters, check_inputs

DONE, MISSED, INTERRUPTED = 0, 1, 130  # the other exit codes
# The extra of pyproject.toml that installs a module, and the one that has all a command needs.
EXTRAS = {
    **dict.fromkeys(["h5py", "keras", "sentencepiece", "seqeval", "sklearn"], "train"),
    **dict.fromkeys(["tensorflow", "tensorflow_text"], "train"),
    **dict.fromkeys(["ai_edge_quantizer"], "convert"),
    **dict.fromkeys(["matplotlib", "rich", "scipy"], "bench"),
    **dict.fromkeys(["huggingface_hub", "ml_dtypes", "safetensors"], "hf"),
    **dict.fromkeys(["official", "tf_keras", "yaml"], "garden"),
}
COMMAND_EXTRAS = {
    **dict.fromkeys(["convert", "verify"], "convert"),
    **dict.fromkeys(["import_hf", "export_hf"], "hf"),
}


def run(
    tool: Callable[[argparse.Namespace], int],
    parser: Parser,
    arguments: Sequence[str] | None = None,
) -> None:
    """Parses the flags, calls `tool`, exits with its code: 2 and one line for bad input.

    `arguments` are by default those of the process.
    """
    open_closed_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    with written_output():
        args = parser.parse_args(arguments)
    # TensorFlow uses oneDNN by default only where the CPU has AVX-512 VNNI. With AVX2 alone a training step
    # of squeezebert-base took 4.91 s without it and 3.99 with it (benchmarks/training_step.py).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    _settle_keras(args)
    memory_guard.install()
    if not args.verbose:
        _silence_native_code()
    faulthandler.enable(sys.stderr, all_threads=False)  # a crash of native code says where
    logs.start(args.verbose, args.quiet)
    try:
        check_characters(arguments, args, parser)
        check_inputs(args, parser)
        if args.json and args.json != "-":
            check_writable(args.json)
        code = tool(args)
        sys.stdout.flush()
    except InputError as error:
        code = BAD_INPUT
        _fail(args, f"error: {error}")
    except MemoryError:
        code = BAD_INPUT
        _fail(args, "error: not enough memory: free some, or take smaller batches or shorter texts")
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        code = BAD_INPUT
        extra = COMMAND_EXTRAS.get(parser.prog.removeprefix("sqb "), extra)
        hint = f"pip install 'squeezebert-mobile[{extra}]' ([all] for every command)"
        _fail(args, f"error: {error.name} is not installed: {hint}")
    except KeyboardInterrupt:
        code = INTERRUPTED
        hint = ": the same command with --resume continues" if hasattr(args, "resume") else ""
        _fail(args, f"interrupted{hint}")
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        code = DONE
        discard(sys.stdout)
    except OSError as error:  # such as standard output on a full disk
        code = BAD_INPUT
        discard(sys.stdout)
        path = error.filename or "standard input or output"
        _fail(args, f"error: {path}: {error.strerror or error}")
    try:
        sys.stdout.flush()
    except OSError:
        discard(sys.stdout)
    sys.exit(code)


@contextlib.contextmanager
def written_output() -> Iterator[None]:
    """What is printed within is written when it ends; what cannot be ends the process."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)
        sys.exit(DONE)
    except OSError as error:
        discard(sys.stdout)
        _complain(f"error: standard output or error: {error.strerror}")
        sys.exit(BAD_INPUT)


def _settle_keras(args: argparse.Namespace) -> None:
    """Keras as the tools need it, whatever the user's other projects have set for it.

    They compute with TensorFlow, but for `--backend`, and set precision by flags. A `keras.json` with another
    backend or `channels_first` ended in a traceback; in the null device Keras finds none, and writes none.
    """
    os.environ["KERAS_BACKEND"] = getattr(args, "backend", "tensorflow")
    os.environ["KERAS_HOME"] = os.devnull


def _silence_native_code() -> None:
    """Discards warnings and what native code writes to standard error; our messages still appear.

    TensorFlow, MLIR and LiteRT print notes there that no log level turns off.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    encoding = sys.stderr.encoding
    sys.stderr = os.fdopen(os.dup(2), "w", 1, encoding=encoding, errors="backslashreplace")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _fail(args: argparse.Namespace, message: str) -> None:
    if args.verbose:
        _complain(traceback.format_exc())
    _complain(message)


def _complain(message: str) -> None:
    """Prints to standard error; if it is full, the exit code alone tells."""
    try:
        show(message, sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)
