"""The files of a release, named after its package."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sqb_tf.atomic_write import check_writable
from sqb_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class ReleaseFiles:
    """`NAME.tflite` and the files beside it.

    Raises:
        InputError: `package` does not end in `.tflite`.
    """

    package: Path

    def __post_init__(self) -> None:
        if self.package.suffix != ".tflite":
            raise InputError(f"cannot write {self.package}: expected a name ending in .tflite")

    @property
    def manifest(self) -> Path:
        """How the package was made and verified."""
        return self.package.with_suffix(".json")

    @property
    def search_plot(self) -> Path:
        """A picture of every mix that a search tried."""
        return self.package.with_suffix(".search.png")

    @property
    def search_recipe(self) -> Path:
        """The mix that a search settled on, as a recipe."""
        return self.package.with_suffix(".recipe.json")

    def check_writable(self) -> None:
        """`InputError` now, before the long work, if package or manifest cannot be written."""
        check_writable(self.package)
        check_writable(self.manifest)
