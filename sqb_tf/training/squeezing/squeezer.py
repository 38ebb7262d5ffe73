"""The loss of squeezing, layer by layer, and its training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from sqb_tf.model.backbone import token_inputs
from sqb_tf.model.layers import SentencePooling
from sqb_tf.training.optimizer import LinearWarmupDecay, adamw
from sqb_tf.training.pretraining.batches import Batches
from sqb_tf.training.pretraining.masking import Batch, Masking
from sqb_tf.training.pretraining.shards import Instances, Shards
from sqb_tf.training.run_directory import LOGS
from sqb_tf.training.squeezing.options import SqueezeOptions
from sqb_tf.training.text_trainer import TextTrainer

LOSS = "loss"
# Held-out instances that are evaluated: two models run on each.
DEV_INSTANCES = 512


class Texts:
    """Instances of shards as inputs: half of them pairs of texts, half a single text; without `pairs` all."""

    def __init__(self, shards: Shards, pairs: bool = True) -> None:
        self._share = 0.5 if pairs else 1.0
        self._masking = Masking.for_shards(shards, whole_words=False, swaps=False)

    def __call__(self, instances: Instances, seed: tuple[int, ...]) -> Batch:
        """Inputs of `n` instances by name, int32 `[n, seq_length]`; targets and weights of `LOSS`."""
        single = np.random.default_rng(seed).random(len(instances.lengths)) < self._share
        both = instances.lengths.sum(axis=1)
        lengths = np.where(
            single[:, None], np.stack([both, 0 * both], axis=1), instances.lengths
        ).astype(np.int32)
        ids, mask, types = self._masking.join(
            Instances(instances.tokens, lengths), np.zeros(len(single), bool)
        )
        # `join` ends a second segment even if it is empty.
        rows, end = np.flatnonzero(single), mask.sum(axis=1)[single] - 1
        ids[rows, end], mask[rows, end] = self._masking.pad_id, 0
        types[rows] = 0
        inputs = {"input_word_ids": ids, "input_mask": mask, "input_type_ids": types}
        ones: np.ndarray = np.ones((len(ids), 1), np.float32)
        return inputs, {LOSS: 0 * ones}, {LOSS: ones}


class Squeezer(TextTrainer):
    """Trains a student's blocks to compute its teacher's states.

    Attributes:
        curve: a point for each evaluation: the step, and for each of the student's layers the hidden error
            and the divergence of the attention.
    """

    def __init__(
        self,
        shards: Shards,
        options: SqueezeOptions,
        student: keras.Model,
        teacher: keras.Model,
        layers: Sequence[int],
        pooling: str | None,
        directory: Path,
        directions: np.ndarray | None = None,
    ) -> None:
        self.student = student
        batches = Batches(shards, Texts(shards, teacher.config.type_vocab_size > 1), options)
        self.dev = batches.dev(DEV_INSTANCES)
        variances = _variances(teacher, layers, self.dev)
        self.evaluator, model = trained_model(
            student, teacher, layers, variances, pooling, options, directions
        )
        constants = [v for v in model.weights if not v.trainable]
        super().__init__(shards, model, batches, options, directory, constants)
        self._curves: Any = None
        if keras.backend.backend() == "tensorflow":
            from sqb_tf.training.tensorboard import TensorBoardCurves

            self._curves = TensorBoardCurves(self.state, directory / LOGS)
            self.callbacks.append(self._curves)

    def evaluate(self) -> dict[str, Any]:
        """The mean errors over the held-out instances, in lists by layer."""
        outputs = [self.evaluator.predict_on_batch(inputs) for inputs, _, _ in self.dev]
        errors = {
            name: np.concatenate([batch[name] for batch in outputs]).mean(axis=0).tolist()
            for name in outputs[0]
        }
        if not all(math.isfinite(error) for values in errors.values() for error in values):
            raise self.state.diverged()
        if self._curves is not None:
            self._curves.write_dev(
                {f"{name}/{i + 1}": x for name, xs in errors.items() for i, x in enumerate(xs)}
            )
        return errors

    def describe(self, point: dict[str, Any]) -> str:
        """The errors in a line."""
        layers = ", ".join(f"{error:.3f}" for error in point["hidden_errors"])
        return f"held-out hidden errors {layers}"


def trained_model(
    student: keras.Model,
    teacher: keras.Model,
    layers: Sequence[int],
    variances: Sequence[float],
    pooling: str | None,
    options: SqueezeOptions,
    directions: np.ndarray | None = None,
) -> tuple[keras.Model, keras.Model]:
    """The model of the errors by layer, and the compiled one whose output is its loss.

    Args:
        student: the encoder that learns.
        teacher: the encoder that it learns from.
        layers: the teacher's layer of each of the student's, of `taught_layers`.
        variances: of the teacher's states after each of `layers`.
        pooling: the embedder's; None: the teacher is no embedder.
        options: weights of the loss, steps and rate.
        directions: those of a narrower student, see `copy_weights`. Its states are then compared after a
            dense layer, which learns with it and is left out of the bundle.
    """
    errors = _errors(student, teacher, layers, variances, pooling, directions)
    model = _loss(errors, options)
    warmup_steps = round(options.steps * options.warmup)
    schedule = LinearWarmupDecay(
        options.peak_rate, warmup_steps, options.steps, options.accumulation
    )
    accumulation = options.accumulation if options.accumulation > 1 else None
    optimizer = adamw(schedule, options.weight_decay, gradient_accumulation_steps=accumulation)
    model.compile(optimizer, {LOSS: _output_itself})
    return errors, model


def principal_directions(
    teacher: keras.Model, layers: Sequence[int], shards: Shards, options: SqueezeOptions, count: int
) -> np.ndarray:
    """The `count` orthonormal directions that keep most of the taught states, `[teacher's hidden, count]`."""
    batches = Batches(shards, Texts(shards, teacher.config.type_vocab_size > 1), options)
    products: np.ndarray = np.zeros(())
    for states in _taught_states(teacher, [0, *layers], batches.dev(DEV_INSTANCES)):
        tokens = np.concatenate(states)
        products = products + tokens.T @ tokens
    _, directions = np.linalg.eigh(products)  # by rising energy
    return directions[:, : -count - 1 : -1].astype(np.float32)


def _taught_states(
    teacher: keras.Model, layers: Sequence[int], batches: Sequence[Batch]
) -> Iterator[np.ndarray]:
    """The states after each of the layers, of a batch's tokens: float64 `[layers, tokens, hidden]`."""
    states = teacher.with_states()
    # By name: of a list with one output, Keras returns the array.
    taught = {str(layer): states.output["hidden_states"][layer] for layer in layers}
    model = keras.Model(states.input, taught)
    for inputs, _, _ in batches:
        tokens: np.ndarray = inputs["input_mask"].astype(bool)
        outputs = model.predict_on_batch(inputs)
        yield np.stack([outputs[name][tokens] for name in taught]).astype(np.float64)


