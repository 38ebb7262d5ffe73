"""A trained model -> the bytes of a packaged `.tflite`."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tensorflow as tf

from sqb_tf.atomic_write import writing
from sqb_tf.checkpoint.loaded_model import LoadedModel
from sqb_tf.checkpoint.saving import as_loaded
from sqb_tf.progress import warn
from sqb_tf.text.encoder import check_seq_length

from ..package import container
from ..runtime.runner import fit
from . import gptq
from .calibration import (
    FOR_MEANS,
    FOR_RANGES,
    FOR_ROUNDING,
    calibration_record,
    calibration_samples,
)
from .checks import (
    check_convolutions,
    check_finite,
    check_memory,
    check_operations,
    check_verdict,
    not_built_in,
)
from .equalize import equalize
from .lowering.model import LoweredModel
from .quantize import Samples, observe_ranges, quantize_weights, with_ranges
from .recipes import LOWERINGS, Recipe, RecipeSpec
from .targets import choose


@dataclasses.dataclass(frozen=True)
class ConversionRequest:
    """What `convert_request` converts, and how: the arguments of `convert`, read and checked once.

    Attributes:
        model: a model as `sqb_tf.load` gives it.
        recipe: the recipe.
        lowering: a key of `recipes.LOWERINGS`.
        seq_lengths: input lengths in tokens, ascending, one signature each; empty: one dynamic length.
        calibration: texts or pairs of texts; None: the model's own sample.
        target: the processor that it is for, one of `targets.TARGETS`.
    """

    model: LoadedModel
    recipe: RecipeSpec
    lowering: str
    seq_lengths: tuple[int, ...] = ()
    calibration: Sequence[str] | Sequence[tuple[str, str]] | None = None
    target: str = "cpu"

    @classmethod
    def read(
        cls,
        model_or_directory: Any,
        recipe: str | Path | Mapping[str, str] | RecipeSpec = "int8",
        seq_lengths: Sequence[int] | None = None,
        calibration: Sequence[str] | Sequence[tuple[str, str]] | None = None,
        lowering: str = "auto",
        target: str = "cpu",
        **fields: Any,
    ) -> ConversionRequest:
        """From the arguments of `convert`; `fields` are those for a plain Keras model.

        Raises:
            InputError: as `convert`.
        """
        spec, lowering = choose(target, RecipeSpec.read(recipe), lowering, seq_lengths)
        if any(value is not None for value in fields.values()):
            fields["calibration"] = calibration  # which also says whether a Keras model takes pairs
        model = as_loaded(model_or_directory, **fields)
        if spec.base.activation_bits and not seq_lengths:
            seq_lengths = [model.info.task.seq_length]
        for seq_length in seq_lengths or ():
            check_seq_length(seq_length, model.config.max_position_embeddings)
        trained = model.info.task.seq_length
        if untrained := [length for length in seq_lengths or () if length > trained]:
            warn(
                f"length {max(untrained)}: the model was trained on at most {trained} tokens; "
                "the positions after them are as they were before training"
            )
        lengths = tuple(sorted(seq_lengths or ()))
        return cls(model, spec, lowering, lengths, calibration, target)

    @property
    def max_length(self) -> int:
        """The most tokens of a text that the package takes."""
        return max(self.model.info.task.seq_length, *self.seq_lengths, 0)

    @property
    def signatures(self) -> dict[str, int | None]:
        """Signature name -> input length, None for a dynamic one. A single one is `serving_default`."""
        if len(self.seq_lengths) > 1:
            return {f"seq_{length}": length for length in self.seq_lengths}
        return {"serving_default": self.seq_lengths[0] if self.seq_lengths else None}

    def lower(self) -> LoweredModel:
        """The model as inference-only functions."""
        integer = bool(self.recipe.base.activation_bits)
        head = self.model.info.task.kind
        return LoweredModel(self.model, head, self.max_length, integer, self.lowering)


def convert(
    model_or_directory: Any,
    recipe: str | Path | Mapping[str, str] | RecipeSpec = "int8",
    seq_lengths: Sequence[int] | None = None,
    calibration: Sequence[str] | Sequence[tuple[str, str]] | None = None,
    lowering: str = "auto",
    target: str = "cpu",
    *,
    tokenizer: Any = None,
    labels: Sequence[str] | None = None,
    task: Any = None,
) -> bytes:
    """Lowers, quantizes and packages a model. The package is not verified: see `sqb_tflite.release`.

    Args:
        model_or_directory: a bundle's folder, the model of `sqb_tf.load`, or a Keras model of `sqb_tf`
            with `tokenizer` and `labels`.
        recipe: a name of `sqb_tflite.conversion.recipes.Recipe`; layer patterns, or the `.json` file that
            has them (`recipes.read_patterns`).
        seq_lengths: input lengths in tokens, one signature each; default: one dynamic length, which runs
            each text at its own. For integer-only recipes, whose accelerators take fixed lengths: the
            length of training.
        calibration: texts, or pairs of them; default: the bundle's own sample.
        lowering: `auto` or a key of `sqb_tflite.conversion.recipes.LOWERINGS`.
        target: the processor that the package is for, one of `sqb_tflite.conversion.targets.TARGETS`. For
            "gpu" and "npu", fixed lengths, and what those take whole and answer rightly.
        tokenizer: for a Keras model, as of `sqb_tf.save`.
        labels: for a Keras model, as of `sqb_tf.save`.
        task: for a Keras model, as of `sqb_tf.save`.

    Returns:
        The bytes of a `.tflite` with vocabulary, labels and metadata inside.

    Raises:
        InputError: bad arguments; a bad bundle; weights that are NaN or infinite; no calibration text for a
            recipe that needs it; a lowering that does not suit the recipe; a target that would not take the
            package whole, or answer wrongly; an operation that is not a LiteRT built-in.
    """
    fields = {"tokenizer": tokenizer, "labels": labels, "task": task}
    request = ConversionRequest.read(
        model_or_directory, recipe, seq_lengths, calibration, lowering, target, **fields
    )
    return convert_request(request)


def convert_request(request: ConversionRequest) -> bytes:
    """The bytes of the package that `request` describes; errors as of `convert`."""
    return Prepared.read(request).package(request.recipe)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What packages of a model share that differ only in which layers have 16-bit activations.

    Attributes:
        request: what was asked for.
        layers: the names of the model's layers.
        content: the flatbuffer before it is quantized.
        storage: the storage type of each layer's weights; empty where the stock converter decides.
        samples: calibration text.
        ranges: of the tensors of an integer-only model, over the samples.
    """

    request: ConversionRequest
    layers: Sequence[str]
    content: bytes
    storage: Mapping[str, str]
    samples: Sequence[dict[str, tf.Tensor]]
    ranges: Mapping[str, Any]

    @classmethod
    def read(cls, request: ConversionRequest) -> Prepared:
        """Lowers, calibrates and rounds the model; errors as of `convert`."""
        check_finite(request.model)
        check_memory(request.model)
        lowered = request.lower()
        samples: list[dict[str, tf.Tensor]] = []
        storage: dict[str, str] = {}
        ranges: Mapping[str, Any] = {}
        bits = request.recipe.base.activation_bits
        if request.recipe.weights is not None:
            storage = request.recipe.storage_types(lowered.layers)
            check_convolutions(lowered, storage, request.recipe)
        if request.recipe.needs_calibration:
            passages = _passages(request.recipe)
            samples = calibration_samples(request.model, request.calibration, passages)
            if bits:
                equalize(lowered, samples)
            gptq.round_and_correct(lowered, samples, storage)
        content = _flatbuffer(request, lowered)
        if bits:
            ranges = observe_ranges(content, bits, _fitted(request, samples))
        return cls(request, lowered.layers, content, storage, samples, ranges)

    def package(self, recipe: RecipeSpec) -> bytes:
        """The bytes of the package; `recipe` is that of the request, or has other activations."""
        request, content = dataclasses.replace(self.request, recipe=recipe), self.content
        if bits := recipe.base.activation_bits:
            wide = recipe.wide_layers(self.layers)
            content = with_ranges(content, bits, self.ranges, wide)
        elif self.storage:
            content = quantize_weights(content, self.storage, request.model.config.vocab_size)
        check_operations(content)
        check_verdict(content, request.target)
        return _pack(request, content, self.samples)


