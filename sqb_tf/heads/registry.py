"""The heads by name. A file of this folder that assigns `HEAD` describes one, and needs no other entry.

One that assigns `LEARNER` describes how a head without labels is trained on examples all the same.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import sqb_tf.heads
from sqb_tf.errors import unknown_name
from sqb_tf.heads.head import Head
from sqb_tf.heads.task_head import TaskHead


def _find(attribute: str) -> dict[str, Any]:
    """What the files of this folder assign to `attribute`, by their names."""
    modules = {
        module.name: importlib.import_module(f"sqb_tf.heads.{module.name}")
        for module in pkgutil.iter_modules(sqb_tf.heads.__path__)
        if module.name != __name__.rpartition(".")[2]
    }
    return {
        name: getattr(module, attribute)
        for name, module in modules.items()
        if hasattr(module, attribute)
    }


HEADS: dict[str, type[Head]] = _find("HEAD")
NAMES = tuple(HEADS)
# The heads that learn from labelled examples, and those that learn from text alone.
TASK_NAMES = tuple(name for name, head in HEADS.items() if issubclass(head, TaskHead))
TEXT_NAMES = tuple(name for name in NAMES if name not in TASK_NAMES)
# Those whose results mean something to people.
RESULT_NAMES = tuple(
    name for name, head in HEADS.items() if name in TASK_NAMES or head.gives_vectors
)
# What a task may be learned by.
LEARNERS: dict[str, type[TaskHead]] = {
    **{name: head for name, head in HEADS.items() if issubclass(head, TaskHead)},
    **_find("LEARNER"),
}


def get(name: str) -> type[Head]:
    """The description of a head; `InputError` for a name that is none of `NAMES`."""
    if name not in HEADS:
        raise unknown_name("head", name, NAMES)
    return HEADS[name]


def get_task_head(name: str) -> type[TaskHead]:
    """The description of a head, or of a learner, that learns from examples; `InputError` for others."""
    if name not in LEARNERS:
        raise unknown_name("head", name, LEARNERS)
    return LEARNERS[name]


def names_of_model(model: Any) -> list[str]:
    """The heads that have a Keras model's class."""
    path = f"{type(model).__module__}.{type(model).__name__}"
    return [name for name, head in HEADS.items() if head.keras_class == path]
