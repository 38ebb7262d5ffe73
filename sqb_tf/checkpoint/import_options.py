"""The options of an import from Hugging Face `transformers`."""

from __future__ import annotations

import dataclasses

from sqb_tf.heads.registry import NAMES
from sqb_tf.options import check_choices, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What is imported, and as what; see each option's help."""

    source: str = option(
        dataclasses.MISSING,
        "a transformers folder, or the name of a repository on the hub",
        group="model",
        metavar="DIR or REPO_ID",
    )
    head: str | None = option(
        None, "head of the model", group="model", choices=NAMES, fallback="that of the source"
    )
    vocabulary: str | None = option(
        None,
        "vocab.txt, one token per line",
        group="model",
        names="--vocab",
        metavar="FILE",
        fallback="the source's own",
    )
    revision: str | None = option(
        None,
        "branch, tag or commit of the repository",
        group="model",
        fallback="its default branch",
    )
    seq_length: int | None = option(
        None,
        "longest input in tokens",
        group="model",
        fallback="the longest that the source states",
    )
    labels: tuple[str, ...] | None = option(
        None,
        "names of the outputs, as your data has them, in the order of the model's training",
        group="model",
        metavar="NAME",
        fallback="the source's own",
    )
    paired: bool = option(False, "the model takes two texts, as one for MNLI does", group="model")
    output: str = option(dataclasses.MISSING, "bundle to write", group="saving", metavar="DIR")

    def __post_init__(self) -> None:
        check_choices(self)
