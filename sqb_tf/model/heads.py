"""The heads on the backbone, as Keras models.

Every head takes `SqueezeBertBackbone`'s three inputs and outputs float32, under mixed precision too, so that
losses are computed in float32. Shapes are those of the same head in `transformers`. Which head has which
class is in `sqb_tf.heads`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from sqb_tf.config import SqueezeBertConfig, as_config
from sqb_tf.errors import InputError
from sqb_tf.heads import registry
from sqb_tf.model import layers
from sqb_tf.model.backbone import ConfiguredModel, SqueezeBertBackbone, token_inputs
from sqb_tf.model.elementwise import Dropout, LayerNormalization, activation


def _dense(config: SqueezeBertConfig, units: int, name: str) -> keras.layers.Dense:
    """A head's own layer."""
    return keras.layers.Dense(
        units, kernel_initializer=layers.initializer(config), dtype="float32", name=name
    )


def _dropout(config: SqueezeBertConfig) -> Dropout:
    return Dropout(config.hidden_dropout_prob, name="classifier_dropout")


def _check_labels(num_labels: int) -> None:
    if num_labels < 1:
        raise InputError(f"num_labels={num_labels}: expected at least 1")


@keras.saving.register_keras_serializable(package="sqb_tf")
class SqueezeBertClassifier(ConfiguredModel):
    """Sequence classification (or regression with `num_labels=1`) on the pooled first token.

    Inputs as `SqueezeBertBackbone`; output: logits `[batch, num_labels]` in float32. Compile with
    `SparseCategoricalCrossentropy(from_logits=True)`, or `MeanSquaredError()` for regression.

    Example:
        model = SqueezeBertClassifier(SqueezeBertConfig.from_preset("squeezebert-tiny"), num_labels=2)
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(dataset)
    """

    def __init__(
        self,
        config: SqueezeBertConfig | dict[str, Any],
        num_labels: int = 2,
        name: str = "classifier",
        **kwargs: Any,
    ) -> None:
        config = as_config(config)
        _check_labels(num_labels)
        backbone = SqueezeBertBackbone(config, pooled_only=True)
        head = _dense(config, num_labels, "classifier_head")

        inputs = token_inputs()
        outputs = head(_dropout(config)(backbone(inputs)["pooled_output"]))
        super().__init__(inputs, outputs, name=name, **kwargs)

        self.config = config
        self.num_labels = num_labels
        self.backbone = backbone
        self.head = head

    def with_first_tokens(self) -> keras.Model:
        """The same layers as a model that also outputs the states before its logits, for distillation.

        Outputs: `logits`, and `first_token_states` `[batch, num_hidden_layers, hidden_size]` in float32: the
        first token's state after every block.
        """
        inputs = token_inputs()
        states = self.backbone.with_first_tokens()(inputs)
        dropped = self.get_layer("classifier_dropout")(states["pooled_output"])
        states = ops.cast(states["first_token_states"], "float32")
        outputs = {"logits": self.head(dropped), "first_token_states": states}
        return keras.Model(inputs, outputs, name=f"{self.name}_first_tokens")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_labels": self.num_labels}


@keras.saving.register_keras_serializable(package="sqb_tf")
class SqueezeBertTokenClassifier(ConfiguredModel):
    """A label for every token, as for named entities.

    Inputs as `SqueezeBertBackbone`; output: logits `[batch, length, num_labels]`. Compile with
    `SparseCategoricalCrossentropy(from_logits=True)`, and give the tokens that have no label of their
    own (padding, special tokens, pieces of a word but the first) a `sample_weight` of 0.
    """

    def __init__(
        self,
        config: SqueezeBertConfig | dict[str, Any],
        num_labels: int = 2,
        name: str = "token_classifier",
        **kwargs: Any,
    ) -> None:
        config = as_config(config)
        _check_labels(num_labels)
        backbone = SqueezeBertBackbone(config)
        head = _dense(config, num_labels, "token_head")

        inputs = token_inputs()
        outputs = head(_dropout(config)(backbone(inputs)["sequence_output"]))
        super().__init__(inputs, outputs, name=name, **kwargs)

        self.config = config
        self.num_labels = num_labels
        self.backbone = backbone
        self.head = head

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_labels": self.num_labels}


