"""The trained model as inference-only functions, exact, shaped for the LiteRT runtime.

There are two. *group-fused*: a grouped projection is one FULLY_CONNECTED a group, which XNNPACK runs
at full speed in float and int8, and neighbouring projections with equal groups never meet in between.
With 4 groups, group j of the query, key and value projections reads only channels [192 j, 192 j + 192)
and fills only heads 3j to 3j + 2: they are one 192 -> 576 product and a 3-head attention. The
feed-forward pair is four independent 192 -> 768 -> 192 networks.

*grouped-conv*, for GPUs, leaves each projection whole, a grouped CONV_2D, and attention over all heads at
once: 524 operations for 855 of squeezebert-base, no split and no concatenation in its blocks.

Also exact, in both: the attention scale is folded into the query's weights, the norms' gains and offsets
into the weights behind them (`lowered_layers.LayerNorm`), and in the last block everything
behind the keys and values is computed for the first token only, the one that the pooler reads. (Of
convolutions in place of attention it reads the mean: there the last block is as the others.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from sqb_tf.model.backbone import INPUT_NAMES
from sqb_tf.model.layers import MASK_BIAS

from .heads import HEADS, POOLED_KINDS
from .layers import (
    Block,
    Dense,
    LayerNorm,
    Projection,
    array_of,
    look_up,
)

# In place of MASK_BIAS in integers: a range with -1e4 in it leaves 8 bits nothing for the scores. 30 below a
# row's others is under a thousandth of the smallest step of an int8 softmax (1/256).
INTEGER_MASK_BIAS = -30.0
EMBEDDINGS = "embeddings"


class LoweredModel(tf.Module):
    """The whole model for one text: the three int32 inputs `[1, length]` -> the head's named outputs.

    Those are in `lowered_heads.HEADS`. A text longer than `max_length` tokens keeps its first
    `max_length - 1` and its last, the closing [SEP]. `integer` has no operation that integers cannot do: what
    is float of the mask is looked up. `lowering` is a name of `recipes.LOWERINGS`.
    """

    def __init__(
        self,
        model: Any,
        kind: str,
        max_length: int,
        integer: bool = False,
        lowering: str = "group-fused",
    ) -> None:
        super().__init__()
        self.max_length, self.integer = max_length, integer
        backbone = getattr(model, "backbone", model)
        tables = backbone.embeddings
        self.word_table = tf.Variable(array_of(tables.word_embeddings.embeddings), trainable=False)
        self.position_table = tf.Variable(
            array_of(tables.position_embeddings.embeddings)[:max_length], trainable=False
        )
        self.type_table = tf.Variable(
            array_of(tables.token_type_embeddings.embeddings), trainable=False
        )
        self.embedding_norm = LayerNorm(tables.layer_norm)
        self.attends = backbone.config.token_mixer == "self_attention"
        first_only = kind in POOLED_KINDS and backbone.config.pools_first_token
        last = len(backbone.blocks) - 1 if first_only else None
        self.blocks, norm = [], self.embedding_norm
        for index, block in enumerate(backbone.blocks):
            self.blocks.append(
                Block(block, index == last, norm, f"block_{index}", lowering == "grouped-conv")
            )
            norm = self.blocks[-1].output_norm
        self.last_norm = norm
        self.head = HEADS[kind](model, self.word_table)

    @property
    def dense_layers(self) -> list[Dense]:
        """Every product of the model, those that are a group of a CONV_2D included."""
        return [module for module in self.submodules if isinstance(module, Dense)]

    @property
    def convolutions(self) -> list[str]:
        """The layers that are CONV_2Ds."""
        projections = (module for module in self.submodules if isinstance(module, Projection))
        return [projection.layer for projection in projections if projection.as_convolution]

    @contextlib.contextmanager
    def observed_by(self, observer: Callable[[Dense, tf.Tensor], None]) -> Iterator[None]:
        """Every product shows `observer` itself and its input, in calls that are not traced."""
        for dense in self.dense_layers:
            dense.observer = observer
        try:
            yield
        finally:
            for dense in self.dense_layers:
                dense.observer = None

    @property
    def layers(self) -> list[str]:
        """The names by which recipes know what has weights, as `embeddings` (all tables), `block_0/query`."""
        return [EMBEDDINGS, *dict.fromkeys(dense.layer for dense in self.dense_layers)]

    def __call__(
        self, input_word_ids: tf.Tensor, input_mask: tf.Tensor, input_type_ids: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        word_ids, mask_ids, type_ids = self._cap(input_word_ids, input_mask, input_type_ids)
        mask = tf.gather([0.0, 1.0], mask_ids) if self.integer else tf.cast(mask_ids, tf.float32)
        normal = self._embed(word_ids, type_ids)
        block_mask = self._block_mask(mask_ids, mask)
        for block in self.blocks:
            normal = block(normal, block_mask)
        return self.head(self.last_norm.finish(normal), mask)

    def _block_mask(self, mask_ids: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """What the blocks take: what is added to attention scores, or ones and zeros."""
        if not self.attends:
            return tf.reshape(mask, [1, -1, 1])
        if self.integer:
            return tf.gather([INTEGER_MASK_BIAS, 0.0], tf.reshape(mask_ids, [1, 1, 1, -1]))
        return ((1.0 - mask) * MASK_BIAS)[:, tf.newaxis, tf.newaxis, :]

    def _cap(self, *inputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """At most `max_length` tokens of each, `[1, length]`, the last one kept."""
        length = inputs[0].shape[1]
        if length is not None and length <= self.max_length:
            return inputs
        kept = tf.minimum(tf.shape(inputs[0])[1], self.max_length) - 1
        return tuple(tf.concat([x[:, :kept], x[:, -1:]], axis=1) for x in inputs)

    def _embed(self, word_ids: tf.Tensor, type_ids: tf.Tensor) -> tf.Tensor:
        length = word_ids.shape[1] or tf.shape(word_ids)[1]
        rows = tf.gather if self.integer else look_up
        hidden = (
            rows(self.word_table, tf.reshape(word_ids, [-1]))
            + rows(self.position_table, tf.range(length))
            + rows(self.type_table, tf.reshape(type_ids, [-1]))
        )
        return self.embedding_norm.normalize(hidden[tf.newaxis])

    def signature(self, seq_length: int | None) -> tf.types.experimental.PolymorphicFunction:
        """The traced function of inputs `[1, seq_length]`; None is a dynamic length."""
        specs = [tf.TensorSpec([1, seq_length], tf.int32, name=name) for name in INPUT_NAMES]

        def call(input_word_ids, input_mask, input_type_ids):
            return self(input_word_ids, input_mask, input_type_ids)

        return tf.function(call, input_signature=specs)
