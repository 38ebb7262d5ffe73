"""The type of a model that `sqb_tf.load` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sqb_tf.checkpoint.bundle import BundleInfo
    from sqb_tf.config import SqueezeBertConfig
    from sqb_tf.text.preprocessing import Preprocessor
    from sqb_tf.text.tokenizer import WordPieceTokenizer


class LoadedModel(Protocol):
    """A `keras.Model` of `sqb_tf.model.heads` with what its bundle says of it.

    Attributes:
        config: the architecture.
        info: the bundle without its weights.
        labels: label names in the order of the outputs.
        tokenizer: texts -> token ids.
        preprocessor: texts -> the model's inputs.
    """

    config: SqueezeBertConfig
    info: BundleInfo
    labels: list[str]
    tokenizer: WordPieceTokenizer
    preprocessor: Preprocessor

    def __call__(self, inputs: Any, training: bool | None = None) -> Any: ...

    def __getattr__(self, name: str) -> Any:
        """Everything else of `keras.Model`, which differs from head to head."""
