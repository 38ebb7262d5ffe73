"""One self-contained HTML file, for phones and desktops, light and dark, and what it is made of.

A page loads nothing and runs only its own script; its policy forbids everything else, so that texts and names
from outside can do no harm.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqb_tf.json_text import to_json

_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
STYLE, SCRIPT = (
    Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
)


def document(title: str, parts: Iterable[str]) -> str:
    """The file, from the parts of its body."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{"".join([f"<h1>{text(title)}</h1>", *parts])}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def table(
    caption: str, rows: Sequence[Sequence[str]], classes: Mapping[str, str] | None = None
) -> str:
    """A table that scrolls within the page, sorted by a click on a header.

    Args:
        caption: above it.
        rows: the headers, then the cells.
        classes: header -> CSS classes of its column, "words" or "words sentence"; others are numbers.
    """
    styles = [f' class="{(classes or {}).get(header, "number")}"' for header in rows[0]]
    head = (
        f'<th scope="col"{style}><button type="button">{text(header)}</button></th>'
        for header, style in zip(rows[0], styles, strict=True)
    )
    body = (
        "".join(f"<td{style}>{text(cell)}</td>" for cell, style in zip(row, styles, strict=True))
        for row in rows[1:]
    )
    lines = "".join(f"<tr>{row}</tr>\n" for row in body)
    # In the tab order, so that it can be scrolled by keyboard.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(caption)}">\n'
        f"<table>\n<caption>{text(caption)}</caption>\n<thead><tr>{''.join(head)}</tr></thead>\n"
        f"<tbody>\n{lines}</tbody>\n</table>\n</div>\n"
    )


def bullets(style: str, lines: Sequence[str]) -> str:
    """A list of the CSS class `style`; nothing for no lines."""
    items = "".join(f"<li>{text(line)}</li>\n" for line in lines)
    return f'<ul class="{style}">\n{items}</ul>\n' if lines else ""


def card(facts: Mapping[str, str]) -> str:
    """Terms and what is known of them; those without a fact are left out."""
    lines = (
        f"<dt>{text(term)}</dt><dd>{text(fact)}</dd>\n" for term, fact in facts.items() if fact
    )
    return f'<dl class="card">\n{"".join(lines)}</dl>\n'


def download(title: str, file_name: str, data: Any) -> str:
    """JSON data in the page, and a link that saves it. Without `<` it cannot end its element."""
    content = to_json(data, ascii=True).replace("<", "\\u003c")
    return (
        f"<h2>{text(title)}</h2>\n"
        f'<p><a class="button" id="download" download="{file_name}" href="#data">Save {file_name}</a></p>\n'
        f'<script type="application/json" id="data">{content}</script>\n'
    )


def text(content: str) -> str:
    """Text as HTML."""
    return html.escape(printable(content))


def printable(content: str) -> str:
    """Text on one line, without characters that would move a terminal's cursor or break an SVG.

    White space becomes spaces; what joins letters and emoji stays.
    """
    if content.isprintable():
        return content
    return "".join(map(_printable, content))


def _printable(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
