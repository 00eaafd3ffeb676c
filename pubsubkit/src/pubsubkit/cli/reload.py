"""``--reload``: runs the same command line in a process of its own, and starts it anew when a file changes."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from pubsubkit.cli import stopping
from pubsubkit.cli.failure import DONE, WRONG_INPUT, CommandError
from pubsubkit.cli.stopping import Stopped

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from pubsubkit.cli.stopping import Stop

__all__ = ["run"]

_END_SECONDS = 5.0
"""For so long a process may finish before it is killed; whoever develops does not want to wait for the grace time."""


def run(directory: Path) -> int:
    """Run this process' command line without ``--reload`` until it is stopped by a signal.

    :param directory: whose Python files are watched, with all below it.
    :raises CommandError: watchfiles is not installed.
    """
    try:
        import watchfiles
    except ImportError as error:
        text = "--reload needs watchfiles; install it with: pip install 'pubsubkit[reload]'"
        raise CommandError(text, WRONG_INPUT) from error
    changes = watchfiles.awatch(  # pyright: ignore[reportUnknownMemberType] - it names trio, which is not here
        directory, watch_filter=watchfiles.PythonFilter()
    )
    command = [sys.executable, "-m", "pubsubkit.cli", *(each for each in sys.argv[1:] if each != "--reload")]
    return stopping.run(lambda stop: _run_again_and_again(stop, changes, command))


async def _run_again_and_again(stop: Stop, changes: AsyncGenerator[object], command: list[str]) -> int:
    while not stop.asked:
        # In a session of its own, so that Ctrl-C reaches it once only: from here.
        process = await asyncio.create_subprocess_exec(*command, start_new_session=True)
        try:
            with suppress(Stopped):
                await stop.race(_next(changes))
                click.echo("a file has changed: starting anew", err=True)
        finally:
            await _end(process, None if stop.asked else _END_SECONDS)
    return DONE


async def _next(changes: AsyncGenerator[object]) -> None:
    await anext(changes)


async def _end(process: Process, seconds: float | None) -> None:
    """Let it end gracefully, within *seconds*."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    except asyncio.CancelledError:  # by a second signal, of which it is told as well
        with suppress(ProcessLookupError):
            process.terminate()
        raise
