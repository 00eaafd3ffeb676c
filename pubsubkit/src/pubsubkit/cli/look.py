"""How output looks: in colours or without, and as wide as the terminal."""

from __future__ import annotations

import os
import shutil
import sys

import click

__all__ = ["bad", "coloured", "good", "width"]


def coloured() -> bool | None:
    """Whether to use colours: never with ``NO_COLOR``, else always with ``FORCE_COLOR``; None: on a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return False if os.environ.get("TERM") == "dumb" else None


def good(text: str) -> str:
    """Colour what is as it should be; ``click.echo`` takes the colour out again where there is to be none."""
    return click.style(text, fg="green")


def bad(text: str) -> str:
    """Colour what is not."""
    return click.style(text, fg="red", bold=True)


def width() -> int | None:
    """The columns of the terminal that stdout is; None when it is none, and lines are as long as they are."""
    out = sys.stdout
    return shutil.get_terminal_size().columns if out is not None and out.isatty() else None  # pyright: ignore[reportUnnecessaryComparison] - None if closed
