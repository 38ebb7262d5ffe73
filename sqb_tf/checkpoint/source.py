"""A model to start from: a bundle, a checkpoint that ships, or a folder of `transformers` (disk or hub)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqb_tf.checkpoint import bundle
from sqb_tf.checkpoint.bundle import BundleInfo
from sqb_tf.checkpoint.import_options import ImportOptions
from sqb_tf.checkpoint.loaded_model import LoadedModel
from sqb_tf.checkpoint.transformers_folder import Folder, fetch, is_folder, is_hub_name, read


def load(source: str | Path) -> LoadedModel:
    """The built Keras model of a source, with `.info`, `.labels`, `.tokenizer` and `.preprocessor`.

    Args:
        source: a bundle's folder; the name of a checkpoint that ships (`pretrained.CHECKPOINTS`); a
            SqueezeBERT or a BERT in a folder that `transformers` or sentence-transformers saved; or the name
            of such a repository on the hub, which is downloaded unless it is cached.

    Raises:
        InputError: none of these; a damaged or missing file in it; weights of another config.
    """
    folder = _find_folder(source)
    if folder is None:
        return bundle.load(source)
    from sqb_tf.checkpoint.hugging_face import build, warn_of_limits
    from sqb_tf.text.tokenizer import WordPieceTokenizer

    info = _folder_info(folder, source)
    warn_of_limits(folder, info)
    tokenizer = WordPieceTokenizer(info.vocabulary, info.task.lowercase)
    return bundle.attach(build(folder), info, tokenizer)


def load_model(source: str | Path) -> Any:
    """The Keras model alone, on any Keras backend; `InputError` as `load`."""
    folder = _find_folder(source)
    if folder is None:
        return bundle.load_model(bundle.read_info(source))
    from sqb_tf.checkpoint.hugging_face import build

    return build(folder)


def read_info(source: str | Path) -> BundleInfo:
    """The source without its weights, and without TensorFlow; `InputError` as `load`.

    Its `directory` is None if it is no bundle. Only safetensors tell what they hold without being read.
    """
    folder = _find_folder(source)
    return bundle.read_info(source) if folder is None else _folder_info(folder, source)


def _find_folder(source: str | Path) -> Folder | None:
    """The transformers folder of a source; None if it is none, so that a bundle is expected."""
    return read(fetch(str(source))) if is_folder(source) or is_hub_name(str(source)) else None


def _folder_info(folder: Folder, source: str | Path) -> BundleInfo:
    from sqb_tf.checkpoint.hugging_face import folder_info

    return folder_info(folder, ImportOptions(source=str(source), output=""))
