"""One connection through the proxy: what is read on one side is written on the other, as the line lets it."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

__all__ = ["Line", "Relay"]

CHUNK_BYTES = 16 * 1024
CHUNKS_HELD = 256
"""At most this many chunks are held per connection and direction; the sender feels back-pressure beyond them."""

RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
"""The SO_LINGER value that makes closing a socket send a reset."""

Chunks: TypeAlias = "asyncio.Queue[tuple[float, bytes | OSError]]"
"""Bytes, ``b""`` for the end or an error, each with the time at which it is due."""


@dataclass
class Line:
    """The state of the network between clients and broker."""

    passing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while bytes travel at all."""
    audible: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while clients hear the broker."""
    seconds: float = 0.0
    """How long bytes travel."""


class Relay:
    """Passes on what *client* and the broker at the address *broker* say, until both have ended or :meth:`end`."""

    task: asyncio.Task[None]
    """Ends when both sockets are closed."""
    lossy: bool = False
    """Whether the client was not given something of what the broker said."""

    def __init__(self, client: socket.socket, broker: tuple[str, int], line: Line) -> None:
        self._client = client
        self._broker = broker
        self._line = line
        self._ended = False
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(lambda _: client.close())

    def end(self) -> None:
        """Reset both sides soon; wait for the task to see it done."""
        self._ended = True
        _prepare_reset(self._client)
        self.task.cancel()

    async def _run(self) -> None:
        reader, writer = await asyncio.open_connection(sock=self._client)
        try:
            await self._join(reader, writer)
        finally:
            await _reset(writer)

    async def _join(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await self._line.passing.wait()
            broker_reader, broker_writer = await asyncio.open_connection(*self._broker)
            try:
                async with asyncio.TaskGroup() as group:
                    self._connect(group, reader, broker_writer, heard=False)
                    self._connect(group, broker_reader, writer, heard=True)
                for end in (writer, broker_writer):
                    end.close()
                    await end.wait_closed()
            finally:
                await _reset(broker_writer)
        except* OSError:
            if not self._ended:
                await self._line.audible.wait()

    def _connect(self, group: asyncio.TaskGroup, reader: StreamReader, writer: StreamWriter, *, heard: bool) -> None:
        """Pass bytes on from *reader* to *writer*, which is the client when they are *heard*."""
        chunks: Chunks = asyncio.Queue(CHUNKS_HELD)
        group.create_task(self._read(reader, chunks))
        group.create_task(self._write(chunks, writer, heard=heard))

    async def _read(self, reader: StreamReader, chunks: Chunks) -> None:
        clock = asyncio.get_running_loop().time
        chunk: bytes | OSError = b"-"
        while isinstance(chunk, bytes) and chunk:
            try:
                chunk = await reader.read(CHUNK_BYTES)
            except OSError as error:
                chunk = error
            await chunks.put((clock() + self._line.seconds, chunk))

    async def _write(self, chunks: Chunks, writer: StreamWriter, *, heard: bool) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due, chunk = await chunks.get()
            await asyncio.sleep(due - clock())
            while not self._line.passing.is_set():
                await self._line.passing.wait()
            if heard and (self.lossy or not self._line.audible.is_set()):
                self.lossy = True
            elif isinstance(chunk, OSError):
                raise chunk
            elif chunk:
                writer.write(chunk)
                await writer.drain()
            else:
                return writer.write_eof()


def _prepare_reset(client: socket.socket) -> None:
    """Let *client* send a reset when it is closed."""
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


async def _reset(writer: StreamWriter) -> None:
    """Close at once with a reset, unless it is closed already."""
    _prepare_reset(writer.get_extra_info("socket"))
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
