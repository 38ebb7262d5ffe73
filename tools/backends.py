"""Opening what `--package` or `--model` names."""

from __future__ import annotations

from sqb_tf.checkpoint import bundle
from sqb_tf.heads.backend import Backend


def open_backend(package: str | None, model: str | None, threads: int = 1) -> Backend:
    """A package in the interpreter, or a bundle in Keras; only the second imports TensorFlow."""
    if package is not None:
        from sqb_tflite.runtime.runner import Runner

        return Runner(package, threads)
    assert model is not None  # the tools check that one of the two is named
    bundle.read_info(model)  # a bad one is reported before TensorFlow is imported
    from sqb_tflite.verification.keras_backend import BundleBackend

    return BundleBackend(model)
