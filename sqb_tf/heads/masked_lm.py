"""The masked language model: the token at every position."""

from __future__ import annotations

from typing import ClassVar

from sqb_tf.heads.head import Head, Output


class MaskedLMHead(Head):
    """Logits over the vocabulary for every token."""

    name = "masked_lm"
    keras_class = "sqb_tf.model.heads.SqueezeBertMaskedLM"
    outputs: ClassVar[tuple[Output, ...]] = (Output("logits", per_token=True),)
    verification_batch = 4  # 30,528 logits for every token
    hf_class = "ForMaskedLM"
    hf_layers: ClassVar = {
        "masked_lm_head/transform": "cls.predictions.transform.dense",
        "masked_lm_head/norm": "cls.predictions.transform.LayerNorm",
        "masked_lm_head": "cls.predictions",
    }


HEAD = MaskedLMHead
