"""How far long work is: a line on a terminal that is drawn anew a few times a second."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from pubsubkit.cli.stopping import Stop

__all__ = ["Tally", "shown"]

_SECONDS = 0.2
_CLEAR = "\r\x1b[K"


class Tally:
    """Counts what is stored; a failure asks the command to stop."""

    def __init__(self, stop: Stop) -> None:
        self.stored: int = 0
        self.duplicates = 0
        """How many of the stored ones the broker had already."""
        self._stop = stop
        self._started = time.perf_counter()

    def start(self) -> None:
        """Begin to measure the time."""
        self._started = time.perf_counter()

    def summary(self, stream: str) -> str:
        """Return what was done in one line."""
        noun = "1 message" if self.stored == 1 else f"{self.stored} messages"
        if not stream:
            return f"published {noun}"
        seconds = time.perf_counter() - self._started
        text = f"published {noun} to stream {stream} in {seconds:.2f} s ({self._rate():.0f}/s)"
        return text + (f", {self.duplicates} of them stored before under the same id" if self.duplicates else "")

    def on_publish(self, _subject: str, error: BaseException | None, _latency: float) -> None:
        """For ``PublisherOptions.on_publish``."""
        if error is None:
            self.stored += 1
        else:
            self._stop.ask()

    def line(self) -> str:
        """Return how far it is."""
        seconds = time.perf_counter() - self._started
        return f"{self.stored} published, {self._rate():.0f}/s, {seconds:.1f} s"

    def _rate(self) -> float:
        return self.stored / max(time.perf_counter() - self._started, 1e-9)


@asynccontextmanager
async def shown(line: Callable[[], str]) -> AsyncGenerator[None]:
    """Show *line* on stderr meanwhile, if that is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():  # pyright: ignore[reportUnnecessaryComparison] - None if closed
        yield
        return
    drawing = asyncio.create_task(_draw(line))
    try:
        yield
    finally:
        drawing.cancel()
        _write(_CLEAR)


async def _draw(line: Callable[[], str]) -> None:
    while True:
        await asyncio.sleep(_SECONDS)
        _write(_CLEAR + line()[: shutil.get_terminal_size().columns - len("^C") - 1])


def _write(text: str) -> None:
    click.echo(text, err=True, nl=False, color=True)  # NO_COLOR must not take the control sequence out
