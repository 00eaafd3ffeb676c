"""A TCP proxy between a client and a broker that cuts, silences and slows the connections through it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Self

from pubsubkit_contract.relay import Line, Relay

__all__ = ["Proxy"]


class Proxy:
    """A TCP proxy in front of the broker at *host* and *port*; listens inside of ``async with``, on this machine only.

    The port stays the same, and reserved, until the block is left.  The knobs may be turned at any time and hold for
    open and new connections.  Bytes that were handed to a socket before a knob was turned still arrive.  Ends of
    streams and resets travel like bytes: delayed, held and swallowed with them.  When the broker refuses a connection,
    the client sees a reset.  It needs an event loop with ``add_reader``; on Windows that is the selector event loop.
    """

    host: str = "127.0.0.1"
    """The address to connect to instead of the broker's."""
    port: int = 0
    """The port to connect to; 0 before the block is entered."""

    def __init__(self, host: str, port: int) -> None:
        self._broker = (host, port)
        self._line = Line()
        self._relays: set[Relay] = set()
        self._listener: socket.socket | None = None
        self._reserved: socket.socket | None = None

    @property
    def connections(self) -> int:
        """How many connections are open through the proxy now."""
        return len(self._relays)

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
        relays = list(self._relays)
        for relay in relays:
            relay.end()
        if relays:
            await asyncio.wait([relay.task for relay in relays])

    async def refuse(self) -> None:
        """Refuse new connections until :meth:`accept`, and :meth:`cut` the open ones."""
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        await self.cut()

    async def accept(self) -> None:
        """Accept connections again, on the same port.  Does nothing when they are."""
        if self._listener is None:
            self._listener = self._bound()
            self._listener.setblocking(False)
            self._listener.listen()
            asyncio.get_running_loop().add_reader(self._listener, self._welcome, self._listener)

    def blackhole(self) -> None:
        """Let no byte through in either direction, as in a partition of the network; what is sent is held.

        Sockets stay open; new connections are accepted and hear nothing.
        """
        self._line.passing.clear()
        self._line.audible.clear()

    def mute(self) -> None:
        """Swallow every byte of the broker from now on; bytes of the client pass."""
        self._line.passing.set()
        self._line.audible.clear()

    def flow(self) -> None:
        """Let bytes through again, first those that a :meth:`blackhole` held.

        A connection that lost bytes to :meth:`mute` is reset: TCP never goes on behind a hole.
        """
        self._line.passing.set()
        self._line.audible.set()
        for relay in self._relays:
            if relay.lossy:
                relay.end()

    def delay(self, seconds: float) -> None:
        """Deliver bytes that arrive from now on so many seconds later, in each direction; order is kept.

        This is latency and limits no bandwidth, as long as no more than 4 MiB are on their way in a direction.
        """
        self._line.seconds = seconds

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

    def _welcome(self, listener: socket.socket) -> None:
        """Take a connection that waits at *listener*."""
        with suppress(BlockingIOError, ConnectionAbortedError):
            client, _ = listener.accept()
            client.setblocking(False)
            relay = Relay(client, self._broker, self._line)
            self._relays.add(relay)
            relay.task.add_done_callback(lambda _: self._relays.discard(relay))
