"""A bundle as a backend, by the interface of the interpreter's `Runner`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqb_tf.checkpoint import bundle
from sqb_tf.heads import registry
from sqb_tf.model.keras_backend import BATCH_SIZE, KerasBackend


class BundleBackend(KerasBackend):
    """A bundle, run in Keras.

    Args:
        model_or_directory: the model of `sqb_tf.load`, with any head; or the folder of a bundle whose head
            has results for people.
        batch_size: requests per batch.

    Raises:
        InputError: as `sqb_tf.load`; a bundle with another head.
    """

    def __init__(self, model_or_directory: Any, batch_size: int = BATCH_SIZE) -> None:
        model = model_or_directory
        if isinstance(model, (str, Path)):
            model = bundle.load(model, registry.RESULT_NAMES)
        super().__init__(model, model.info.head, model.preprocessor.encoder, batch_size)
