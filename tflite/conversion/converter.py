"""A trained model -> the bytes of a packaged `.tflite`."""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from sqb_tf.atomic_write import writing
from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tf.heads.registry import kind_of
from sqb_tf.text.preprocessing import check_seq_length

from ..package import container
from ..runtime.runner import fit
from . import calibration as calibrate
from . import gptq, recipes
from .equalize import equalize
from .lowering.model import LoweredModel
from .quantize import quantize_activations, quantize_weights
from .recipes import LOWERINGS, Recipe, choose_lowering

# Bytes that a conversion takes beside the loaded model, the second for each byte of its weights in float32:
# squeezebert-base (204 MB) took 1.3 GB in int8 and 1.6 in int8-full, squeezebert-small (8 MB) 0.35.
MEMORY_BASE, MEMORY_PER_BYTE = 3e8, 5


def convert(
    model_or_directory: Any,
    recipe: str | Mapping[str, str] = "int8",
    seq_lengths: Sequence[int] | None = None,
    calibration: Sequence[str] | Sequence[tuple[str, str]] | None = None,
    lowering: str = "auto",
    target: str = "cpu",
) -> bytes:
    """Lowers, quantizes and packages a model of any kind.

    Args:
        model_or_directory: a bundle's folder, or the model of `sqb_tf.load`.
        recipe: a name of `sqb_tflite.conversion.recipes.Recipe`, or layer patterns, also as a `.json` file
            (`recipes.read_patterns`).
        seq_lengths: input lengths in tokens, one signature each; None: one dynamic length, which runs
            each text at its own. Of integers only, which are for accelerators: the length of training.
        calibration: texts, or pairs of them; None: the bundle's own sample.
        lowering: `auto` or a name of `sqb_tflite.conversion.recipes.LOWERINGS`.
        target: `cpu` or `gpu`: what `auto` chooses for.

    Returns:
        The bytes of a `.tflite` with vocabulary, labels and metadata inside.

    Raises:
        InputError: bad arguments, a bad bundle, weights that are no numbers, a lowering that does not suit
            the recipe, an operation that LiteRT's built-ins do not have.
    """
    chosen, patterns, origin = recipes.chosen(recipe)
    lowering = choose_lowering(lowering, target)
    model = model_or_directory
    if isinstance(model, (str, Path)):
        model = bundle.load(model)
    _check_numbers(model)
    _check_memory(model)
    task = model.info.task
    if chosen.activation_bits and not seq_lengths:
        seq_lengths = [task.seq_length]
    for seq_length in seq_lengths or ():
        check_seq_length(seq_length, model.config.max_position_embeddings)
    max_length = max([task.seq_length, *(seq_lengths or ())])

    lowered = LoweredModel(model, task.kind, max_length, bool(chosen.activation_bits), lowering)
    kinds, samples = None, None
    if patterns is not None:
        kinds = recipes.resolve(patterns, lowered.layers, origin)
        _check_convolutions(lowered, kinds)
        limit = calibrate.FEW if chosen is Recipe.INT8 else calibrate.MANY
        samples = calibration_samples(model, calibration, limit)
        if chosen.activation_bits:
            equalize(lowered, samples)
        gptq.prepare(lowered, samples, kinds)
    content = _flatbuffer(lowered, chosen, seq_lengths)
    if chosen.activation_bits:
        given = {
            name: [{k: fit(v.numpy(), length) for k, v in sample.items()} for sample in samples]
            for name, length in _signatures(seq_lengths).items()
        }
        content = quantize_activations(content, chosen.activation_bits, given)
    elif kinds is not None:
        content = quantize_weights(content, kinds)
    check_operations(content)
    return container.pack(
        content,
        model.tokenizer.vocabulary,
        model.labels or None,
        name=f"SqueezeBERT {task.task}",
        description=f"{task.kind}, {chosen.label}: {chosen.summary}",
        lowercase=task.lowercase,
        max_seq_length=max_length,
        properties={
            "recipe": chosen.label,
            "weights": patterns,
            "lowering": lowering,
            "lowering_reason": LOWERINGS[lowering],
            "kind": task.kind,
            "task": task.task,
            "paired": task.paired,
            "settings": task.settings,
            "seq_lengths": sorted(seq_lengths) if seq_lengths else None,
            "calibration": None if samples is None else _calibration_record(samples),
            "versions": {
                name: version(name)
                for name in ("tensorflow", "keras", "ai-edge-quantizer", "ai-edge-litert")
            },
        },
    )


