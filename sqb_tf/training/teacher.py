"""The teacher of a distillation: what is known of it before its weights are loaded. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqb_tf.checkpoint import bundle, model_garden
from sqb_tf.data.labels import differences, shortened
from sqb_tf.data.task import Task
from sqb_tf.errors import InputError
from sqb_tf.heads import registry

if TYPE_CHECKING:
    from sqb_tf.text.preprocessing import Preprocessor

# The heads that can teach, and learn from a teacher.
HEADS = [name for name in registry.TASK_NAMES if registry.get_task_head(name).distillation_loss]


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A trained classifier or regressor whose weights are not loaded yet.

    Attributes:
        directory: a bundle, or a folder of Model Garden.
        head: one of `HEADS`.
        paired: whether it takes text pairs; None if that is not recorded.
        labels: label names in the order of its logits.
        num_layers: layers of its encoder.
        pools_first_token: whether its pooler reads the first token, which then represents the whole text.
        load: returns its preprocessor and its model, whose outputs are `logits` `[batch, labels]` and
            `first_token_states`, `[batch, hidden]` for each layer.
    """

    directory: Path
    head: str
    paired: bool | None
    labels: list[str]
    num_layers: int
    pools_first_token: bool
    load: Callable[[], tuple[Preprocessor, Any]]

    def check(self, task: Task, labels: Sequence[str]) -> None:
        """`InputError` if it has another head or other labels than the data; their order may differ."""
        if self.head != task.head or set(self.labels) != set(labels):
            others = differences(labels, self.labels)
            raise InputError(
                f"{self.directory}: a teacher for {self.head} into {shortened(self.labels)}; the data is for "
                f"{task.head} into {shortened(labels)}{others and f' ({others})'}: if these name the same "
                "classes, edit its labels.txt"
            )
        if self.paired not in (None, task.paired):
            takes, has = ("pairs", "single texts") if self.paired else ("single texts", "pairs")
            raise InputError(f"{self.directory}: the teacher takes {takes}, but the data has {has}")


def find_teacher(directory: str | Path) -> Teacher:
    """The teacher in a folder, without its weights.

    Raises:
        InputError: neither a bundle nor a folder of Model Garden; a bundle with another head; a missing or
            wrong file in it.
    """
    directory = Path(directory)
    if (directory / model_garden.PARAMS).is_file():
        return _read_garden(directory)
    return _read_bundle(directory)


def _read_garden(directory: Path) -> Teacher:
    garden = model_garden.read_info(directory)

    def load() -> tuple[Preprocessor, Any]:
        from sqb_tf.text.preprocessing import Preprocessor
        from sqb_tf.text.tokenizer import WordPieceTokenizer

        tokenizer = WordPieceTokenizer(directory / "vocab.txt", garden.lowercase)
        return Preprocessor(tokenizer, garden.seq_length), model_garden.load(garden)

    return Teacher(
        directory,
        garden.head,
        paired=None,
        labels=garden.labels,
        num_layers=garden.num_layers,
        pools_first_token=True,
        load=load,
    )


def _read_bundle(directory: Path) -> Teacher:
    if directory.is_dir() and not (directory / "task.json").is_file():
        raise InputError(
            f"{directory}: no teacher: expected a bundle (with task.json), or a folder of Model Garden's "
            f"training (with {model_garden.PARAMS}, checkpoints, vocab.txt and labels.txt)"
        )
    info = bundle.read_info(directory, HEADS)

    def load() -> tuple[Preprocessor, Any]:
        model = bundle.load(directory, HEADS)
        return model.preprocessor, model.with_first_tokens()

    return Teacher(
        directory,
        info.task.kind,
        paired=info.task.paired,
        labels=info.labels,
        num_layers=info.config.num_hidden_layers,
        pools_first_token=info.config.pools_first_token,
        load=load,
    )
