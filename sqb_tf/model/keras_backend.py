"""A Keras model as a backend: requests in padded batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sqb_tf.heads.backend import Backend
from sqb_tf.heads.head import Head, Outputs, Request
from sqb_tf.text.encoder import TextEncoder

BATCH_SIZE = 64


class KerasBackend(Backend):
    """Runs the Keras model of a head; its outputs are those of the model's package.

    Args:
        model: of `sqb_tf.model.heads`.
        head: bound to the model.
        encoder: of the model's vocabulary and input length.
        batch_size: requests per batch, each padded to the batch's longest.
        call: computes the model's outputs for a batch of its inputs; None: the model itself, in inference.
    """

    def __init__(
        self,
        model: Any,
        head: Head,
        encoder: TextEncoder,
        batch_size: int = BATCH_SIZE,
        call: Callable[[Any], Any] | None = None,
    ) -> None:
        self.model, self.head, self.batch_size = model, head, batch_size
        self._encoder = encoder
        self._call = call or (lambda inputs: model(inputs, training=False))

    @property
    def encoder(self) -> TextEncoder:
        return self._encoder

    def run(self, requests: Iterable[Request]) -> Iterator[Outputs]:
        requests = iter(requests)
        while batch := list(itertools.islice(requests, self.batch_size)):
            outputs = self.batch_outputs(stack_inputs(batch, self.encoder.pad_id))
            for row, request in enumerate(batch):
                yield {
                    o.name: outputs[o.name][row, : len(request) if o.per_token else None]
                    for o in self.head.outputs
                }

    def batch_outputs(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The package's outputs by name for its inputs `[n, tokens]`, each with a batch axis."""
        return self.head.named_outputs(self._call(self.head.keras_inputs(inputs)))


def stack_inputs(requests: Sequence[Request], pad_id: int) -> dict[str, np.ndarray]:
    """The inputs of several requests as one batch, int32 `[n, longest]`."""
    longest = max(map(len, requests))
    padding = {"input_word_ids": pad_id}
    return {
        name: np.concatenate(
            [
                np.pad(
                    request.inputs[name],
                    [(0, 0), (0, longest - len(request))],
                    constant_values=padding.get(name, 0),
                )
                for request in requests
            ]
        )
        for name in requests[0].inputs
    }
