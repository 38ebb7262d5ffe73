"""The command line of a tool, generated from its option dataclasses (sqb_tf/options.py).

Flags are grouped; a usage error is one line and suggests the flag that may have been meant.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
import typing
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from sqb_tf.data.lines import half_character
from sqb_tf.errors import InputError, suggest
from sqb_tf.options import Flag, flags, option
from sqb_tf.terminal import show

BAD_INPUT = 2  # the exit code
# The headings of `--help`, in order; those that are not listed come between.
FIRST_GROUPS, LAST_GROUPS = ("data", "model"), ("saving", "output")
# Names of options in the parsed arguments whose values are written.
WRITTEN = ("output", "json", "report", "page", "predictions", "nbest")
# The metavars of options whose values may be paths.
_PATHS = re.compile(r"\b(FILE|DIR|PATH|RECIPE)\b")
Options = TypeVar("Options")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """The flags that every tool has."""

    json: str | None = option(
        None,
        "write the result as JSON; - writes it to standard output",
        group="output",
        metavar="FILE",
    )
    verbose: bool = option(
        False, "show TensorFlow's log, other packages' warnings, and tracebacks", group="output"
    )
    quiet: bool = option(False, "show errors and results only", group="output")


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose help is grouped and whose errors are one line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)
        self._by_name: dict[str, argparse._ArgumentGroup] = {}
        self.commands: dict[str, Parser] = {}

    def add_options(
        self, *classes: type, exclude: Collection[str] = (), required: Collection[str] = ()
    ) -> Parser:
        """Adds the flags of option dataclasses, without those of the groups in `exclude`.

        Fields named in `required` need a value although they have a default.
        """
        for options in classes:
            types = typing.get_type_hints(options)
            for name, (field, flag) in flags(options).items():
                if flag.group not in exclude:
                    self._add(name, field, flag, types[name], name in required)
        return self

    def add_command(self, name: str, description: str, *classes: type) -> Parser:
        """A command with options of its own, listed in `--help`. `OutputOptions` may come before it."""
        if not self.commands:
            self._commands_action = self.add_subparsers(
                title="commands", dest="command", metavar="COMMAND", parser_class=type(self)
            )
        command = self._commands_action.add_parser(name, description=description, help=description)
        command.add_options(*classes, OutputOptions)
        for action in command._actions:
            if action.dest in flags(OutputOptions):
                action.default = argparse.SUPPRESS  # else it would undo the flag before the command
        self.commands[name] = command
        return command

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """As argparse's, but a mistyped flag is reported first, with the nearest one."""
        args = sys.argv[1:] if args is None else list(args)
        known = [*self.flag_names(), *(f for c in self.commands.values() for f in c.flag_names())]
        for flag in args:
            if flag == "--":
                break
            name = flag.partition("=")[0]
            if flag.startswith("--") and not any(other.startswith(name) for other in known):
                self.error(f"unrecognized arguments: {flag}{suggest(name, known)}")
        return super().parse_args(args, namespace)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Help and errors, to any encoding."""
        if message:
            show(message, file or sys.stderr, end="")

    def flag_names(self) -> list[str]:
        """Every flag of this parser, without those of its commands."""
        return list(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        """One line and exit code 2."""
        message = message.removeprefix("argument ")
        if match := re.match(r"COMMAND: invalid choice: '(.*?)'", message):
            hint = suggest(match[1], self.commands)
            message = (
                f"unknown command {match[1]!r}: expected one of {', '.join(self.commands)}{hint}"
            )
        self.exit(BAD_INPUT, f"error: {message}\n")

    def _add(
        self, name: str, field: dataclasses.Field, flag: Flag, annotation: Any, required: bool
    ) -> None:
        group = self._by_name.get(flag.group)
        if group is None:
            group = self._by_name[flag.group] = self.add_argument_group(flag.group)
            self._action_groups.sort(key=lambda group: _rank(group.title))
        default = None if field.default is dataclasses.MISSING else field.default
        settings: dict[str, Any] = {"help": _help(flag, default), "default": default}
        if flag.names:
            settings["dest"] = name
            settings["required"] = required or field.default is dataclasses.MISSING
        inner = _without_none(annotation)
        if inner is bool:
            settings["action"] = "store_false" if default else "store_true"
        else:
            settings["metavar"] = flag.metavar or _METAVARS.get(inner)
            settings["type"] = _CONVERTERS.get(inner, str)
            if typing.get_origin(inner) is tuple:
                settings["nargs"] = "+" if flag.names or default is None else "*"
                settings["default"] = default
        group.add_argument(*(flag.names or (name,)), **settings)


def parser(
    name: str,
    description: str,
    epilog: str,
    *classes: type,
    exclude: Collection[str] = (),
    required: Collection[str] = (),
) -> Parser:
    """The parser of a tool with these options and those of `OutputOptions`. See `Parser.add_options`."""
    both = f"`sqb {name}` and `python tools/{name}.py` are the same command."
    tool = Parser(prog=f"sqb {name}", description=f"{description}\n{both}", epilog=epilog)
    return tool.add_options(*classes, OutputOptions, exclude=exclude, required=required)


def read(options: type[Options], args: argparse.Namespace, **values: Any) -> Options:
    """The options of a dataclass from parsed flags; `values` take the place of flags."""
    parsed = {name: getattr(args, name) for name in flags(options) if hasattr(args, name)}
    parsed = {n: tuple(v) if isinstance(v, list) else v for n, v in parsed.items()}
    return options(**{**parsed, **values})


def whole_numbers(text: str, flag: str) -> list[int]:
    """The whole numbers above 0 of `16,128`, sorted; `InputError` for anything else."""
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or min(values) < 1:
        raise InputError(f"{flag} {text}: expected whole numbers above 0, as 16,128")
    return sorted(set(values))


def share(text: str, flag: str) -> float:
    """0.05 for `5%` or `0.05`; `InputError` for anything but a number from 0 to 1."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise InputError(f"{flag} {text}: expected a share, as 5% or 0.05")
    return value


