"""SqueezeBERT in Keras 3: the model, its text pipeline and its training.

Names load on first use, so that importing the package (as every `--help` does) does not import
TensorFlow.
"""

import os
from importlib import import_module
from typing import Any

from sqb_tf.config import PRESETS, SqueezeBertConfig
from sqb_tf.data.example import Example
from sqb_tf.errors import InputError

# Before TensorFlow's import, which else prints lines about CPU features and missing GPUs.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_LAZY = {
    "SqueezeBertBackbone": "sqb_tf.model.backbone",
    "SqueezeBertClassifier": "sqb_tf.model.heads",
    "SqueezeBertTokenClassifier": "sqb_tf.model.heads",
    "SqueezeBertSpanLabeler": "sqb_tf.model.heads",
    "SqueezeBertMultipleChoice": "sqb_tf.model.heads",
    "SqueezeBertMaskedLM": "sqb_tf.model.heads",
    "SqueezeBertPretrainer": "sqb_tf.model.heads",
    "SqueezeBertEmbedder": "sqb_tf.model.heads",
    "Preprocessor": "sqb_tf.text.preprocessing",
    "load": "sqb_tf.checkpoint.source",
    "save": "sqb_tf.checkpoint.saving",
    "layers": "sqb_tf.model.layers",
    "tokenizer": "sqb_tf.text.tokenizer",
}
__all__ = ["PRESETS", "Example", "InputError", "SqueezeBertConfig", *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'sqb_tf' has no attribute {name!r}")
    module = import_module(_LAZY[name])
    return module if _LAZY[name].endswith(f".{name}") else getattr(module, name)
