"""Instances -> inputs and targets of a pretraining step: masked tokens, segments in order or swapped.

It is a function of the instances and of a seed, in numpy: masks differ each time an instance is seen and do
not depend on the Keras backend.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sqb_tf.text.vocabulary import CLS, MASK, PAD, SEP, SPECIAL_TOKENS, begins_word
from sqb_tf.training.pretraining.shards import Instances, Shards

# Devlin et al. 2019, section 3.1: 15% of the tokens are predicted. 80% of these are replaced by [MASK] and
# 10% by a random token.
PREDICTED, MASKED, REPLACED = 0.15, 0.8, 0.1
# Inputs, targets and weights, each by name.
Batch = tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Masking:
    """How instances are masked.

    Args:
        seq_length: tokens of an input, special tokens included.
        cls_id, sep_id, mask_id, pad_id: ids of the special tokens.
        begins_word: bool `[vocab_size]`, whether each token begins a word.
        replacements: ids of the tokens that may replace another.
        whole_words: whether the pieces of a word are predicted together.
        swaps: whether the segments of half of the instances are swapped.
    """

    seq_length: int
    cls_id: int
    sep_id: int
    mask_id: int
    pad_id: int
    begins_word: np.ndarray
    replacements: np.ndarray
    whole_words: bool = False
    swaps: bool = True

    @classmethod
    def for_shards(cls, shards: Shards, whole_words: bool, swaps: bool) -> Masking:
        """The masking for the length and the vocabulary of `shards`."""
        vocabulary = shards.vocabulary
        ordinary = [i for i, token in enumerate(vocabulary) if token not in SPECIAL_TOKENS]
        return cls(
            seq_length=shards.index.seq_length,
            cls_id=vocabulary.index(CLS),
            sep_id=vocabulary.index(SEP),
            mask_id=vocabulary.index(MASK),
            pad_id=vocabulary.index(PAD),
            begins_word=begins_word(vocabulary),
            replacements=np.array(ordinary),
            whole_words=whole_words,
            swaps=swaps,
        )

    @property
    def predictions(self) -> int:
        """The most tokens that are predicted in an input."""
        return math.ceil(PREDICTED * self.seq_length)

    def __call__(self, instances: Instances, seed: tuple[int, ...]) -> Batch:
        """Inputs, targets and weights of `SqueezeBertPretrainer` for `n` instances.

        Inputs: `input_word_ids`, `input_mask`, `input_type_ids` int32 `[n, seq_length]`,
        `masked_positions` int32 `[n, predictions]`. Targets: `masked_lm_logits` int32 `[n, predictions]`,
        the original tokens there; `sentence_order_logits` int32 `[n]`, 1 where the segments are swapped.
        Weights: float32 of the targets' shapes, 0 for unused positions, the others such that the mean of all
        is 1. So the loss is the mean over predictions however a batch is split among devices.
        """
        random = np.random.default_rng(seed)
        swapped = random.random(len(instances.tokens)) < 0.5 * self.swaps
        word_ids, mask, type_ids = self.join(instances, swapped)
        positions, used = self._choose(word_ids, random.random(word_ids.shape, np.float32))
        targets = np.take_along_axis(word_ids, positions, 1)
        # Unused positions are all 0: they write back the token that is there.
        masked = np.where(used, self._mask(targets, random), targets)
        np.put_along_axis(word_ids, positions, masked, 1)
        weights: np.ndarray = used.astype(np.float32)
        return (
            {
                "input_word_ids": word_ids,
                "input_mask": mask,
                "input_type_ids": type_ids,
                "masked_positions": positions,
            },
            {"masked_lm_logits": targets, "sentence_order_logits": swapped.astype(np.int32)},
            {
                "masked_lm_logits": weights / max(weights.mean(), 1e-9),
                "sentence_order_logits": np.ones(len(swapped), np.float32),
            },
        )

    def join(
        self, instances: Instances, swapped: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`[CLS] first [SEP] second [SEP]`: ids, mask and types int32 `[n, seq_length]`.

        The segments of the instances that are `swapped`, bool `[n]`, change places.
        """
        position = np.arange(self.seq_length)[None]
        length_a, length_b = instances.lengths[:, :1], instances.lengths[:, 1:]
        swap = swapped[:, None]
        first = np.where(swap, length_b, length_a)  # tokens of the segment that comes first
        second = np.where(swap, length_a, length_b)
        in_first = (position >= 1) & (position <= first)
        end = first + second + 2  # position of the last [SEP]
        in_second = (position > first + 1) & (position < end)
        source = np.where(
            in_first, position - 1 + swap * length_a, position - first - 2 + ~swap * length_a
        )
        source = np.clip(source, 0, instances.tokens.shape[1] - 1)
        ids = np.take_along_axis(instances.tokens, source, 1)
        special = np.where((position == first + 1) | (position == end), self.sep_id, self.pad_id)
        special[:, 0] = self.cls_id
        ids = np.where(in_first | in_second, ids, special).astype(np.int32)
        mask = (position <= end).astype(np.int32)
        return ids, mask, mask * (position > first + 1).astype(np.int32)

    def _choose(self, ids: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The positions to predict, ascending, int32 `[n, predictions]`, and which of them are used."""
        special = (ids == self.cls_id) | (ids == self.sep_id) | (ids == self.pad_id)
        if self.whole_words:  # the pieces of a word share a score
            starts = self.begins_word[ids] | special
            word = np.cumsum(starts, axis=1) - 1
            scores = np.take_along_axis(scores, word, 1)
        scores = np.where(special, np.inf, scores)
        counts = np.maximum(np.round((~special).sum(1) * PREDICTED), 1).astype(int)[:, None]
        order = np.argsort(scores, axis=1, kind="stable")
        ranked = np.take_along_axis(scores, order, 1)
        rank = np.arange(self.predictions)[None]
        used = rank < np.minimum(counts, self.predictions)
        if self.whole_words:  # a word that would be cut is left out, unless it is the only one
            last = np.take_along_axis(ranked, counts - 1, 1)
            cut = last == np.take_along_axis(ranked, counts, 1)
            kept = used & ~(cut & (ranked[:, : self.predictions] == last))
            used = np.where(kept.any(1, keepdims=True), kept, used)
        used &= np.isfinite(ranked[:, : self.predictions])
        positions = np.where(used, order[:, : self.predictions], 0)
        # Ascending, unused ones last.
        sorting = np.argsort(np.where(used, positions, self.seq_length), axis=1, kind="stable")
        return (
            np.take_along_axis(positions, sorting, 1).astype(np.int32),
            np.take_along_axis(used, sorting, 1),
        )

    def _mask(self, tokens: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """What the model reads instead of `tokens`: [MASK], a random token or the token itself."""
        draw = random.random(tokens.shape)
        random_ids = self.replacements[random.integers(len(self.replacements), size=tokens.shape)]
        masked = np.where(draw < MASKED + REPLACED, random_ids, tokens)
        return np.where(draw < MASKED, self.mask_id, masked).astype(np.int32)