def _variances(
    teacher: keras.Model, layers: Sequence[int], batches: Sequence[Batch]
) -> list[float]:
    """The variance of each layer's states over the tokens of the held-out batches, the mean over channels."""
    sums, squares, count = 0.0, 0.0, 0
    for values in _taught_states(teacher, layers, batches):
        sums, squares = sums + values.sum(axis=1), squares + np.square(values).sum(axis=1)
        count += values.shape[1]
    return (squares / count - np.square(sums / count)).mean(axis=1).tolist()


def _errors(
    student: keras.Model,
    teacher: keras.Model,
    layers: Sequence[int],
    variances: Sequence[float],
    pooling: str | None,
    directions: np.ndarray | None,
) -> keras.Model:
    """Inputs -> float32 `[n, layers]` `hidden_errors` and `attention_divergences`; `embedding_distance`."""
    inputs = token_inputs()
    mask = inputs["input_mask"]
    ours, theirs = student.with_states()(inputs), teacher.with_states()(inputs)
    widen = _widening(directions)
    hidden, attention = [], []
    for index, layer in enumerate(layers):
        states = widen(ours["hidden_states"][index + 1]), theirs["hidden_states"][layer]
        hidden.append(HiddenError(variances[index], dtype="float32")(*states, mask))
        scores = ours["attention_scores"][index], theirs["attention_scores"][layer - 1]
        attention.append(AttentionDivergence(dtype="float32")(*scores, mask))
    outputs = {
        "hidden_errors": ops.stack(hidden, axis=1),
        "attention_divergences": ops.stack(attention, axis=1),
    }
    if pooling is not None:
        pool = SentencePooling(pooling, dtype="float32")
        outputs_of_both = widen(ours["sequence_output"]), theirs["sequence_output"]
        vectors = [pool(states, mask) for states in outputs_of_both]
        cosine = ops.sum(vectors[0] * vectors[1], axis=1, keepdims=True)
        outputs["embedding_distance"] = 1.0 - cosine
    return keras.Model(inputs, outputs)


