"""A trained model -> the bytes of a packaged `.tflite`."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import quantizer
from ai_edge_quantizer import recipe as quantizer_recipe

from sqb_tf.checkpoint import bundle
from sqb_tf.errors import InputError
from sqb_tf.files import writing
from sqb_tf.preprocessing import check_seq_length
from sqb_tf.tasks.kinds import kind_of
from tflite import calibration as calibrate
from tflite import package
from tflite.lower import LoweredModel
from tflite.recipes import LOWERING_REASON, Recipe, check_lowering


def convert(
    model_or_directory: Any,
    recipe: str = "int8",
    seq_lengths: Sequence[int] | None = None,
    calibration: Sequence[str] | Sequence[tuple[str, str]] | None = None,
    lowering: str = "auto",
) -> bytes:
    """Lowers, quantizes and packages a model of any kind.

    Args:
        model_or_directory: a bundle's folder, or the model of `sqb_tf.load`.
        recipe: a name of `tflite.recipes.Recipe`.
        seq_lengths: input lengths in tokens, one signature each; None: one dynamic length, which runs
            each text at its own.
        calibration: texts, or pairs of them; None: the bundle's own sample.
        lowering: `auto` or a name of `tflite.recipes.LOWERINGS`.

    Returns:
        The bytes of a `.tflite` with vocabulary, labels and metadata inside.

    Raises:
        InputError: bad arguments, a bad bundle, an operation that LiteRT's built-ins do not have.
    """
    chosen = Recipe.named(recipe)
    check_lowering(lowering)
    model = model_or_directory
    if isinstance(model, (str, Path)):
        model = bundle.load(model)
    task = model.info.task
    for seq_length in seq_lengths or ():
        check_seq_length(seq_length, model.config.max_position_embeddings)
    max_length = max([task.seq_length, *(seq_lengths or ())])

    lowered = LoweredModel(model, task.kind, max_length)
    if chosen.needs_calibration:
        samples = calibrate.samples(model.preprocessor, *_columns(model, task, calibration))
        calibrate.correct_rounding(lowered, samples)
    content = _quantized(lowered, chosen, seq_lengths)
    check_operations(content)
    return package.pack(
        content,
        model.tokenizer.vocabulary,
        model.labels or None,
        name=f"SqueezeBERT {task.task}",
        description=f"{task.kind}, {chosen.label}: {chosen.summary}",
        lowercase=task.lowercase,
        max_seq_length=max_length,
        properties={
            "recipe": chosen.label,
            "lowering": "group-fused",
            "lowering_reason": LOWERING_REASON,
            "kind": task.kind,
            "task": task.task,
            "paired": task.paired,
            "settings": task.settings,
            "seq_lengths": sorted(seq_lengths) if seq_lengths else None,
            "calibration": _calibration_record(samples) if chosen.needs_calibration else None,
            "versions": {
                name: version(name)
                for name in ("tensorflow", "keras", "ai-edge-quantizer", "ai-edge-litert")
            },
        },
    )


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


def _columns(
    model: Any, task: bundle.TaskInfo, calibration: Any
) -> tuple[list[str], list[str] | None]:
    """Calibration as what the model is run on: a column of texts and one of pairs (None for texts)."""
    if calibration is None:
        rows = [(e.text, e.pair) for e in model.info.sample("calibration")]
    else:
        rows = [row if task.paired else (row, None) for row in calibration]
    kind = kind_of(task.kind, model.labels, task.paired, task.settings)
    passages = [p for some in kind.passages(model.preprocessor, rows) for p in some]
    return [p.text for p in passages], [p.pair for p in passages] if task.paired else None


def _calibration_record(samples: Sequence[dict[str, tf.Tensor]]) -> dict[str, Any]:
    """What was calibrated on: number of texts, tokens, and a hash of the ids."""
    digest = hashlib.sha256()
    tokens = 0
    for sample in samples:
        ids = sample["input_word_ids"].numpy()
        digest.update(ids.tobytes())
        tokens += ids.size
    return {"texts": len(samples), "tokens": tokens, "sha256": digest.hexdigest()}


def _quantized(lowered: LoweredModel, recipe: Recipe, seq_lengths: Sequence[int] | None) -> bytes:
    """The lowered functions as a flatbuffer under `recipe`."""
    with tempfile.TemporaryDirectory() as folder:
        if not seq_lengths:
            signatures = {"serving_default": lowered.signature(None)}
        elif len(seq_lengths) == 1:
            signatures = {"serving_default": lowered.signature(seq_lengths[0])}
        else:
            signatures = {f"seq_{n}": lowered.signature(n) for n in sorted(seq_lengths)}
        lowered.functions = list(signatures.values())
        with writing(folder, tf.errors.OpError):
            tf.saved_model.save(lowered, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=list(signatures)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if recipe is Recipe.DYNAMIC:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if recipe is Recipe.FP16:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        content = _run(converter)
    if recipe is Recipe.INT8:
        # The converter has no scale for each row of an embedding table; ai-edge-quantizer does.
        made = quantizer.Quantizer(content, _int8_rules())
        with contextlib.redirect_stderr(io.StringIO()):  # its second progress bar has no switch
            result = made.quantize(enable_progress_bar=False, enable_progress_report=False)
        content = bytes(result.quantized_model)
    return content


def _int8_rules() -> list[dict[str, Any]]:
    """ai-edge-quantizer's for int8 weights, but for depthwise convolutions (`lowered_layers.Squeeze`)."""
    depthwise = {"regex": ".*", "operation": "DEPTHWISE_CONV_2D", "algorithm_key": "no_quantize"}
    return [*quantizer_recipe.dynamic_wi8_afp32(), depthwise]


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
