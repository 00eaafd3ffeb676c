"""What ``pub`` and ``sub`` have in common: opening the broker and choosing the stream."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from pubsubkit.backend import connect
from pubsubkit.cli.logs import records_hidden
from pubsubkit.errors import NotFoundError, TransientError
from pubsubkit.options import Storage, StreamOptions
from pubsubkit.url import BackendURL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pubsubkit.backend import Backend
    from pubsubkit.cli.stopping import Stop

__all__ = ["STORAGE", "UNREACHABLE", "choose_stream", "first_token", "opened"]

STORAGE = click.option(
    "--storage",
    type=click.Choice([each.value for each in Storage]),
    help="Where a missing stream is created.  [default: memory]",
)
"""The option ``--storage``."""
UNREACHABLE = "is the broker running, and are host and port right?"
"""What to do when it cannot be reached."""


@asynccontextmanager
async def opened(stop: Stop, url: str) -> AsyncGenerator[Backend]:
    """Open the backend of *url*; connecting is given up on the request to stop."""
    backend = connect(url)
    try:
        with records_hidden():
            try:
                await stop.race(backend.open())
            except TransientError as error:
                if not BackendURL.parse(url).hosts:
                    raise
                raise TransientError(f"{error}; {UNREACHABLE}") from error
        yield backend
    finally:
        await backend.aclose()


def first_token(pattern: str) -> str:
    """Return the first token of a subject or filter; empty when it is a wildcard."""
    token = pattern.partition(".")[0]
    return "" if token in ("*", ">") else token


async def choose_stream(backend: Backend, name: str, pattern: str, storage: str | None) -> StreamOptions:
    """Return the stream as it is, or as it is to be created for *pattern*, which is told: its name may be misspelt.

    :param storage: where it must be; None for wherever it is, or memory when it is created.
    """
    try:
        found = (await backend.stream_info(name)).options
    except NotFoundError:
        token = first_token(pattern) or name
        click.echo(f"there is no stream {name} yet: creating it ({storage or 'memory'} storage)", err=True)
        subjects = (f"{token}.>",) if pattern != token else (token, f"{token}.>")
        return StreamOptions(name=name, subjects=subjects, storage=Storage(storage or Storage.MEMORY))
    return StreamOptions(name=name, subjects=found.subjects, storage=Storage(storage or found.storage))
