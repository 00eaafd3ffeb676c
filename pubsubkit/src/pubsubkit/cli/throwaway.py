"""A stream of a command's own, deleted when the command is through, also when that ends badly."""

from __future__ import annotations

import logging
import secrets
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from pubsubkit.errors import PubSubError, TransientError
from pubsubkit.options import Storage, StreamOptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pubsubkit.backend import Backend

__all__ = ["throwaway_stream"]

logger: logging.Logger = logging.getLogger("pubsubkit.cli")


@asynccontextmanager
async def throwaway_stream(
    backend: Backend, purpose: str, storage: Storage = Storage.MEMORY
) -> AsyncGenerator[StreamOptions]:
    """Create the stream ``pubsubkit-PURPOSE-…`` with the subjects below its name, and delete it afterwards.

    :raises PubSubError: it cannot be created, or all went well and it cannot be deleted.
    """
    stream = StreamOptions(name=f"pubsubkit-{purpose}-{secrets.token_hex(4)}", storage=storage)
    try:
        await backend.ensure_stream(stream)
    except BaseException as error:
        if not isinstance(error, PubSubError) or isinstance(error, TransientError):  # it may have been created
            with suppress(PubSubError):
                await _delete(backend, stream.name)
        raise
    try:
        yield stream
    except BaseException:
        with suppress(PubSubError):
            await _delete(backend, stream.name)
        raise
    await _delete(backend, stream.name)


async def _delete(backend: Backend, name: str) -> None:
    try:
        await backend.delete_stream(name)
    except PubSubError:
        logger.error("stream %s may still be on the broker; delete it", name)  # noqa: TRY400 - the error is raised
        raise
