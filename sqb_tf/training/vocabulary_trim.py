"""A model with fewer tokens than the one it starts from: embeddings of the tokens that a task needs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sqb_tf.data.example import texts_of
from sqb_tf.data.task import Task
from sqb_tf.model import heads
from sqb_tf.progress import log
from sqb_tf.text.encoder import TextEncoder
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.text.trimming import changed_share, count_tokens, ranked_ids, sufficient_size
from sqb_tf.training.options import VOCAB_SIZE

# What `auto` keeps: every token of the training texts, as many as a vocabulary that is learned from them has,
# and so many that at most this share of the dev split's tokens is dropped. squeezebert-micro on CLINC150, not
# trained again: 7,163 tokens (those of the training texts) lose 0.7 points on dev and 1.4 on test, 15,000
# lose none and 0.3.
MOST_MISSING = 0.01


@dataclasses.dataclass(frozen=True)
class Trim:
    """What trimming did.

    Attributes:
        tokens: tokens that are left.
        tokens_before: tokens that there were.
        dev_tokens_changed: share of the dev split's tokens that are now spelled by others.
    """

    tokens: int
    tokens_before: int
    dev_tokens_changed: float


def trim(
    model: Any, tokenizer: WordPieceTokenizer, task: Task, num_labels: int, size: int | None
) -> tuple[Any, WordPieceTokenizer, Trim]:
    """The same model with the embeddings of fewer tokens, its tokenizer, and what changed.

    Every text whose tokens are all kept has the same outputs.

    Args:
        model: a model of the task's head.
        tokenizer: its tokenizer.
        task: the texts whose tokens are kept.
        num_labels: outputs of the model.
        size: tokens to keep; None: see `MOST_MISSING`.
    """
    seq_length = model.config.max_position_embeddings
    encoder = TextEncoder(tokenizer.vocabulary, tokenizer.lowercase, seq_length)
    counts = count_tokens(encoder, texts_of(task.split("train")))
    ranked, always = ranked_ids(encoder.vocabulary, counts)
    if size is None:
        least = max(len({*ranked[:always], *counts}), VOCAB_SIZE)
        dev_counts = count_tokens(encoder, texts_of(task.split("dev")))
        size = sufficient_size(ranked, least, dev_counts, MOST_MISSING)
    kept = np.sort(np.array(ranked[: max(size, always)]))
    tokens = [encoder.vocabulary[i] for i in kept]
    config = dataclasses.replace(model.config, vocab_size=len(tokens))
    trimmed = heads.build(task.head, config, num_labels, task.learner.settings_of(model))
    for target, source in zip(trimmed.weights, model.weights, strict=True):
        is_table = source.path.endswith("word_embeddings/embeddings")
        target.assign(source.numpy()[kept] if is_table else source)
    trimmed_encoder = TextEncoder(tokens, tokenizer.lowercase, seq_length)
    share = changed_share(encoder, trimmed_encoder, kept, texts_of(task.split("dev")))
    log(
        f"{len(tokens)} of {len(encoder.vocabulary)} tokens are kept; "
        f"{share:.2%} of dev's are spelled by others"
    )
    result = Trim(len(tokens), len(encoder.vocabulary), share)
    return trimmed, WordPieceTokenizer(tokens, tokenizer.lowercase), result
