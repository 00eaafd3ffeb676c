"""The connection to an embedded server."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from pubsubkit.errors import PubSubError
from pubsubkit_nats.embedded.store import Address, Store
from pubsubkit_nats.link import Link
from pubsubkit_nats.settings import client_arguments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pubsubkit.driver import ConnectionState
    from pubsubkit_nats.settings import NatsOptions

__all__ = ["EmbeddedLink"]

logger: logging.Logger = logging.getLogger("pubsubkit.nats")

_RETRY_SECONDS = 0.5
_ASK_SECONDS = 0.5
_T = TypeVar("_T")


class EmbeddedLink(Link):
    """Starts the server when there is none, at opening and whenever the connection is lost, and gives it up at closing.

    :param folder: its store.
    :param binary: path of ``nats-server``.
    """

    def __init__(self, options: NatsOptions, folder: Path, binary: str) -> None:
        self._store = Store(folder, binary)
        self._password = ""
        self._reviving: asyncio.Future[None] | None = None
        super().__init__(options, {**client_arguments(options), "password": lambda: self._password})

    async def open(self, on_state: Callable[[ConnectionState, Exception | None], None]) -> None:
        """See that the server runs, then connect; each within ``connect_timeout``."""
        server = await self._acquire()
        self._arguments = {**(self._arguments or {}), "servers": [_url(server)], "user": server.user}
        await super().open(on_state)
        self.listeners.add(self._changed)

    async def aclose(self) -> None:
        """Close the connection; the server ends when this was its last user, and what it had in memory goes with it."""
        if self._reviving is not None:
            self._reviving.cancel()
        try:
            in_memory = await self._bytes_in_memory()
        finally:
            try:
                await super().aclose()
            finally:
                ended = await _in_thread(self._store.release)
        if ended and in_memory:
            logger.warning(
                "the last user of nats+embedded://%s has gone, and with it %d bytes of messages in memory; "
                "in streams with storage 'file' they stay",
                self._store.folder,
                in_memory,
            )

    async def _bytes_in_memory(self) -> int:
        if not self.up:
            return 0
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                answer = await self.ask("INFO", None, "ask for what is in memory")
        except (PubSubError, TimeoutError):
            return 0
        return int(answer["memory"])

    def _changed(self, connected: bool) -> None:
        if not connected and not self.client.is_closed and (self._reviving is None or self._reviving.done()):
            self._reviving = asyncio.ensure_future(self._revive())

    async def _revive(self) -> None:
        """Start the server again if it has ended, until the connection is back, and send nats-py to where it is."""
        level = logging.WARNING
        while not self.up and not self.client.is_closed:
            try:
                self.client.set_server_pool([_url(await self._acquire())])
            except PubSubError as error:
                logger.log(level, "the embedded server is not back: %s", error)
                level = logging.DEBUG
            await asyncio.sleep(_RETRY_SECONDS)

    async def _acquire(self) -> Address:
        server = await _in_thread(lambda: self._store.acquire(self.options.connect_timeout))
        self._password = server.password
        return server


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Run *work* in a thread that ends with it; the default executor's stay, and are the application's."""
    executor = ThreadPoolExecutor(1, "pubsubkit-nats")
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
    finally:
        executor.shutdown(wait=False)


def _url(server: Address) -> str:
    return f"nats://127.0.0.1:{server.port}"
