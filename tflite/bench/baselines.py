"""Baselines: Model Garden's BERT-base and MobileBERT, converted by the stock converter.

Their weights are random, since speed and size do not depend on them: these packages cannot classify.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqb_tf.atomic_write import staged_file
from sqb_tf.errors import InputError, suggest
from sqb_tf.progress import log

# BERT's vocabulary size; a larger vocabulary enlarges the embedding table.
_VOCAB_SIZE = 30522
LABELS = ("0", "1")
# Part of the cache key: raise it when the packages change.
_VERSION = "2"


@dataclasses.dataclass(frozen=True)
class Baseline:
    """One file to measure: architecture, recipe of the stock converter, length in tokens (None: any)."""

    name: str  # a key of `BASELINES`
    recipe: str  # float32, or dynamic: int8 weights, the stock converter's fastest on CPUs
    seq_length: int | None

    @property
    def file_name(self) -> str:
        """Such as `bert-base-dynamic-128.tflite`."""
        return f"{self.name}-{self.recipe}-{self.seq_length or 'any'}.tflite"


def check_names(names: Sequence[str]) -> None:
    """`InputError` for a name that is not in `BASELINES`."""
    for name in names:
        if name not in BASELINES:
            known = ", ".join(BASELINES)
            hint = suggest(name, BASELINES)
            raise InputError(f"--baselines {name}: expected some of {known}{hint}")


def convert_baselines(
    baselines: Sequence[Baseline], folder: str | Path, vocabulary: Sequence[str], lowercase: bool
) -> list[Path]:
    """Packages with this tokenizer in `folder`; those that are missing are converted."""
    from ..package import container  # late: --help needs only the names

    parts = (_VERSION, str(lowercase), *vocabulary)
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
    paths = [Path(folder) / digest / baseline.file_name for baseline in baselines]
    for baseline, path in zip(baselines, paths, strict=True):
        if path.exists():
            continue
        log(f"converting {baseline.file_name}, once: later runs find it in {path.parent}")
        path.parent.mkdir(parents=True, exist_ok=True)
        content = container.pack(
            _convert(baseline, max(_VOCAB_SIZE, len(vocabulary))),
            vocabulary,
            LABELS,
            name=baseline.name,
            description=f"{baseline.name} of TensorFlow Model Garden, random weights: only for timing",
            lowercase=lowercase,
            max_seq_length=baseline.seq_length or 512,
            properties={
                "recipe": baseline.recipe,
                "lowering": "stock",
                "kind": "classification",
                "baseline": baseline.name,
            },
        )
        with staged_file(path) as staged:
            staged.write_bytes(content)
    return paths


def _bert_base(vocab_size: int) -> Any:
    """Devlin et al. 2019: 12 layers, hidden 768, 12 heads."""
    from official.nlp.modeling.networks import BertEncoderV2

    return BertEncoderV2(vocab_size=vocab_size)


def _mobilebert(vocab_size: int) -> Any:
    """Sun et al. 2020, table 1: 24 blocks, hidden 512, bottleneck 128, 4 feed-forward networks each."""
    from official.nlp.modeling.networks import MobileBERTEncoder

    return MobileBERTEncoder(word_vocab_size=vocab_size, num_blocks=24, intermediate_size=512)


BASELINES = {"bert-base": _bert_base, "mobilebert": _mobilebert}


def _convert(baseline: Baseline, vocab_size: int) -> bytes:
    import tensorflow as tf
    import tf_keras

    from sqb_tf.model.backbone import INPUT_NAMES

    encoder = BASELINES[baseline.name](vocab_size)
    head = tf_keras.layers.Dense(len(LABELS), "softmax")
    specs = [tf.TensorSpec([1, baseline.seq_length], tf.int32, name=name) for name in INPUT_NAMES]

    def call(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        pooled = encoder(dict(zip(INPUT_NAMES, inputs, strict=True)))["pooled_output"]
        return {"probabilities": head(pooled)}

    module = tf.Module()
    module.function = tf.function(call, input_signature=specs)
    concrete = module.function.get_concrete_function()
    module.encoder, module.head = encoder, head
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        tf.saved_model.save(module, folder, signatures={"serving_default": concrete})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if baseline.recipe == "dynamic":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return converter.convert()
