"""What is printed for people: text that is shown as it is, and never obeyed.

An event may hold ``[/red]``, which is markup to rich, or an escape sequence, which is an order to a terminal.
"""

import os
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_WIDEST = 100_000
"""Characters of a line that are measured."""
_KEPT = "\n\t\u3000\u200c\u200d"


def plain_console(*, stderr: bool = False, **options: Any) -> Console:
    """A console of rich that takes no text for markup or an emoji's name, in tables neither. Styles need ``Text``."""
    return Console(stderr=stderr, markup=False, emoji=False, **options)


def printable(text: str) -> str:
    """The text with each character that a terminal obeys, or that nobody sees, as Python's escape for it.

    Line feeds, tabs, the ideographic space, and the joiners of scripts and emojis stay.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in _KEPT else _escape(one) for one in text)


def one_line(text: str, characters: int | None = None) -> str:
    """The text, ``printable`` and in one line: a line feed, which may begin a line of its own in a log, is escaped too.

    ``characters``: how many are kept; where there are more, the last one is ``…``.
    """
    if characters is not None and len(text) > characters:
        text = f"{text[: characters - 1]}…"
    shown = "".join(_escape(one) if one in "\n\t" else one for one in printable(text))
    return shown if characters is None or len(shown) <= characters else f"{shown[: characters - 1]}…"


def cell(value: object) -> str:
    """A value in a table: numbers with commas between thousands, nothing for None, all else as ``printable`` text."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else printable(str(value))


def lasted(time: timedelta) -> str:
    """A length of time in its largest unit, from seconds to days."""
    seconds = time.total_seconds()
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str | None = None,
    console: Console | None = None,
    *,
    lines: bool = True,
) -> None:
    """Print rows as a table where it fits, else one below the other, a line a column, as ``psql`` does for ``auto``.

    Unless a console is given, what is not a terminal, and has no ``COLUMNS``, gets a table as wide as it needs.
    ``lines``: between the columns, too, which takes room.
    """
    as_needed = console is None and "COLUMNS" not in os.environ
    console, shown = console or plain_console(), [[cell(value) for value in row] for row in rows]
    names = [printable(name) for name in columns]
    drawn = HEAVY_HEAD if lines else SIMPLE_HEAD
    table = Table(
        title=title and printable(title), title_justify="left", box=drawn, pad_edge=lines, collapse_padding=not lines
    )
    for name in names:
        table.add_column(name, overflow="fold")
    for row in shown:
        table.add_row(*row)
    needed = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    if as_needed and not console.is_terminal:
        console.width = max(console.width, needed)
    if needed <= console.width:
        console.print(table)
        return
    if title:
        console.print(printable(title), highlight=False)
    for number, row in enumerate(shown, 1):
        below = Table(title=f"{number} of {len(shown)}", title_justify="left", show_header=False, box=None)
        below.add_column(no_wrap=True)
        below.add_column(overflow="fold")
        for name, value in zip(names, row, strict=True):
            below.add_row(name, value)
        console.print(below)


def _escape(one: str) -> str:
    return one.encode("unicode_escape").decode()
