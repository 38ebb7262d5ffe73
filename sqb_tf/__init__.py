"""SqueezeBERT in Keras 3: the model, its text pipeline and its training.

Names load on first use, so that importing the package (as every `--help` does) does not import
TensorFlow.
"""

from importlib import import_module
from typing import Any

from sqb_tf.config import PRESETS, SqueezeBertConfig
from sqb_tf.errors import InputError

_LAZY = {
    "SqueezeBertBackbone": "sqb_tf.backbone",
    "SqueezeBertClassifier": "sqb_tf.heads",
    "SqueezeBertTokenClassifier": "sqb_tf.heads",
    "SqueezeBertSpanLabeler": "sqb_tf.heads",
    "SqueezeBertMultipleChoice": "sqb_tf.heads",
    "SqueezeBertMaskedLM": "sqb_tf.heads",
    "SqueezeBertPretrainer": "sqb_tf.heads",
    "SqueezeBertEmbedder": "sqb_tf.heads",
    "Preprocessor": "sqb_tf.preprocessing",
    "load": "sqb_tf.checkpoint.bundle",
    "layers": "sqb_tf.layers",
    "tokenizer": "sqb_tf.tokenizer",
}
__all__ = ["PRESETS", "InputError", "SqueezeBertConfig", *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'sqb_tf' has no attribute {name!r}")
    module = import_module(_LAZY[name])
    return module if _LAZY[name] == f"sqb_tf.{name}" else getattr(module, name)
