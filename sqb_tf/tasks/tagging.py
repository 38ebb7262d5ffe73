"""Tags of words from the scores of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sqb_tf.tasks.task import OUTSIDE


def tags_of(labels: Sequence[str], scores: np.ndarray, places: np.ndarray) -> list[str]:
    """The tag of each word: the best one at its first piece.

    Args:
        labels: the tags, in the order of the scores.
        scores: of one text, `[tokens, labels]`.
        places: `Preprocessor.word_places` of the text, `[words]`; a word at -1 is in no entity.
    """
    best = scores.argmax(-1)
    outside = OUTSIDE if OUTSIDE in labels else labels[0]
    return [labels[best[place]] if place >= 0 else outside for place in places]
