"""The encoder alone: a state for every token, and the pooled output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqb_tf.data.example import TextPair
from sqb_tf.heads.embedding import Embedding, EmbeddingHead
from sqb_tf.heads.head import Output, Outputs


class EncoderHead(EmbeddingHead):
    """No head. Compared as an embedder whose vector is the mean of the tokens' states.

    Not the pooled output: a masked LM does not train it, and it may be nearly the same for all texts.
    """

    name = "encoder"
    keras_class = "sqb_tf.model.backbone.SqueezeBertBackbone"
    keras_settings = ()
    decoding_settings = ()
    opens_in_mediapipe = False
    outputs = (Output("sequence_output", per_token=True), Output("pooled_output"))
    gives_vectors = False

    @classmethod
    def fits_folder(cls, num_labels: int, problem_type: str | None) -> bool:
        return True

    def decode(
        self, row: TextPair, requests: Sequence[Any], outputs: Sequence[Outputs]
    ) -> Embedding:
        return Embedding(outputs[0]["sequence_output"].mean(axis=0))


HEAD = EncoderHead
