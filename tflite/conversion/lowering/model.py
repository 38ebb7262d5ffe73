"""The trained model as inference-only functions: exact, shaped for LiteRT.

There are two lowerings. *group-fused*: a group of a grouped projection is one FULLY_CONNECTED, which
XNNPACK runs at full speed in float and int8, and consecutive projections with the same groups stay separate.
With 4 groups, group j of the query, key and value projections reads only channels [192 j, 192 j + 192)
and fills only heads 3j to 3j + 2: they are one 192 -> 576 matmul and a 3-head attention. The feed-forward
pair is four independent 192 -> 768 -> 192 networks.

*grouped-conv*, for GPUs, keeps each projection whole, as a grouped CONV_2D, and runs attention over all heads
at once: 522 operations against 855 in squeezebert-base, without a split or concatenation in its blocks.

Both are exact. The attention scale is folded into the query's weights, the norms' gains and offsets into the
weights behind them (`layers.LayerNorm`). In the last block, everything behind the keys and values is computed
for the first token only, the one that the pooler reads. (With convolutions in place of attention the pooler
reads the mean, so the last block is like the others.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from sqb_tf.heads import registry
from sqb_tf.model.backbone import INPUT_NAMES
from sqb_tf.model.layers import MASK_BIAS

from ..recipes import matmuls_inside
from .heads import HEADS
from .layers import (
    Block,
    Dense,
    LayerNorm,
    Projection,
    look_up,
    to_numpy,
)

# Replaces MASK_BIAS in integer-only models: a range that includes -1e4 leaves 8 bits no levels for the
# scores. A score 30 below its row's others gets under a thousandth of an int8 softmax's smallest step,
# which is 1/256.
INTEGER_MASK_BIAS = -30.0
EMBEDDINGS = "embeddings"


class LoweredModel(tf.Module):
    """The whole model for one text: the three int32 inputs `[1, length]` -> the head's named outputs.

    Args:
        model: a model as `sqb_tf.load` gives it.
        head: the head, a key of `heads.HEADS`.
        max_length: of a longer text, the first `max_length - 1` tokens and the last, the closing [SEP], are
            kept.
        integer: use only operations that integer-only models can run: the mask's float values are looked up.
        lowering: a key of `recipes.LOWERINGS`.
    """

    def __init__(
        self,
        model: Any,
        head: str,
        max_length: int,
        integer: bool = False,
        lowering: str = "group-fused",
    ) -> None:
        super().__init__()
        self.max_length, self.integer = max_length, integer
        backbone = getattr(model, "backbone", model)
        tables = backbone.embeddings
        self.word_table = tf.Variable(to_numpy(tables.word_embeddings.embeddings), trainable=False)
        self.position_table = tf.Variable(
            to_numpy(tables.position_embeddings.embeddings)[:max_length], trainable=False
        )
        self.type_table = tf.Variable(
            to_numpy(tables.token_type_embeddings.embeddings), trainable=False
        )
        # What the words and types are divided by, for each channel, see `equalize`.
        self.table_scale: tf.Variable | None = None
        self.embedding_norm = LayerNorm(tables.layer_norm)
        self.attends = backbone.config.token_mixer == "self_attention"
        first_only = registry.get(head).pooled_only and backbone.config.pools_first_token
        last = len(backbone.blocks) - 1 if first_only else None
        self.blocks, norm = [], self.embedding_norm
        for index, block in enumerate(backbone.blocks):
            self.blocks.append(
                Block(block, index == last, norm, f"block_{index}", lowering == "grouped-conv")
            )
            norm = self.blocks[-1].output_norm
        self.last_norm = norm
        self.head = HEADS[head](model, self.word_table)

    @property
    def tables(self) -> list[tf.Variable]:
        """The embedding tables: those of the layer `embeddings`."""
        return [self.word_table, self.position_table, self.type_table]

    @property
    def dense_layers(self) -> list[Dense]:
        """Every matmul of the model, including the groups of CONV_2Ds."""
        return [module for module in self.submodules if isinstance(module, Dense)]

    @property
    def convolutions(self) -> list[str]:
        """The names of the layers that are CONV_2Ds."""
        projections = (module for module in self.submodules if isinstance(module, Projection))
        return [projection.layer for projection in projections if projection.as_convolution]

    @property
    def choosable(self) -> list[str]:
        """The layers whose activations may have 8 or 16 bits in an integer-only model."""
        convolutions = self.convolutions  # which stay in 8 bits
        return [layer for layer in matmuls_inside(self.layers) if layer not in convolutions]

    @property
    def norms(self) -> list[LayerNorm]:
        """Every norm of the model."""
        return [module for module in self.submodules if isinstance(module, LayerNorm)]

    @contextlib.contextmanager
    def observed_by(
        self, observer: Callable[[Dense | LayerNorm, tf.Tensor], None]
    ) -> Iterator[None]:
        """Calls `observer` with each matmul and its input, each norm and its centred one, in eager calls."""
        observed: list[Dense | LayerNorm] = [*self.dense_layers, *self.norms]
        for module in observed:
            module.observer = observer
        try:
            yield
        finally:
            for module in observed:
                module.observer = None

    @property
    def layers(self) -> list[str]:
        """The names of layers with weights, for recipes: `embeddings` (all tables), `block_0/query`..."""
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
        """The mask as the blocks use it: added to attention scores, or for convolutions ones and zeros."""
        if not self.attends:
            return tf.reshape(mask, [1, -1, 1])
        if self.integer:
            return tf.gather([INTEGER_MASK_BIAS, 0.0], tf.reshape(mask_ids, [1, 1, 1, -1]))
        return ((1.0 - mask) * MASK_BIAS)[:, tf.newaxis, tf.newaxis, :]

    def _cap(self, *inputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Each input `[1, length]` cut to `max_length` tokens; the last token is kept."""
        length = inputs[0].shape[1]
        if length is not None and length <= self.max_length:
            return inputs
        kept = tf.minimum(tf.shape(inputs[0])[1], self.max_length) - 1
        return tuple(tf.concat([x[:, :kept], x[:, -1:]], axis=1) for x in inputs)

    def _embed(self, word_ids: tf.Tensor, type_ids: tf.Tensor) -> tf.Tensor:
        if self.integer:
            return self.embedding_norm.normalize(self._integer_sum(word_ids, type_ids))
        length = word_ids.shape[1]
        words = look_up(self.word_table, tf.reshape(word_ids, [-1]))
        types = look_up(self.type_table, tf.reshape(type_ids, [-1]))
        if length is None:
            positions = look_up(self.position_table, tf.range(tf.shape(word_ids)[1]))
            return self.embedding_norm.normalize((words + positions + types)[tf.newaxis])
        # The positions of a fixed length are constant, and LiteRT's GPU accelerator adds a constant
        # [length, channels] to a computed one right in row 0 alone (164 of 200 labels kept), [1, length,
        # channels] in all (200 of 200). The axis is that of the sum: the converter drops one of each look-up.
        positions = look_up(self.position_table, tf.range(length))
        return self.embedding_norm.normalize((words + types)[tf.newaxis] + positions[tf.newaxis])

    def _integer_sum(self, word_ids: tf.Tensor, type_ids: tf.Tensor) -> tf.Tensor:
        """The embeddings of an integer-only model; its length is fixed, so the positions are constants.

        Ids keep their batch axis: adding it to the rows is a RESHAPE in 8 bits, and so is the sum then.
        """
        tokens = tf.gather(self.word_table, word_ids) + tf.gather(self.type_table, type_ids)
        if self.table_scale is not None:
            tokens = tokens * self.table_scale
        return tokens + self.position_table[tf.newaxis, : word_ids.shape[1]]

    def signature(self, seq_length: int | None) -> tf.types.experimental.PolymorphicFunction:
        """The traced function for inputs `[1, seq_length]`; None: a dynamic length."""
        specs = [tf.TensorSpec([1, seq_length], tf.int32, name=name) for name in INPUT_NAMES]

        def call(input_word_ids, input_mask, input_type_ids):
            return self(input_word_ids, input_mask, input_type_ids)

        return tf.function(call, input_signature=specs)
