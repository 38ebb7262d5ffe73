"""A decision of a model beside the right one."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Judgement:
    """One decision; a text may need several.

    Attributes:
        gold: what is right: a class, an entity's type, a number or an answer; empty: nothing.
        predicted: what the model says; empty: nothing.
        right: whether that is right.
        score: how sure the model is, 0 to 1; of a number how far it is off; None: it does not tell.
        group: such as "up to 100 words", where results are compared by group.
        part: the part of the text that is judged, if it is not the whole.
    """

    gold: str
    predicted: str
    right: bool
    score: float | None = None
    group: str = ""
    part: str = ""
