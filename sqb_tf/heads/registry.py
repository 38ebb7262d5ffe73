"""The heads by name. Each file of this folder that assigns `HEAD` describes one, and needs no other entry."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import sqb_tf.heads
from sqb_tf.errors import unknown_name
from sqb_tf.heads.head import Head
from sqb_tf.heads.task_head import TaskHead


def _find() -> dict[str, type[Head]]:
    modules = [
        importlib.import_module(f"sqb_tf.heads.{module.name}")
        for module in pkgutil.iter_modules(sqb_tf.heads.__path__)
        if module.name != __name__.rpartition(".")[2]
    ]
    return {module.HEAD.name: module.HEAD for module in modules if hasattr(module, "HEAD")}


HEADS = _find()
NAMES = tuple(HEADS)
# The heads that learn from labelled examples, and those that learn from text alone.
TASK_NAMES = tuple(name for name, head in HEADS.items() if issubclass(head, TaskHead))
TEXT_NAMES = tuple(name for name in NAMES if name not in TASK_NAMES)


def get(name: str) -> type[Head]:
    """The description of a head; `InputError` for a name that is none of `NAMES`."""
    if name not in HEADS:
        raise unknown_name("head", name, NAMES)
    return HEADS[name]


def get_task_head(name: str) -> type[TaskHead]:
    """The description of a head that learns from labelled examples; `InputError` for any other name."""
    head = HEADS.get(name)
    if head is None or not issubclass(head, TaskHead):
        raise unknown_name("head", name, TASK_NAMES)
    return head


def names_of_model(model: Any) -> list[str]:
    """The heads that have a Keras model's class."""
    path = f"{type(model).__module__}.{type(model).__name__}"
    return [name for name, head in HEADS.items() if head.keras_class == path]
