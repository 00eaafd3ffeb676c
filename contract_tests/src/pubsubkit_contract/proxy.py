"""A TCP proxy between a client and a broker that cuts, silences and slows the connections through it."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from asyncio import Queue, StreamReader, StreamWriter

__all__ = ["Proxy"]

CHUNK_BYTES = 16 * 1024
CHUNKS_HELD = 256
"""At most this many chunks are held per connection and direction; the sender feels back-pressure beyond them."""

RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
"""The SO_LINGER value that makes closing a socket send a reset."""


@dataclass(eq=False)
class _Link:
    """One connection through the proxy; ``lossy`` from the first byte that the client was not given."""

    task: asyncio.Task[Any]
    lossy: bool = False


class Proxy:
    """A TCP proxy in front of the broker at *host* and *port*; listens inside of ``async with``, on this machine only.

    The port stays the same, and reserved, until the block is left.  The knobs may be turned at any time and hold for
    open and new connections.  Bytes that were handed to a socket before a knob was turned still arrive.  Ends of
    streams and resets travel like bytes: delayed, held and swallowed with them.  When the broker refuses a connection,
    the client sees a reset.
    """

    host: str = "127.0.0.1"
    """The address to connect to instead of the broker's."""
    port: int = 0
    """The port to connect to; 0 before the block is entered."""

    def __init__(self, host: str, port: int) -> None:
        self._broker = (host, port)
        self._seconds = 0.0
        self._passing = asyncio.Event()
        self._audible = asyncio.Event()
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None

    @property
    def connections(self) -> int:
        """How many connections are open through the proxy now."""
        return len(self._links)

    async def __aenter__(self) -> Self:
        self._reserved = self._bound()
        self.port = self._reserved.getsockname()[1]
        self.flow()
        try:
            await self.accept()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.refuse()
        finally:
            if self._reserved is not None:
                self._reserved.close()

    async def cut(self) -> None:
        """Reset every open connection on both sides; new ones are accepted.

        Returns when all are closed.  When cancelled, they are closed all the same.
        """
        tasks = [link.task for link in self._links]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def refuse(self) -> None:
        """Refuse new connections until :meth:`accept`, and :meth:`cut` the open ones."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self.cut()
        if server is not None:
            await server.wait_closed()

    async def accept(self) -> None:
        """Accept connections again, on the same port.  Does nothing when they are."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=self._bound(), start_serving=False)
            await self._server.start_serving()

    def blackhole(self) -> None:
        """Let no byte through in either direction, as in a partition of the network; what is sent is held.

        Sockets stay open; new connections are accepted and hear nothing.
        """
        self._passing.clear()
        self._audible.clear()

    def mute(self) -> None:
        """Swallow every byte of the broker from now on; bytes of the client pass."""
        self._passing.set()
        self._audible.clear()

    def flow(self) -> None:
        """Let bytes through again, first those that a :meth:`blackhole` held.

        A connection that lost bytes to :meth:`mute` is reset: TCP never goes on behind a hole.
        """
        self._passing.set()
        self._audible.set()
        for link in self._links:
            if link.lossy:
                link.task.cancel()

    def delay(self, seconds: float) -> None:
        """Deliver bytes that arrive from now on so many seconds later, in each direction; order is kept.

        This is latency and limits no bandwidth, as long as no more than 4 MiB are on their way in a direction.
        """
        self._seconds = seconds

    def _bound(self) -> socket.socket:
        """A socket on the port: the one that reserves it, or, beside that one, the one that listens."""
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            bound.bind((self.host, self.port))
        except BaseException:
            bound.close()
            raise
        return bound

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        if self._server is None or task is None:
            return await _reset(writer)
        link = _Link(task)
        self._links.add(link)
        try:
            await self._relay(link, reader, writer)
        finally:
            try:
                await _reset(writer)
            finally:
                self._links.discard(link)

    async def _relay(self, link: _Link, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await self._passing.wait()
            broker_reader, broker_writer = await asyncio.open_connection(*self._broker)
            try:
                async with asyncio.TaskGroup() as group:
                    self._connect(group, reader, broker_writer)
                    self._connect(group, broker_reader, writer, link)
                for end in (writer, broker_writer):
                    end.close()
                    await end.wait_closed()
            finally:
                await _reset(broker_writer)
        except* OSError:
            if not link.task.cancelling():
                await self._audible.wait()

    def _connect(
        self, group: asyncio.TaskGroup, reader: StreamReader, writer: StreamWriter, link: _Link | None = None
    ) -> None:
        """Pass bytes on from *reader* to *writer*; they can be swallowed when there is a *link*."""
        queue: Queue[tuple[float, bytes | OSError]] = asyncio.Queue(CHUNKS_HELD)
        group.create_task(self._read(reader, queue))
        group.create_task(self._write(queue, writer, link))

    async def _read(self, reader: StreamReader, queue: Queue[tuple[float, bytes | OSError]]) -> None:
        clock = asyncio.get_running_loop().time
        chunk: bytes | OSError = b"-"
        while isinstance(chunk, bytes) and chunk:
            try:
                chunk = await reader.read(CHUNK_BYTES)
            except OSError as error:
                chunk = error
            await queue.put((clock() + self._seconds, chunk))

    async def _write(
        self, queue: Queue[tuple[float, bytes | OSError]], writer: StreamWriter, link: _Link | None
    ) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due, chunk = await queue.get()
            await asyncio.sleep(due - clock())
            while not self._passing.is_set():
                await self._passing.wait()
            if link and (link.lossy or not self._audible.is_set()):
                link.lossy = True
            elif isinstance(chunk, OSError):
                raise chunk
            elif chunk:
                writer.write(chunk)
                await writer.drain()
            else:
                return writer.write_eof()


async def _reset(writer: StreamWriter) -> None:
    """Close at once with a reset, unless it is closed already."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
