"""Running a package through LiteRT: the only file that imports an interpreter."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from sqb_tf.data.choices import join_choices
from sqb_tf.data.example import TextPair
from sqb_tf.errors import InputError, one_line
from sqb_tf.heads import registry
from sqb_tf.heads.backend import Backend
from sqb_tf.heads.classification import Classification
from sqb_tf.heads.entities import Entity
from sqb_tf.heads.head import Head, Outputs, Request
from sqb_tf.heads.multi_label import MultiLabel
from sqb_tf.heads.multiple_choice import Choice
from sqb_tf.heads.span import Answer
from sqb_tf.heads.token_classification import Tagging
from sqb_tf.text.encoder import TextEncoder

from ..package import container
from ..package.info import fitting_length
from ..package.metadata import PROPERTIES_FILE
from ..package.properties import check_for_cpu
from .signatures import Signature, check_signatures, read_signature


class _OpenedModel:
    """An interpreter and what runs each of its signatures; for one thread at a time.

    All of them map the same file, or hold the same bytes.
    """

    def __init__(self, path: str | Path | bytes, num_threads: int) -> None:
        with _one_line(_name(path), "open it"):
            self.interpreter = (
                Interpreter(model_content=path, num_threads=num_threads)
                if isinstance(path, bytes)
                else Interpreter(model_path=os.fsencode(path), num_threads=num_threads)
            )
            self.runners = {
                key: self.interpreter.get_signature_runner(key)
                for key in self.interpreter.get_signature_list()
            }


class Runner(Backend):
    """A packaged `.tflite`, run on the CPU (XNNPACK) with `num_threads` threads.

    Threads may share a runner, except for `prepare`: each run has an interpreter of its own. There are as
    many as run at the same time, at most one for each `num_threads` cores. As a context manager, it is closed
    at the end.

    With `texts_at_once`, `run` computes several texts at the same time, each by an interpreter of its own: so
    its outputs are those of one after the other, bit for bit. It is for kernels that use one thread whatever
    `num_threads` is, as LiteRT's 16-bit ones.

    Raises:
        InputError: not a package, or a file that LiteRT cannot open; from every method that runs the model,
            a runner that was closed.
    """

    untimed = ""  # why `prepare` refuses; nothing: a run may be timed

    def __init__(
        self, path: str | Path | bytes, num_threads: int = 1, texts_at_once: int = 1
    ) -> None:
        for name, value in (("num_threads", num_threads), ("texts_at_once", texts_at_once)):
            if value < 1:
                raise InputError(f"{name} {value}: expected at least 1")
        self.origin, self._texts_at_once = _name(path), texts_at_once
        self.package = container.unpack(path)
        self._path = path if isinstance(path, bytes) else os.path.abspath(path)
        self._num_threads, self._file = num_threads, _identity(self._path)
        self._idle: collections.deque[_OpenedModel] = collections.deque()
        self._slots = threading.Semaphore(max(1, cores() // num_threads))
        self._closed = False
        self._prepared: _OpenedModel | None = None
        with self._model() as model, _one_line(self.origin, "open it"):
            self.signatures = {key: read_signature(key, r) for key, r in model.runners.items()}
        self._fitting: dict[int, Signature] = {}  # by a text's length in tokens
        self.head = _head(self.package, self.origin)
        check_signatures(list(self.signatures.values()), self.head, self.origin)

    def close(self) -> None:
        """Frees the interpreters, and returns at once: one that runs is freed when its text has ended."""
        self._closed, self._prepared = True, None
        self._idle.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(
        self, inputs: Mapping[str, np.ndarray], signature: str | None = None
    ) -> dict[str, np.ndarray]:
        """Named int32 inputs `[1, length]` -> named outputs.

        Without `signature`, the shortest that takes the length; inputs are padded with zeros to a
        fixed one.
        """
        chosen, inputs = self._fitted(inputs, signature)
        outputs = self.stored_outputs(inputs, chosen.name)
        _check_shapes(outputs, chosen, self.origin)
        return {name: self._as_float(chosen, name, values) for name, values in outputs.items()}

    def stored_outputs(
        self, inputs: Mapping[str, np.ndarray], signature: str
    ) -> dict[str, np.ndarray]:
        """As `__call__` for inputs of the signature's length; integers stay integers."""
        with self._model() as model, _one_line(self.origin, "run it"):
            return model.runners[signature](**inputs)

    @contextlib.contextmanager
    def _model(self) -> Iterator[_OpenedModel]:
        """An interpreter that no other thread uses meanwhile; `InputError` if the runner was closed."""
        with self._slots:  # as many threads at once as there may be interpreters
            if self._closed:
                raise InputError(f"the runner of {self.origin} was closed: open it again")
            try:
                model = self._idle.pop()  # the last one used: its memory is in the caches
            except IndexError:
                model = self._opened()
            try:
                yield model
            finally:
                self._idle.append(model)
                if self._closed:
                    self._idle.clear()

    def _opened(self) -> _OpenedModel:
        """Another interpreter of the same file; `InputError` if another one has taken its name."""
        check_for_cpu(self.package.properties, self.origin)
        if _identity(self._path) != self._file:
            raise InputError(
                f"{self.origin} is another file since its runner was opened: open it again"
            )
        return _OpenedModel(self._path, self._num_threads)

    def _as_float(self, signature: Signature, name: str, values: np.ndarray) -> np.ndarray:
        """Outputs as they are, those of integers times their scale."""
        scale, zero_point = signature.scales[name]
        return (values.astype(np.float32) - zero_point) * np.float32(scale) if scale else values

    def prepare(
        self, inputs: Mapping[str, np.ndarray], signature: str | None = None
    ) -> Callable[[], None]:
        """Does what `__call__` does before the run (resize, allocate, copy); returns the run, to time it.

        The returned function is valid until `prepare` is called again; neither is for threads that share the
        runner.

        Raises:
            InputError: a runner whose times would say nothing of the hardware, see `untimed`.
        """
        if self.untimed:
            raise InputError(f"{self.origin} cannot be timed: {self.untimed}")
        chosen, inputs = self._fitted(inputs, signature)
        if self._prepared is None:
            with self._model() as self._prepared:
                pass
            self._idle.remove(self._prepared)
        # Private attributes, because public methods reach the first signature only.
        runner = self._prepared.runners[chosen.name]
        wrapper, subgraph = runner._interpreter_wrapper, runner._subgraph_index
        with _one_line(self.origin, "prepare it"):
            for name, values in inputs.items():
                shape = np.array(values.shape, np.int32)
                wrapper.ResizeInputTensor(runner._inputs[name], shape, False, subgraph)
            wrapper.AllocateTensors(subgraph)
            for name, values in inputs.items():
                wrapper.SetTensor(runner._inputs[name], values, subgraph)

        def run() -> None:
            try:
                # Through `runner`, which keeps the model alive.
                runner._interpreter_wrapper.Invoke(subgraph)
            except RuntimeError as error:
                raise _failure(self.origin, "run it", error) from None

        return run

    def operations(self) -> list[tuple[str, bool]]:
        """The first signature's operations: built-in name, and whether the XNNPACK delegate runs it."""
        with self._model() as model, _one_line(self.origin, "prepare it"):
            runner = next(iter(model.runners.values()))
            # Allocation applies the delegate; `allocate_tensors` refuses while there are signature runners.
            runner._interpreter_wrapper.AllocateTensors(runner._subgraph_index)
            details = model.interpreter._get_ops_details()
        delegates = [op for op in details if op["op_name"] == "DELEGATE"]
        plain = [op for op in details if op["op_name"] != "DELEGATE"]
        producer = {tensor: op for op in plain for tensor in op["outputs"]}
        delegated: set[int] = set()
        for delegate in delegates:
            # A delegate runs the operations between its inputs and its outputs.
            inputs, pending = set(delegate["inputs"]), list(delegate["outputs"])
            while pending:
                op = producer.get(pending.pop())
                if op is not None and op["index"] not in delegated:
                    delegated.add(op["index"])
                    pending += [tensor for tensor in op["inputs"] if tensor not in inputs]
        return [(op["op_name"], op["index"] in delegated) for op in plain]

    def _fitted(
        self, inputs: Mapping[str, np.ndarray], signature: str | None
    ) -> tuple[Signature, Mapping[str, np.ndarray]]:
        """The signature to run, and the inputs as long as it needs them."""
        length = inputs["input_word_ids"].shape[1]
        chosen = self.signatures[signature] if signature else self.signature_for(length)
        if chosen.seq_length is not None:
            inputs = {k: fit(v, chosen.seq_length) for k, v in inputs.items()}
        return chosen, inputs

    def signature_for(self, length: int) -> Signature:
        """The signature that runs a text of `length` tokens, see `fitting_length`."""
        if length not in self._fitting:  # once for each length that occurs, not for each text
            signatures = self.signatures.values()
            fitting = fitting_length([s.seq_length for s in signatures], length)
            self._fitting[length] = next(s for s in signatures if s.seq_length == fitting)
        return self._fitting[length]

    @functools.cached_property
    def encoder(self) -> TextEncoder:
        """The text encoder that the package was trained with, from its own vocabulary."""
        properties = self.package.properties
        if not {"lowercase", "max_seq_length"} <= properties.keys():
            raise InputError(
                f"{self.origin}: the package does not say how its text is prepared: expected one that "
                "`sqb convert` wrote"
            )
        longest = max((s.seq_length or 0) for s in self.signatures.values())
        try:
            return TextEncoder(
                self.package.vocabulary,
                properties["lowercase"],
                longest or properties["max_seq_length"],
            )
        except InputError as error:
            raise InputError(f"{self.origin}: {error}") from None

    def run(self, requests: Iterable[Request]) -> Iterator[Outputs]:
        if self._texts_at_once == 1:
            for request in requests:
                yield self._of_request(request, self(request.inputs))
            return
        running: collections.deque[tuple[Request, Future[Outputs]]] = collections.deque()
        with ThreadPoolExecutor(self._texts_at_once) as threads:
            for request in requests:
                running.append((request, threads.submit(self, request.inputs)))
                # One more than run: the next one waits for a thread, not for a caller.
                if len(running) > self._texts_at_once:
                    first, values = running.popleft()
                    yield self._of_request(first, values.result())
            for first, values in running:
                yield self._of_request(first, values.result())

    def _of_request(self, request: Request, values: Outputs) -> Outputs:
        """The outputs of one request, those per token for its own tokens."""
        return {
            output.name: values[output.name][0, : len(request) if output.per_token else None]
            for output in self.head.outputs
        }

    def classify(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None
    ) -> list[Classification | MultiLabel | Tagging]:
        """Labels with scores for `texts` (or for pairs of texts), or the tags of their words.

        Raises:
            InputError: a package for pairs without `pairs`, or the reverse.
        """
        rows = zip(texts, itertools.repeat(None) if pairs is None else pairs)
        return [result for _, result in self.stream(rows)]

    def tag(self, texts: Sequence[str]) -> list[Tagging]:
        """The tag of each word; words are separated by single spaces.

        Raises:
            InputError: a package that is not for token classification.
        """
        return self._results("token_classification", ((text, None) for text in texts))

    def entities(self, texts: Sequence[str]) -> list[list[Entity]]:
        """The entities of plain texts of any spacing and length, in order, with their characters.

        Raises:
            InputError: a package that is not for token classification.
        """
        rows = ((text, None) for text in texts)
        results = self._results("token_classification", rows, self.head.for_plain_text())
        return [list(result.entities) for result in results]

    def answer(self, question: str, context: str) -> list[Answer]:
        """The answers to a question, best first: slices of the context, or empty for "none in it".

        Raises:
            InputError: a package that is not for question answering.
        """
        (result,) = self._results("span", [(question, context)])
        return list(result.answers)

    def choose(self, text: str, choices: Sequence[str]) -> Choice:
        """Which of the choices goes with a text.

        Raises:
            InputError: a package that is not for multiple choice, no choices.
        """
        if not choices:
            raise InputError("no choices: expected two texts or more")
        (result,) = self._results("multiple_choice", [(text, join_choices(choices))])
        return result

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """A vector of length 1 for each text, float32 `[n, hidden]`.

        Raises:
            InputError: a package that is not for embedding.
        """
        results = self._results("embedding", ((text, None) for text in texts))
        if not results:
            return np.zeros((0, 0), np.float32)
        return np.stack([result.embedding for result in results])

    def _results(self, name: str, rows: Iterable[TextPair], head: Head | None = None) -> list[Any]:
        """The results for rows, by a package with the head of this name, or by `head` in its place."""
        if name != self.kind:
            raise InputError(f"a package for {self.kind}: expected one for {name}")
        return [result for _, result in self.results(rows, head=head)]


