"""What runs a model: a package or a bundle, as `--package` or `--model` names it."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tf.heads.backend import Backend
from sqb_tf.heads.long_texts import LONG_TEXTS
from sqb_tf.options import option
from sqb_tf.progress import warn


def warn_of_truncation(count: int, backend: Backend) -> None:
    """Says that so many texts were cut, and what reads all of them, if any were."""
    if not count:
        return
    advice = ""
    if LONG_TEXTS in backend.head.decoding_settings and not backend.paired:
        advice = ": --long-texts windows reads all of a text"
    warn(
        f"{count:,} of the texts are longer than the model's {backend.encoder.seq_length} tokens and were cut"
        f"{advice}"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """A package or a bundle."""

    package: str | None = option(None, "a packaged .tflite", group="model", metavar="FILE")
    model: str | None = option(None, "a bundle, run in Keras", group="model", metavar="DIR")

    def __post_init__(self) -> None:
        if bool(self.package) == bool(self.model):
            raise InputError("give either --package FILE or --model DIR")

    def sha256(self) -> str:
        """Of the package, or of the files of the bundle that decide its outputs; `InputError` if missing."""
        if self.package:
            files = [Path(self.package)]
        else:
            assert self.model  # one of the two is named
            files = bundle.read_info(self.model).model_files
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def open(self, threads: int = 1) -> Backend:
        """A package in the interpreter, or a bundle in Keras; only the second imports TensorFlow."""
        if self.package:
            from sqb_tflite.runtime.runner import Runner

            return Runner(self.package, threads)
        assert self.model  # one of the two is named
        bundle.read_info(self.model)  # a bad one is reported before TensorFlow is imported
        from sqb_tflite.verification.bundle_backend import BundleBackend

        return BundleBackend(self.model)
