"""A model with fewer tokens than the one it starts from: embeddings of the tokens that a task needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from sqb_tf.data.task import Task
from sqb_tf.model import heads
from sqb_tf.progress import log
from sqb_tf.text.encoder import TextEncoder
from sqb_tf.text.tokenizer import WordPieceTokenizer
from sqb_tf.text.trimming import changed_share, count_tokens, kept_ids, sufficient_size

# What `auto` keeps: as many tokens as a vocabulary that is learned from the texts has, and so many that 99%
# of the dev split's stay. squeezebert-micro on CLINC150, not trained again: 7,163 tokens (every one of
# the training texts) miss 2.8% and lose 0.7 points, 15,000 miss 0.9% and lose none.
LEAST_TOKENS = 6000
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
        size: tokens to keep; None: see `LEAST_TOKENS`.
    """
    seq_length = model.config.max_position_embeddings
    encoder = TextEncoder(tokenizer.vocabulary, tokenizer.lowercase, seq_length)
    counts = count_tokens(encoder, _texts(task, "train"))
    if size is None:
        dev_counts = count_tokens(encoder, _texts(task, "dev"))
        size = sufficient_size(encoder.vocabulary, counts, dev_counts, LEAST_TOKENS, MOST_MISSING)
    kept = kept_ids(encoder.vocabulary, counts, size)
    tokens = [encoder.vocabulary[i] for i in kept]
    config = dataclasses.replace(model.config, vocab_size=len(tokens))
    trimmed = heads.build(task.head, config, num_labels)
    for target, source in zip(trimmed.weights, model.weights, strict=True):
        is_table = source.path.endswith("word_embeddings/embeddings")
        target.assign(source.numpy()[kept] if is_table else source)
    trimmed_encoder = TextEncoder(tokens, tokenizer.lowercase, seq_length)
    share = changed_share(encoder, trimmed_encoder, kept, _texts(task, "dev"))
    log(
        f"{len(tokens)} of {len(encoder.vocabulary)} tokens are kept; "
        f"{share:.2%} of dev's are spelled by others"
    )
    result = Trim(len(tokens), len(encoder.vocabulary), share)
    return trimmed, WordPieceTokenizer(tokens, tokenizer.lowercase), result


def _texts(task: Task, split: str) -> Iterator[str]:
    for example in task.split(split):
        yield example.text
        if example.pair is not None:
            yield example.pair
