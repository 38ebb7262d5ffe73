"""Instances -> what a step of pretraining learns from: hidden tokens, and segments in order or swapped.

A function of the instances and of random numbers, in numpy: masks differ each time an instance is seen, and
are the same whatever the backend.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sqb_tf.training.pretraining.shards import Instances

# Devlin et al. 2019, section 3.1: 15% of the tokens are predicted; 80% of them read [MASK], 10% another one.
PREDICTED, MASKED, REPLACED = 0.15, 0.8, 0.1
Batch = tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Masking:
    """How instances are masked.

    Args:
        seq_length: tokens of an input, the special ones included.
        cls_id, sep_id, mask_id, pad_id: ids of the special tokens.
        begins_word: bool `[vocab_size]`, whether each token begins a word.
        replacements: ids of the tokens that may replace one.
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

    @property
    def predictions(self) -> int:
        """Places for predictions in an input."""
        return math.ceil(PREDICTED * self.seq_length)

    def __call__(self, instances: Instances, seed: tuple[int, ...]) -> Batch:
        """Inputs, targets and weights of `SqueezeBertPretrainer` for `n` instances.

        Inputs: `input_word_ids`, `input_mask`, `input_type_ids` int32 `[n, seq_length]`,
        `masked_positions` int32 `[n, predictions]`. Targets: `masked_lm_logits` int32 `[n, predictions]`,
        the tokens that stood there, `sentence_order_logits` int32 `[n]`, 1 where the segments are swapped.
        Weights: float32 of the targets' shapes, 0 for places that are not used, otherwise such that the mean
        of all is 1: so the loss is the mean over predictions however a batch is parted among devices.
        """
        random = np.random.default_rng(seed)
        swapped = random.random(len(instances.tokens)) < 0.5 * self.swaps
        word_ids, mask, type_ids = self._joined(instances, swapped)
        positions, used = self._chosen(word_ids, random.random(word_ids.shape, np.float32))
        targets = np.take_along_axis(word_ids, positions, 1)
        shown = self._shown(targets, random)
        # Unused places are all at 0: they write back what stands there.
        shown = np.where(used, shown, targets)
        np.put_along_axis(word_ids, positions, shown, 1)
        weights = used.astype(np.float32)
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

    def _joined(
        self, instances: Instances, swapped: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`[CLS] first [SEP] second [SEP]`, the segments of some swapped: ids, mask, types."""
        place = np.arange(self.seq_length)[None]
        one, two = instances.lengths[:, :1], instances.lengths[:, 1:]
        swap = swapped[:, None]
        first, second = np.where(swap, two, one), np.where(swap, one, two)
        in_first = (place >= 1) & (place <= first)
        end = first + second + 2  # of the last [SEP]
        in_second = (place > first + 1) & (place < end)
        source = np.where(in_first, place - 1 + swap * one, place - first - 2 + ~swap * one)
        source = np.clip(source, 0, instances.tokens.shape[1] - 1)
        ids = np.take_along_axis(instances.tokens, source, 1)
        special = np.where((place == first + 1) | (place == end), self.sep_id, self.pad_id)
        special[:, 0] = self.cls_id
        ids = np.where(in_first | in_second, ids, special).astype(np.int32)
        mask = (place <= end).astype(np.int32)
        return ids, mask, mask * (place > first + 1).astype(np.int32)

    def _chosen(self, ids: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places to predict, ascending, int32 `[n, predictions]`, and which of them are used."""
        special = (ids == self.cls_id) | (ids == self.sep_id) | (ids == self.pad_id)
        if self.whole_words:  # the pieces of a word have its score
            starts = self.begins_word[ids] | special
            word = np.cumsum(starts, axis=1) - 1
            scores = np.take_along_axis(scores, word, 1)
        scores = np.where(special, np.inf, scores)
        wanted = np.maximum(np.round((~special).sum(1) * PREDICTED), 1).astype(int)[:, None]
        order = np.argsort(scores, axis=1, kind="stable")
        ranked = np.take_along_axis(scores, order, 1)
        rank = np.arange(self.predictions)[None]
        used = rank < np.minimum(wanted, self.predictions)
        if self.whole_words:  # a word that would be cut waits, unless it is the only one
            last = np.take_along_axis(ranked, wanted - 1, 1)
            cut = last == np.take_along_axis(ranked, wanted, 1)
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

    def _shown(self, tokens: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """What the model reads in place of `tokens`."""
        draw = random.random(tokens.shape)
        others = self.replacements[random.integers(len(self.replacements), size=tokens.shape)]
        shown = np.where(draw < MASKED + REPLACED, others, tokens)
        return np.where(draw < MASKED, self.mask_id, shown).astype(np.int32)
