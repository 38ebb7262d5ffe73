"""Whether a vocabulary suits the texts: one of another language spells most words in pieces."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sqb_tf.data.example import Example, texts_of
from sqb_tf.progress import warn
from sqb_tf.text.encoder import TextEncoder

# Tokens of a word, by BERT's English vocabulary: 1.0 to 1.2 in English intents, reviews, news, tweets and
# textbooks; 1.5 in a few sentences of French and Italian, 1.7 in Spanish, 1.9 to 2.0 in German.
MOST_PIECES = 1.5
# Share of the tokens: up to 0.1% in those English texts, 0.4% in German tweets, which are full of emoji; 29%
# in a few sentences of Japanese, 62% of Chinese.
MOST_UNKNOWN = 0.05


def warn_if_foreign(encoder: TextEncoder, examples: Iterable[Example], origin: str) -> None:
    """Warns if the vocabulary of `origin` does not know the examples' words, or only in pieces."""
    ids = np.array([i for text in texts_of(examples) for i in encoder.ids(text)], np.int64)
    words = encoder.begins_word[ids].sum()
    if not words:
        return
    pieces, unknown = len(ids) / words, np.mean(ids == encoder.unk_id)
    reasons = []
    if pieces > MOST_PIECES:
        reasons.append(f"its vocabulary needs {pieces:.1f} tokens for a word of these texts")
    if unknown > MOST_UNKNOWN:
        reasons.append(f"{unknown:.0%} of their tokens are not in its vocabulary")
    if reasons:
        warn(
            f"{origin}: {' and '.join(reasons)}: it was probably made for another language, alphabet or "
            "field. Another start may do better: a model of the texts' language (--init), or fresh weights "
            "and a vocabulary learned from the texts (--preset squeezebert-small)"
        )
