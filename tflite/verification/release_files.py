"""The files of a release, named after its package."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import check_writable
from sqb_tf.checkpoint import checksum
from sqb_tf.errors import InputError

from ..conversion.recipes import Recipe, RecipeSpec

# In the metadata of a search's picture: it may be replaced.
PICTURE_MARK = "sqb convert --search"
# In the manifest: the bundle's folder without links, by which an earlier package of it is known.
MODEL_PATH = "model_path"


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

    def check_writable(self, search: bool = False) -> None:
        """Before the long work: that the files can be written, and what is there may be replaced.

        Args:
            search: whether a search may write its files too.

        Raises:
            InputError: no permission; a file of such a name that no conversion wrote.
        """
        check_writable(self.package)
        check_writable(self.manifest)
        manifest = self._own_manifest()
        searched = manifest is not None and "search" in manifest
        beside = {self.manifest: manifest is not None}
        if search:
            beside |= {
                self.search_recipe: searched,
                self.search_plot: searched or _has_mark(self.search_plot),
            }
        for path, is_own in beside.items():
            if path.exists() and not is_own:
                raise InputError(
                    f"{path}: conversion writes a file of this name beside {self.package}, and did not write "
                    "that: name another --output, or move it"
                )

    def is_earlier(self, model: str | Path, spec: RecipeSpec) -> bool:
        """Whether the package that is there is an earlier conversion of this model by this recipe.

        Args:
            model: the bundle's folder.
            spec: the recipe, or the one that a search begins with.
        """
        manifest = self._own_manifest() or {}
        search = manifest.get("search")
        if isinstance(search, dict):
            is_same = search.get("for") == spec.name
        else:
            is_same = manifest.get("recipe") == spec.base.label
            if spec.base is Recipe.MIXED:  # which every file of patterns of weights is
                is_same = is_same and manifest.get("weights") == spec.weights
            # A manifest of an earlier version has no activations: its recipe was named.
            unstated = None if spec.origin else spec.activations
            is_same = is_same and manifest.get("activations", unstated) == spec.activations
        return (
            is_same
            and manifest.get(MODEL_PATH) == os.path.realpath(model)
            and manifest.get("sha256") == checksum.sha256(self.package)
        )

    def _own_manifest(self) -> dict[str, Any] | None:
        """What an earlier conversion wrote, or an empty object; None: something else is there, or nothing."""
        try:
            manifest = json.loads(self.manifest.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if manifest == {}:
            return manifest
        is_own = isinstance(manifest, dict) and {"package", "verification"} <= manifest.keys()
        return manifest if is_own else None


def _has_mark(picture: Path) -> bool:
    return picture.is_file() and PICTURE_MARK.encode() in picture.read_bytes()
