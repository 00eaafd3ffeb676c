"""The whole of a terminal for one command, and the keys that are pressed meanwhile."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

__all__ = ["draw", "whole_screen"]

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@contextmanager
def whole_screen(leave: Callable[[], None]) -> Generator[None]:
    """Take the terminal's second screen: what was on the first one is there again afterwards.

    :param leave: called when q is pressed.
    """
    with _keys(leave):
        sys.stdout.write(_ENTER)
        try:
            yield
        finally:
            sys.stdout.write(_LEAVE)
            sys.stdout.flush()


def draw(lines: Sequence[str]) -> None:
    """Show *lines* in place of what was on the screen before."""
    sys.stdout.write(_HOME + "".join(f"{line}{_REST_OF_LINE}\r\n" for line in lines) + _REST_OF_SCREEN)
    sys.stdout.flush()


@contextmanager
def _keys(leave: Callable[[], None]) -> Generator[None]:
    if sys.platform == "win32" or sys.stdin is None or not sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison] - None if closed
        yield
        return
    import termios
    import tty

    stdin, loop = sys.stdin.fileno(), asyncio.get_running_loop()

    def pressed() -> None:
        keys = os.read(stdin, 1024)
        if not keys:
            loop.remove_reader(stdin)
        elif b"q" in keys:
            leave()

    before = termios.tcgetattr(stdin)
    tty.setcbreak(stdin)
    loop.add_reader(stdin, pressed)
    try:
        yield
    finally:
        loop.remove_reader(stdin)
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
