"""Tables for people."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pubsubkit.cli.look import width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["table", "wrapped"]

_NARROW = 24
_INDENT = "    "


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align the columns; on a terminal the last one is wrapped, under its head or, for want of room, the whole row."""
    columns = width()
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads) - 1)]
    first = [
        "".join(cell.ljust(wide) + "  " for cell, wide in zip(row, widths, strict=False)) for row in (heads, *rows)
    ]
    return "\n".join(
        line for start, row in zip(first, (heads, *rows), strict=True) for line in _row(start, row[-1], columns)
    )


def wrapped(start: str, text: str, columns: int | None) -> Iterator[str]:
    """Give out *start* and *text* in lines of at most *columns*, those after the first indented by *start*'s length."""
    if columns is None:
        yield start + text
        return
    yield from textwrap.wrap(
        text,
        columns,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [start]


def _row(start: str, text: str, columns: int | None) -> Iterator[str]:
    if columns is None or columns - len(start) >= min(_NARROW, len(text)):
        yield from wrapped(start, text, columns)
        return
    yield start.rstrip()
    yield from wrapped(_INDENT, text, columns)