@keras.saving.register_keras_serializable(package="sqb_tf")
class SqueezeBertSpanLabeler(ConfiguredModel):
    """Where an answer starts and ends in the text: extractive question answering.

    Inputs as `SqueezeBertBackbone`, the question first; outputs `start_logits` and `end_logits`, each
    `[batch, length]`. Compile with `SparseCategoricalCrossentropy(from_logits=True)` for both, on the
    positions of the answer's first and last token.
    """

    def __init__(
        self, config: SqueezeBertConfig | dict[str, Any], name: str = "span_labeler", **kwargs: Any
    ) -> None:
        config = as_config(config)
        backbone = SqueezeBertBackbone(config)
        head = _dense(config, 2, "span_head")

        inputs = token_inputs()
        logits = head(backbone(inputs)["sequence_output"])
        outputs = {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}
        super().__init__(inputs, outputs, name=name, **kwargs)

        self.config = config
        self.backbone = backbone
        self.head = head


@keras.saving.register_keras_serializable(package="sqb_tf")
class SqueezeBertMultipleChoice(ConfiguredModel):
    """Which of several texts (or continuations of one) is the right one.

    Inputs as `SqueezeBertBackbone` but `[batch, choices, length]`; output: logits `[batch, choices]`. Compile
    with `SparseCategoricalCrossentropy(from_logits=True)`.
    """

    def __init__(
        self,
        config: SqueezeBertConfig | dict[str, Any],
        name: str = "multiple_choice",
        **kwargs: Any,
    ) -> None:
        config = as_config(config)
        backbone = SqueezeBertBackbone(config, pooled_only=True)
        head = _dense(config, 1, "choice_head")

        inputs = {key: keras.Input((None, None), dtype="int32", name=key) for key in backbone.input}
        flat = {key: layers.FlattenChoices(name=f"flat_{key}")(x) for key, x in inputs.items()}
        scores = head(_dropout(config)(backbone(flat)["pooled_output"]))
        outputs = layers.SplitChoices(dtype="float32", name="split")(
            scores, inputs["input_word_ids"]
        )
        super().__init__(inputs, outputs, name=name, **kwargs)

        self.config = config
        self.backbone = backbone
        self.head = head


@keras.saving.register_keras_serializable(package="sqb_tf")
class MaskedLMHead(keras.layers.Layer):
    """Hidden states `[..., hidden_size]` -> logits over the vocabulary `[..., vocab_size]` in float32.

    Dense layer, activation and norm, then a matmul with the word embeddings (tied) and a bias, as in
    BERT (Devlin et al. 2019, section 3.1 and its reference code).
    """

    def __init__(self, config: SqueezeBertConfig, embeddings: layers.Embeddings, **kwargs: Any):
        super().__init__(**kwargs)
        self.config = config
        self.word_embeddings = embeddings.word_embeddings
        self.transform = keras.layers.Dense(
            config.hidden_size,
            activation=activation(config.hidden_act),
            kernel_initializer=layers.initializer(config),
            dtype=self.dtype_policy,
            name="transform",
        )
        self.norm = LayerNormalization(
            epsilon=config.layer_norm_eps, dtype=self.dtype_policy, name="norm"
        )

    def build(self, hidden_shape: Any) -> None:
        self.transform.build(hidden_shape)
        self.norm.build(hidden_shape)
        self.bias = self.add_weight((self.config.vocab_size,), "zeros", name="bias")

    def call(self, hidden: Any) -> Any:
        hidden = self.norm(self.transform(hidden))
        table = ops.cast(self.word_embeddings.embeddings, hidden.dtype)
        logits = ops.matmul(hidden, ops.transpose(table))
        return ops.cast(logits, "float32") + ops.cast(self.bias, "float32")

    def compute_output_spec(self, hidden: Any) -> keras.KerasTensor:
        return keras.KerasTensor((*hidden.shape[:-1], self.config.vocab_size), "float32")


@keras.saving.register_keras_serializable(package="sqb_tf")
class SqueezeBertMaskedLM(ConfiguredModel):
    """The masked language model: which token is at every position.

    Inputs as `SqueezeBertBackbone`; output: logits `[batch, length, vocab_size]`. `SqueezeBertPretrainer`
    has the same weights and computes the masked positions only.
    """

    def __init__(
        self, config: SqueezeBertConfig | dict[str, Any], name: str = "masked_lm", **kwargs: Any
    ) -> None:
        config = as_config(config)
        backbone = SqueezeBertBackbone(config)
        head = MaskedLMHead(config, backbone.embeddings, name="masked_lm_head")

        inputs = token_inputs()
        outputs = head(backbone(inputs)["sequence_output"])
        super().__init__(inputs, outputs, name=name, **kwargs)

        self.config = config
        self.backbone = backbone
        self.head = head


