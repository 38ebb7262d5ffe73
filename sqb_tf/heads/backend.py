"""From texts to results: rows to requests, requests to outputs, outputs to results."""

from __future__ import annotations

import abc
import copy
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np

from sqb_tf.data.example import TextPair
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.heads.head import Head, Outputs, Request
from sqb_tf.text.encoder import TextEncoder

# Rows encoded at once; the memory of a stream.
BATCH_SIZE = 64


class Backend(abc.ABC):
    """What runs a model: the interpreter for a package, Keras for a bundle.

    Attributes:
        head: bound to the model; may be replaced by one with other settings.
        encoder: of the model's own vocabulary and input length.
    """

    head: Head

    @property
    @abc.abstractmethod
    def encoder(self) -> TextEncoder: ...

    @abc.abstractmethod
    def run(self, requests: Iterable[Request]) -> Iterator[Outputs]:
        """The named outputs of each request, streamed; per-token ones for the request's own tokens."""

    @property
    def kind(self) -> str:
        """The name of the head."""
        return self.head.name

    @property
    def labels(self) -> list[str]:
        """Label names, in the order of the outputs."""
        return list(self.head.labels)

    @property
    def paired(self) -> bool:
        """Whether the model takes pairs of texts."""
        return self.head.paired

    def with_head(self, head: Head) -> Self:
        """The same model, with what another head makes of its outputs."""
        other = copy.copy(self)
        other.head = head
        return other

    def requests(self, rows: Sequence[TextPair]) -> list[Request]:
        """The requests of all rows, one after another; a row may need several."""
        return list(itertools.chain.from_iterable(self.head.encode(rows, self.encoder)))

    def inputs(self, rows: Sequence[TextPair]) -> list[dict[str, np.ndarray]]:
        """The inputs of all requests for rows, int32 `[1, tokens]` by name, each at its own length."""
        return [request.inputs for request in self.requests(rows)]

    def stream(
        self, rows: Iterable[TextPair], batch_size: int = BATCH_SIZE
    ) -> Iterator[tuple[TextPair, Any]]:
        """Each row with its result, in order, at constant memory: `batch_size` rows at once.

        Raises:
            InputError: a head that has no result for people, as a masked language model's; a row that is a
                pair for a model of single texts, or the reverse.
        """
        if self.kind not in registry.RESULT_NAMES:
            raise InputError(
                f"a package for {self.kind} has no label for a text: expected one for "
                f"{' or '.join(registry.RESULT_NAMES)}"
            )
        return self.results(rows, batch_size)

    def results(
        self, rows: Iterable[TextPair], batch_size: int = BATCH_SIZE, head: Head | None = None
    ) -> Iterator[tuple[TextPair, Any]]:
        """`stream` for any head, vectors and token ids included; by `head` in place of the backend's own."""
        head, rows = head or self.head, iter(rows)
        while chunk := list(itertools.islice(rows, batch_size)):
            encoded = head.encode(chunk, self.encoder)
            # By length: the interpreter allocates anew whenever the length changes, and Keras pads less. 64
            # short lines in order of length took 0.12 ms each, unsorted 0.18 (decision 001).
            lengths = [requests[0].inputs["input_word_ids"].size for requests in encoded]
            order = sorted(range(len(chunk)), key=lengths.__getitem__)
            outputs = self.run(itertools.chain.from_iterable([encoded[i] for i in order]))
            results = {
                i: head.decode(
                    chunk[i], encoded[i], list(itertools.islice(outputs, len(encoded[i])))
                )
                for i in order
            }
            yield from ((row, results[i]) for i, row in enumerate(chunk))