def _passages(recipe: RecipeSpec) -> int:
    """How many passages of calibration text the recipe needs at most."""
    if recipe.base.activation_bits:
        return FOR_RANGES
    return FOR_MEANS if recipe.base is Recipe.INT8 else FOR_ROUNDING


def _fitted(request: ConversionRequest, samples: Sequence[dict[str, tf.Tensor]]) -> Samples:
    """Each signature's calibration text at its length."""
    return {
        name: [{k: fit(v.numpy(), length) for k, v in sample.items()} for sample in samples]
        for name, length in request.signatures.items()
        if length is not None  # integers have fixed lengths alone
    }


def _pack(
    request: ConversionRequest, content: bytes, samples: Sequence[dict[str, tf.Tensor]]
) -> bytes:
    """The flatbuffer with vocabulary, labels and a record of how it was made."""
    model, recipe, task = request.model, request.recipe.base, request.model.info.task
    return container.pack(
        content,
        model.tokenizer.vocabulary,
        model.labels or None,
        name=f"SqueezeBERT {task.task}",
        description=f"{task.kind}, {recipe.label}: {recipe.summary}",
        lowercase=task.lowercase,
        max_seq_length=request.max_length,
        lowest_score=model.info.head.lowest_score,
        properties={
            "recipe": recipe.label,
            "weights": request.recipe.weights,
            "activations": request.recipe.activations,
            "lowering": request.lowering,
            "lowering_reason": LOWERINGS[request.lowering],
            "kind": task.kind,
            "task": task.task,
            "paired": task.paired,
            "settings": task.settings,
            "seq_lengths": list(request.seq_lengths) or None,
            "calibration": calibration_record(samples) if samples else None,
            "versions": {
                name: version(name)
                for name in ("tensorflow", "keras", "ai-edge-quantizer", "ai-edge-litert")
            },
        },
    )


def _flatbuffer(request: ConversionRequest, lowered: LoweredModel) -> bytes:
    """The lowered functions as the stock converter writes them: in float32, except for its own recipes."""
    recipe = request.recipe.base
    with tempfile.TemporaryDirectory() as folder:
        signatures = {n: lowered.signature(k) for n, k in request.signatures.items()}
        with writing(folder, tf.errors.OpError):
            tf.saved_model.save(lowered, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=list(signatures)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        # Where weights are given, `quantize_weights` stores them.
        stock = request.recipe.weights is None
        if stock and recipe in (Recipe.DYNAMIC, Recipe.FP16):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if stock and recipe is Recipe.FP16:
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
        raise not_built_in(foreign) from None