def _name(path: str | Path | bytes) -> str:
    return "<bytes>" if isinstance(path, bytes) else str(path)


def _identity(path: str | bytes) -> tuple[int, ...] | None:
    """What tells a file from another one of its name; None for bytes, and where there is none."""
    if isinstance(path, bytes):
        return None
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _one_line(origin: str, what: str) -> Iterator[None]:
    """LiteRT's errors as one line that names the package."""
    try:
        yield
    except InputError:  # says what is wrong already
        raise
    except (ValueError, RuntimeError, LookupError) as error:
        raise _failure(origin, what, error) from None


def _failure(origin: str, what: str, error: Exception) -> InputError:
    return InputError(f"{origin}: LiteRT cannot {what}: {one_line(error)}; convert it again")


def _head(package: container.Package, origin: str) -> Head:
    """The head that a package names, bound to its labels and settings."""
    properties = package.properties
    try:
        head = registry.get(properties.get("kind", "classification"))
        paired = bool(properties.get("paired"))
        fixed = ("score",) if head.fixed_labels is None else head.fixed_labels
        return head(package.labels or fixed, paired, properties.get("settings") or {})
    except InputError as error:
        raise InputError(f"{origin}: {PROPERTIES_FILE}: {error}") from None


def _check_shapes(outputs: Mapping[str, np.ndarray], signature: Signature, origin: str) -> None:
    """`InputError` unless outputs have the sizes that the signature states."""
    for name, values in outputs.items():
        stated = signature.shapes.get(name)
        if stated is not None and not _fits(values.shape, stated):
            raise InputError(
                f"{origin}: output {name} has the shape {values.shape}, not {stated} as it says; "
                "convert it again"
            )


def _fits(shape: Sequence[int], stated: Sequence[int]) -> bool:
    """Whether a shape is the stated one, where that has a size and not -1."""
    pairs = zip(shape, stated)
    return len(shape) == len(stated) and all(size in (-1, actual) for actual, size in pairs)


def fit(values: np.ndarray, length: int) -> np.ndarray:
    """`[1, n]` padded with zeros, or cut with the last token kept, to `[1, length]`."""
    if values.shape[1] > length:
        return np.concatenate([values[:, : length - 1], values[:, -1:]], axis=1)
    return np.pad(values, [(0, 0), (0, length - values.shape[1])])
