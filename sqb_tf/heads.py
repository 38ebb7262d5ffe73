"""The task heads on the backbone."""

from __future__ import annotations

from typing import Any

import keras

from sqb_tf import layers
from sqb_tf.backbone import ConfiguredModel, SqueezeBertBackbone, as_config, token_inputs
from sqb_tf.config import SqueezeBertConfig
from sqb_tf.elementwise import Dropout
from sqb_tf.errors import InputError


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
        if num_labels < 1:
            raise InputError(f"num_labels={num_labels}: expected at least 1")
        backbone = SqueezeBertBackbone(config, pooled_only=True)
        dropout = Dropout(config.hidden_dropout_prob, name="classifier_dropout")
        # float32 under mixed precision too, so that the loss is computed in float32.
        head = keras.layers.Dense(
            num_labels,
            kernel_initializer=layers.initializer(config),
            dtype="float32",
            name="classifier_head",
        )

        inputs = token_inputs()
        outputs = head(dropout(backbone(inputs)["pooled_output"]))
        super().__init__(inputs, outputs, name=name, **kwargs)

        self.config = config
        self.num_labels = num_labels
        self.backbone = backbone
        self.head = head

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_labels": self.num_labels}
