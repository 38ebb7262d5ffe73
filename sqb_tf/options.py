"""Options as dataclass fields that carry their command-line flag: one default and one help text.

The tools build their command lines from these (tools/arguments.py). `simple-parsing` does nearly the same,
but imports for 65 ms, and cannot name a flag after the opposite of its field (`--cased` for `lowercase`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from sqb_tf.errors import unknown_name

_KEY = "flag"


@dataclasses.dataclass(frozen=True)
class Flag:
    """How a field appears on the command line.

    Attributes:
        help: what it does, for `--help`.
        group: the heading in `--help`.
        names: with their dashes, the first being the one to use; for a positional argument none.
        metavar: the value's name in `--help`.
        choices: the values that it accepts, for `check_choices` and `--help`.
        fallback: what happens where the default is None.
    """

    help: str
    group: str
    names: tuple[str, ...]
    metavar: str | None = None
    choices: Sequence[str] = ()
    fallback: str = ""


def option(
    default: Any,
    help: str,
    *,
    group: str,
    names: str | Sequence[str] | None = None,
    metavar: str | None = None,
    choices: Sequence[str] = (),
    fallback: str = "",
) -> Any:
    """A dataclass field with its flag, by default `--` and the field's name. See `Flag`.

    A `default` of `dataclasses.MISSING` makes the flag required. A bool is a switch that inverts the
    default.
    """
    names = () if names is None else (names,) if isinstance(names, str) else tuple(names)
    flag = Flag(help, group, names, metavar, tuple(choices), fallback)
    return dataclasses.field(default=default, metadata={_KEY: flag})


def inherited(parent: type, name: str, *, default: Any = None, fallback: str) -> Any:
    """The option `name` of a parent class with another default, and what happens if that is None."""
    flag = dataclasses.replace(flags(parent)[name][1], fallback=fallback)
    return dataclasses.field(default=default, metadata={_KEY: flag})


def argument(default: Any, help: str, *, group: str, metavar: str | None = None) -> Any:
    """As `option`, for a positional argument."""
    flag = Flag(help, group, (), metavar)
    return dataclasses.field(default=default, metadata={_KEY: flag, "positional": True})


def flags(options: Any) -> dict[str, tuple[dataclasses.Field, Flag]]:
    """The fields of a dataclass, or of an instance, that have a flag, by name."""
    by_name = {}
    for field in dataclasses.fields(options):
        if _KEY not in field.metadata:
            continue
        flag = field.metadata[_KEY]
        if not flag.names and not field.metadata.get("positional"):
            flag = dataclasses.replace(flag, names=(f"--{field.name.replace('_', '-')}",))
        by_name[field.name] = field, flag
    return by_name


def check_choices(options: Any) -> None:
    """`InputError`, with the nearest name, for a value that is none of its field's `choices`."""
    for name, (_, flag) in flags(options).items():
        value = getattr(options, name)
        if flag.choices and value is not None and value not in flag.choices:
            raise unknown_name(name, value, flag.choices)