def _rank(title: str | None) -> int:
    """The position of a heading in `--help`."""
    order = (None, "positional arguments", "options", *FIRST_GROUPS, "", *LAST_GROUPS)
    return order.index(title if title in order else "")


def _help(flag: Flag, default: Any) -> str:
    """The help text, its choices and its default."""
    notes = [f"one of {', '.join(flag.choices)}"] if flag.choices else []
    shown = flag.fallback if default is None else str(default)
    if shown and not isinstance(default, bool) and default != ():
        notes.append(f"default: {shown}")
    text = f"{flag.help} ({'; '.join(notes)})" if notes else flag.help
    return text.replace("%", "%%")


def _without_none(annotation: Any) -> Any:
    """`int` of `int | None`."""
    inner = [a for a in typing.get_args(annotation) if a is not type(None)]
    return inner[0] if type(None) in typing.get_args(annotation) else annotation


def _converter(convert: Callable[[str], Any], expected: str) -> Callable[[str], Any]:
    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}") from None

    return converted


_CONVERTERS = {int: _converter(int, "a whole number"), float: _converter(float, "a number")}
_METAVARS = {int: "N", float: "X"}


def check_characters(
    arguments: Sequence[str], args: argparse.Namespace, parser: argparse.ArgumentParser
) -> None:
    """`InputError` for an argument that is not UTF-8: nothing prints, tokenizes or writes it.

    Only the name of a file that is read may be such, and none where `--output` is written, which keeps them.
    """
    paths = () if getattr(args, "output", None) else _paths(args, parser)
    read = {path for flag, path in paths if flag not in WRITTEN}
    for argument in arguments:
        name = argument.partition("=")[2] if argument.startswith("--") else argument
        if half_character(argument) and name not in read:
            raise InputError(
                f"argument {argument!r}: not UTF-8: write it as UTF-8 (the name of a file that is read may "
                "have another encoding, unless --output is written)"
            )


def check_inputs(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """`InputError` if a file or folder that is to be written is also one that the run reads."""
    paths = list(_paths(args, parser))
    read = {os.path.realpath(path): flag for flag, path in paths if flag not in WRITTEN}
    for flag, path in paths:
        if flag in WRITTEN and os.path.realpath(path) in read:
            reader = read[os.path.realpath(path)]
            raise InputError(
                f"{_option(flag)} {path}: the run reads it ({_option(reader)}): name another one"
            )


def _paths(args: argparse.Namespace, parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Every value of an option for paths that is there on disk, with the name of the option."""
    for action in parser._actions:
        if not _PATHS.search(str(action.metavar)):
            continue
        value = getattr(args, action.dest, None)
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, str) and path and os.path.exists(path):
                yield action.dest, path


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
