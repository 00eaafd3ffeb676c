"""The driver that ``sqlite://`` opens."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pubsubkit import Capability, ConnectionState, PubSubError, TransientError
from pubsubkit.driver import Driver
from pubsubkit.params import duration, param, text
from pubsubkit_sqlite import consumers, streams
from pubsubkit_sqlite.database import Database, FileGoneError
from pubsubkit_sqlite.subscription import SqliteSubscription

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from pubsubkit import ConsumerInfo, OutgoingMessage, PublishReceipt, StreamInfo, StreamOptions
    from pubsubkit.driver import ConsumerSpec
    from pubsubkit.url import BackendURL

__all__ = ["SqliteDriver", "SqliteOptions"]

_T = TypeVar("_T")
_LEVELS = ("off", "normal", "full", "extra")


@dataclass(frozen=True, kw_only=True)
class SqliteOptions:
    """The parameters of ``sqlite:///path``."""

    synchronous: str = param("full", doc="SQLite's pragma: normal, faster, may lose the end at a power cut", parse=text)
    busy_timeout: float = param(5.0, doc="how long to wait for another writer", parse=duration)
    poll: float = param(0.02, doc="how often to look for what other processes have written", parse=duration)

    def __post_init__(self) -> None:
        if self.synchronous not in _LEVELS:
            raise ValueError(f"synchronous={self.synchronous!r}: expected one of {', '.join(_LEVELS)}")
        if not 0 < self.poll < math.inf:
            raise ValueError(f"poll={self.poll!r}: expected seconds above 0")


class SqliteDriver(Driver):
    """One connection to the file.  Writers take turns; each call is one transaction."""

    API_VERSION = 1
    OPTIONS = SqliteOptions
    HARNESS = "pubsubkit_sqlite.testing:SqliteHarness"

    capabilities = frozenset(Capability) - {Capability.REMOTE}
    error_table: Mapping[type[Exception], type[PubSubError]] = MappingProxyType(
        {sqlite3.OperationalError: TransientError, TimeoutError: TransientError}
    )
    max_payload = 64 * 1024 * 1024

    def __init__(self, path: Path, options: SqliteOptions) -> None:
        self.address = f"sqlite://{path}"
        self.changes = 0
        """Grows with every change of the file; members that wait look again then."""
        self.connected = True
        """Whether the file was there when it was last used."""
        self._on_state: Callable[[ConnectionState, Exception | None], None] | None = None
        self._poll = options.poll
        self._file = Database(path, options.busy_timeout, options.synchronous)
        self._waiting: set[asyncio.Future[None]] = set()
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    def from_url(cls, url: BackendURL, options: SqliteOptions) -> Self:
        """Make a driver for the file that the URL names."""
        if url.hosts or url.user is not None or url.password is not None or not url.path.strip("/"):
            raise url.fail(["expected the path of a file after three slashes: sqlite:///path/events.db"])
        return cls(Path(url.path), options)

    @property
    def native(self) -> sqlite3.Connection | None:
        """SQLite's connection, which belongs to the driver's thread."""
        return self._file.connection

    async def open(self, on_state: Callable[[ConnectionState, Exception | None], None]) -> None:
        """Open the file, or create it."""
        await self.ping()
        self._on_state = on_state

    async def aclose(self) -> None:
        """Close the file."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._file.close()

    async def ping(self) -> None:
        """See that the file is there."""
        await self._watched(self._file.version())

    async def stream_info(self, name: str) -> StreamInfo | None:
        """The stream, or None."""
        return await self.read(partial(streams.info, name=name))

    async def list_streams(self) -> Sequence[StreamInfo]:
        """All streams."""
        found = [await self.stream_info(name) for name in await self.read(streams.names)]
        return [info for info in found if info is not None]

    async def list_consumers(self, stream: str) -> Sequence[ConsumerInfo] | None:
        """All consumers of a stream, or None."""
        if await self.read(partial(streams.find, name=stream)) is None:
            return None
        names = await self.read(partial(consumers.names, stream=stream))
        found = [await self.consumer_info(stream, name) for name in names]
        return [info for info in found if info is not None]

    async def create_stream(self, options: StreamOptions) -> None:
        """Create it."""
        await self.write(partial(streams.create, options=options))

    async def update_stream(self, options: StreamOptions) -> None:
        """Change all but its storage."""
        await self.write(partial(streams.update, options=options))

    async def delete_stream(self, name: str) -> bool:
        """Delete it; False when there was none."""
        return await self.write(partial(streams.delete, name=name))

    async def consumer_info(self, stream: str, name: str) -> ConsumerInfo | None:
        """The consumer, or None."""
        return await self.read(partial(consumers.info, stream=stream, name=name))

    async def create_consumer(self, spec: ConsumerSpec) -> None:
        """Create it."""
        await self.write(partial(consumers.create, spec=spec))

    async def update_consumer(self, spec: ConsumerSpec) -> None:
        """Change all but where it started."""
        await self.write(partial(consumers.update, spec=spec))

    async def delete_consumer(self, stream: str, name: str) -> bool:
        """Delete it; False when there was none."""
        return await self.write(partial(consumers.delete, stream=stream, name=name))

    async def send(self, messages: Sequence[OutgoingMessage], timeout: float) -> Sequence[PublishReceipt | Exception]:
        """Store all in one transaction; a file that was moved away is waited for."""
        store = partial(streams.publish, messages=messages)
        async with asyncio.timeout(timeout):
            while True:
                with suppress(FileGoneError):
                    return await self.write(store)
                await asyncio.sleep(self._poll)

    async def subscribe(self, spec: ConsumerSpec, buffer: int) -> SqliteSubscription:  # noqa: ARG002 - nothing is buffered
        """Join the consumer."""
        return SqliteSubscription(self, await self.read(partial(consumers.join, spec=spec)), spec)

    async def read(self, job: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run *job*, which brings nobody a message."""
        return await self._watched(self._file.run(job))

    async def write(self, job: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run *job*, and let all members that wait look again, unless it cannot have changed anything."""
        try:
            result = await self._watched(self._file.run(job))
        except FileGoneError:
            raise
        except BaseException:
            self._wake()
            raise
        self._wake()
        return result

    async def changed(self, since: int, due: float | None) -> None:
        """Return when :attr:`changes` is not *since* any more, or at the time *due*."""
        if self.changes != since:
            return
        if self._watch is None or self._watch.done():
            self._watch = asyncio.ensure_future(self._look())
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - time.time())):
                    await waiter
        finally:
            self._waiting.discard(waiter)

    async def _watched(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Tell when the file is gone, and when it is back."""
        try:
            result = await work
        except FileGoneError as error:
            self._report(ConnectionState.DISCONNECTED, error)
            raise
        self._report(ConnectionState.CONNECTED, None)
        return result

    def _report(self, state: ConnectionState, error: Exception | None) -> None:
        if self.connected != (state is ConnectionState.CONNECTED):
            self.connected = not self.connected
            if self._on_state is not None:
                self._on_state(state, error)

    def _wake(self) -> None:
        self.changes += 1
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def _look(self) -> None:
        """While somebody waits, look whether other connections have changed the file."""
        seen = -1
        while self._waiting:
            try:
                version = await self._watched(self._file.version())
            except (PubSubError, sqlite3.Error):
                version = -1
            if version != seen:
                seen = version
                self._wake()
            await asyncio.sleep(self._poll)