def _check_convolutions(lowered: LoweredModel, kinds: Mapping[str, str]) -> None:
    coarse = [layer for layer in lowered.convolutions if kinds[layer] == "int4"]
    if coarse:
        raise InputError(
            f"--lowering grouped-conv: 4 bits in {coarse[0]} would run on a reference kernel, 20 times "
            "slower (XNNPACK has none for CONV_2D): use --lowering group-fused, or int8"
        )


def _check_numbers(model: Any) -> None:
    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            raise InputError(
                f"weight {weight.path} has values that are no numbers (NaN or infinite): the training "
                "diverged; convert an earlier bundle or train with a lower --learning-rate"
            )


def _check_memory(model: Any) -> None:
    """Says how much is needed where there is less: without it the system ends the process, without a word."""
    needed = MEMORY_BASE + MEMORY_PER_BYTE * 4 * model.count_params()
    available = available_memory()
    if available is not None and available < needed:
        raise InputError(
            f"converting this model takes about {needed / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB "
            "are available: end other programs, or convert it on a larger machine"
        )


def available_memory() -> int | None:
    """Bytes that this process may still take, the machine's or its container's; None: unknown."""
    found = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max", no limit
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        found.append(limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return min(found, default=None)


def check_operations(content: bytes) -> None:
    """`InputError` naming every operation of a flatbuffer that is not a LiteRT built-in."""
    model = schema.Model.GetRootAs(content, 0)
    foreign = set()
    for index in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(index)
        if code.BuiltinCode() == schema.BuiltinOperator.CUSTOM:
            foreign.add(code.CustomCode().decode())
    if foreign:
        raise InputError(_foreign_message(foreign))


def calibration_samples(model: Any, calibration: Any, limit: int) -> list[dict[str, tf.Tensor]]:
    """Inputs `[1, length]` of at most `limit` passages of `convert`'s `calibration`."""
    task = model.info.task
    if calibration is None:
        rows = [(e.text, e.pair) for e in model.info.sample("calibration")]
    else:
        rows = [row if task.paired else (row, None) for row in calibration]
    kind = kind_of(task.kind, model.labels, task.paired, task.settings)
    passages = [p for some in kind.passages(model.preprocessor, rows) for p in some]
    texts, pairs = [p.text for p in passages], [p.pair for p in passages]
    return calibrate.samples(model.preprocessor, texts, pairs if task.paired else None, limit)


def _calibration_record(samples: Sequence[dict[str, tf.Tensor]]) -> dict[str, Any]:
    """What was calibrated on: number of texts, tokens, and a hash of the ids."""
    digest = hashlib.sha256()
    tokens = 0
    for sample in samples:
        ids = sample["input_word_ids"].numpy()
        digest.update(ids.tobytes())
        tokens += ids.size
    return {"texts": len(samples), "tokens": tokens, "sha256": digest.hexdigest()}


def _signatures(seq_lengths: Sequence[int] | None) -> dict[str, int | None]:
    """Names and lengths: one alone is `serving_default`."""
    if not seq_lengths or len(seq_lengths) == 1:
        return {"serving_default": seq_lengths[0] if seq_lengths else None}
    return {f"seq_{length}": length for length in sorted(seq_lengths)}


def _flatbuffer(lowered: LoweredModel, recipe: Recipe, seq_lengths: Sequence[int] | None) -> bytes:
    """The lowered functions as the stock converter writes them: in float32, but for its own recipes."""
    with tempfile.TemporaryDirectory() as folder:
        signatures = {n: lowered.signature(k) for n, k in _signatures(seq_lengths).items()}
        lowered.functions = list(signatures.values())
        with writing(folder, tf.errors.OpError):
            tf.saved_model.save(lowered, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=list(signatures)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if recipe in (Recipe.DYNAMIC, Recipe.FP16):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if recipe is Recipe.FP16:
            converter.target_spec.supported_types = [tf.float16]
        return _run(converter)


def _run(converter: tf.lite.TFLiteConverter) -> bytes:
    try:
        return converter.convert()
    # The converter has no public exception class for what it cannot express.
    except Exception as error:
        foreign = re.findall(r"(?:Flex|tf\.)(\w+)", str(error).partition("ops: ")[2].split("\n")[0])
        if not foreign:
            raise
        raise InputError(_foreign_message(foreign)) from None


def _foreign_message(names: Any) -> str:
    return (
        f"operations that are not LiteRT built-ins: {', '.join(sorted(names))}. Such a file needs "
        "Select-TF or custom operations, which apps do not have"
    )