@keras.saving.register_keras_serializable(package="sqb_tf")
class SqueezeBertPretrainer(ConfiguredModel):
    """Masked LM at the masked positions, and sentence order (Lan et al. 2020, section 3.1).

    Inputs as `SqueezeBertBackbone` and `masked_positions` int32 `[batch, predictions]`; outputs
    `masked_lm_logits` `[batch, predictions, vocab_size]` and `sentence_order_logits` `[batch, 2]`: class 1
    means that the two texts are swapped. Pad `masked_positions` with 0, with a `sample_weight` of 0.
    """

    def __init__(
        self, config: SqueezeBertConfig | dict[str, Any], name: str = "pretrainer", **kwargs: Any
    ) -> None:
        config = as_config(config)
        backbone = SqueezeBertBackbone(config)
        head = MaskedLMHead(config, backbone.embeddings, name="masked_lm_head")
        order_head = _dense(config, 2, "sentence_order_head")

        inputs = token_inputs()
        positions = keras.Input((None,), dtype="int32", name="masked_positions")
        states = backbone(inputs)
        masked = ops.take_along_axis(states["sequence_output"], positions[..., None], axis=1)
        outputs = {
            "masked_lm_logits": head(masked),
            "sentence_order_logits": order_head(states["pooled_output"]),
        }
        super().__init__({**inputs, "masked_positions": positions}, outputs, name=name, **kwargs)

        self.config = config
        self.backbone = backbone
        self.head = head
        self.order_head = order_head


@keras.saving.register_keras_serializable(package="sqb_tf")
class SqueezeBertEmbedder(ConfiguredModel):
    """A vector for a text; by default of length 1, so that the dot product of two is the texts' similarity.

    Inputs as `SqueezeBertBackbone`; output: `[batch, hidden_size]`, the mean of all tokens except padding
    (`pooling="mean"`, Reimers and Gurevych 2019, section 3) or the first one's state (`"first"`), divided by
    its length unless `normalize` is False.
    """

    def __init__(
        self,
        config: SqueezeBertConfig | dict[str, Any],
        pooling: str = "mean",
        normalize: bool = True,
        name: str = "embedder",
        **kwargs: Any,
    ) -> None:
        config = as_config(config)
        backbone = SqueezeBertBackbone(config)
        pool = layers.SentencePooling(pooling, normalize, dtype="float32", name="pooling")

        inputs = token_inputs()
        outputs = pool(backbone(inputs)["sequence_output"], inputs["input_mask"])
        super().__init__(inputs, outputs, name=name, **kwargs)

        self.config = config
        self.pooling = pooling
        self.normalize = normalize
        self.backbone = backbone

    def on_pairs(self) -> keras.Model:
        """The same layers as a model of pairs: inputs `[batch, 2, length]`, output `[batch, 2, hidden_size]`.

        For the losses of `sqb_tf.model.pair_losses`.
        """
        inputs = {key: keras.Input((2, None), dtype="int32", name=key) for key in self.input}
        flat = {key: layers.FlattenChoices(name=f"flat_{key}")(x) for key, x in inputs.items()}
        vectors = ops.reshape(self(flat), (-1, 2, self.config.hidden_size))
        return keras.Model(inputs, vectors, name=f"{self.name}_on_pairs")

    def get_config(self) -> dict[str, Any]:
        own = {"pooling": self.pooling, "normalize": self.normalize}
        return {**super().get_config(), **own}


def build(
    name: str,
    config: SqueezeBertConfig,
    num_labels: int = 1,
    settings: Mapping[str, Any] | None = None,
) -> ConfiguredModel:
    """A fresh model of a head of `sqb_tf.heads.registry`.

    Args:
        name: the head.
        config: the architecture.
        num_labels: outputs of a head with labels.
        settings: the head's, as `task.json` stores them; those that the Keras class takes are used.
    """
    head = registry.get(name)
    module, _, class_name = head.keras_class.rpartition(".")
    model_class = getattr(importlib.import_module(module), class_name)
    settings = {k: v for k, v in (settings or {}).items() if k in head.keras_settings}
    # A head without labels takes no number of them.
    labels = {} if head.fixed_labels == () else {"num_labels": num_labels}
    return model_class(config, **labels, **settings)


def copy_heads(source: Any, target: Any) -> None:
    """Copies the weights of the masked LM and of the sentence order, where both models have them."""
    for name, layer_type in (("head", MaskedLMHead), ("order_head", keras.layers.Dense)):
        source_head, target_head = (getattr(model, name, None) for model in (source, target))
        if isinstance(source_head, layer_type) and isinstance(target_head, layer_type):
            target_head.set_weights(source_head.get_weights())


def order_labels(model: Any, order: Sequence[int]) -> None:
    """Gives the outputs of a head another order: the one at `order[i]` becomes number `i`.

    Of a head without labels, `order` is empty and nothing changes.
    """
    if list(order) != sorted(order):
        model.head.set_weights([weights[..., list(order)] for weights in model.head.get_weights()])