def _widening(directions: np.ndarray | None) -> Callable[[Any], Any]:
    """A narrower student's states as its teacher's; of one as wide, the states themselves."""
    if directions is None:
        return lambda states: states
    dense = keras.layers.Dense(len(directions), name="widening")
    dense.build((None, None, directions.shape[1]))
    dense.set_weights([directions.T, np.zeros(len(directions), np.float32)])
    return dense


def _loss(errors: keras.Model, options: SqueezeOptions) -> keras.Model:
    """Inputs -> `LOSS` `[n, 1]`: the errors, weighted and summed over the layers."""
    outputs = errors(errors.input)
    loss = ops.sum(outputs["hidden_errors"], axis=1, keepdims=True)
    divergence = ops.sum(outputs["attention_divergences"], axis=1, keepdims=True)
    loss = loss + options.attention_weight * divergence
    if "embedding_distance" in outputs:
        loss = loss + options.embedding_weight * outputs["embedding_distance"]
    return keras.Model(errors.input, {LOSS: loss})


def _output_itself(target: Any, output: Any) -> Any:
    """The loss of a model whose output is its loss."""
    return output


@keras.saving.register_keras_serializable(package="sqb_tf")
class HiddenError(keras.layers.Layer):
    """Two states `[n, length, hidden]`, mask `[n, length]` -> the error of the first one, `[n]`.

    It is the mean squared error over the tokens, divided by `variance`. If that is the second states'
    variance, it is 1 where every state is their mean.
    """

    def __init__(self, variance: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.variance = variance

    def call(self, states: Any, expected: Any, input_mask: Any) -> Any:
        mask = ops.cast(input_mask, "float32")
        states, expected = (ops.cast(x, "float32") for x in (states, expected))
        errors = ops.mean(ops.square(states - expected), axis=-1)
        return ops.sum(errors * mask, axis=1) / ops.sum(mask, axis=1) / self.variance

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "variance": self.variance}

    def compute_output_shape(self, states_shape: Any, *others: Any) -> Any:
        return states_shape[:1]


@keras.saving.register_keras_serializable(package="sqb_tf")
class AttentionDivergence(keras.layers.Layer):
    """Scores `[n, heads, length, length]` twice, mask `[n, length]` -> divergence of the first ones, `[n]`.

    It is the Kullback-Leibler divergence in nats from the second probabilities to the first ones, the mean
    over heads and tokens.
    """

    def call(self, scores: Any, expected: Any, input_mask: Any) -> Any:
        mask = ops.cast(input_mask, "float32")
        scores, expected = (ops.log_softmax(ops.cast(x, "float32")) for x in (scores, expected))
        divergence = ops.sum(ops.exp(expected) * (expected - scores), axis=-1)
        divergence = ops.mean(divergence, axis=1)  # of the heads
        return ops.sum(divergence * mask, axis=1) / ops.sum(mask, axis=1)

    def compute_output_shape(self, scores_shape: Any, *others: Any) -> Any:
        return scores_shape[:1]
