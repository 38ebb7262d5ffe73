"""Pretraining: the masked language model, and whether two texts are swapped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from sqb_tf.heads.head import Output
from sqb_tf.heads.masked_lm import MaskedLMHead


class PretrainingHead(MaskedLMHead):
    """The masked language model's logits for every token, and two for the order of the texts.

    BERT's next sentence (Devlin et al. 2019, section 3.1) has the same two outputs: the first is for a
    pair as it stood in the text. `transformers`' SqueezeBERT has no such layer, and ignores it.
    """

    name = "pretraining"
    keras_class = "sqb_tf.model.heads.SqueezeBertPretrainer"
    outputs = (
        Output("logits", per_token=True, keras_name="masked_lm_logits"),
        Output("sentence_order_logits"),
    )
    hf_class = "ForPreTraining"
    hf_layers: ClassVar = {
        **MaskedLMHead.hf_layers,
        "sentence_order_head": "cls.seq_relationship",
    }

    def keras_inputs(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The Keras model computes the masked positions only, the package all of them."""
        inputs = {name: np.asarray(values) for name, values in inputs.items()}
        shape = inputs["input_word_ids"].shape
        positions = np.broadcast_to(np.arange(shape[1], dtype=np.int32), shape)
        return {**inputs, "masked_positions": positions}


HEAD = PretrainingHead
