"""Prints docs/commands.md, every command's options by group, from the parsers that `--help` comes from.

python -m sqb_tools.commands_page > docs/commands.md
"""

import argparse
import importlib
from collections.abc import Iterator

from sqb_tf.terminal import show
from sqb_tools.__main__ import NAMES, summary
from sqb_tools.arguments import OutputOptions, Parser

INTRODUCTION = """<!-- Written by `make docs` (tools/commands_page.py): edit the options' help texts. -->
# Commands

`sqb NAME ...` runs a command of an installed package; in a checkout `python tools/NAME.py ...` does the same.
Progress and log messages go to standard error, results to standard output. Exit codes: 0 done, 1 ran but
missed its bound, 2 bad input or usage, 130 interrupted.

Every command takes these options:
"""


def page() -> str:
    """The whole page."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    shared = Parser(prog="sqb").add_options(OutputOptions)
    yield INTRODUCTION
    yield from _table(list(shared._actions[1:]))  # without --help
    yield ""
    for name in NAMES:
        yield f"- [{name}](#{name}): {summary(name)}"
    for name in NAMES:
        parser = importlib.import_module(f"sqb_tools.{name}").flags()
        yield from ("", f"## {name}", "", summary(name))
        yield from _groups(parser)
        for command, command_parser in parser.commands.items():
            yield from ("", f"### {name} {command}", "", command_parser.description)
            yield from _groups(command_parser)
        if parser.epilog:
            yield from ("", "```text", parser.epilog, "```")


def _groups(parser: Parser) -> Iterator[str]:
    shared = set(OutputOptions.__dataclass_fields__)
    for group in parser._action_groups:
        actions = [a for a in group._group_actions if a.dest not in (*shared, "help", "command")]
        if actions:
            yield from ("", f"**{(group.title or '').capitalize()}**", "")
            yield from _table(actions)


def _table(actions: list[argparse.Action]) -> Iterator[str]:
    yield "| option | meaning |"
    yield "| --- | --- |"
    for action in actions:
        names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.dest}`"
        required = " (required)" if action.required and action.option_strings else ""
        metavar = f" `{action.metavar}`" if action.metavar else ""
        meaning = (action.help or "").replace("%%", "%").replace("|", "\\|")
        yield f"| {names}{metavar} | {meaning}{required} |"


if __name__ == "__main__":
    show(page(), end="")
