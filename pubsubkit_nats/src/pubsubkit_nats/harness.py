"""The harness that runs the contract on NATS JetStream: a private server, or one that runs already."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pubsubkit import connect
from pubsubkit.driver import Capability
from pubsubkit.url import BackendURL, Host
from pubsubkit_contract.harness import Harness, Knob
from pubsubkit_nats.binary import find_server
from pubsubkit_nats.testing import NatsServer
from pubsubkit_nats.versions import keeps_metadata

if TYPE_CHECKING:
    from nats.aio.client import Client

    from pubsubkit_nats.embedded.store import Store

__all__ = ["NatsHarness"]

_READY_SECONDS = 20.0
_SOON = {
    "connect_timeout": "500ms",
    "heartbeat": "200ms",
    "ping_interval": "100ms",
    "reconnect_wait": "20ms",
    "request_timeout": "500ms",
}


class NatsHarness(Harness):
    """A server of its own in a temporary directory; of a server that runs already only the connection can be broken.

    An embedded server is held for the whole run.  Those who use it start it again at once, so the cases that need a
    server stopped or frozen get an ordinary one.

    :param url: the server to use; empty to start one.
    """

    knobs: frozenset[Knob]
    withheld: frozenset[Capability]
    shortest_ack_wait: float = 0.1

    def __init__(self, url: str = "") -> None:
        super().__init__(url)
        self._given = bool(url)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._server: NatsServer | None = None
        self._version: tuple[int, ...] = ()
        self._store: Store | None = None
        self._reached = BackendURL.parse(url or "nats://")
        if not url or "embedded" in self._reached.modifiers:
            self.knobs = frozenset(Knob)
        elif len(self._reached.hosts) == 1:
            self.knobs = frozenset({Knob.PROXY})

    @property
    def name(self) -> str:
        """Also before the server has an address."""
        return "nats"

    @property
    def broker(self) -> str:
        """The server's version."""
        return f"nats-server {'.'.join(map(str, self._version)) or 'unknown'}"

    @property
    def server(self) -> NatsServer:
        """The server that this harness started."""
        if self._server is None:
            raise RuntimeError("the harness has no server of its own, or was not started")
        return self._server

    async def start(self) -> None:
        """Start the server, and ask it for its version.

        :raises FileNotFoundError: there is no ``nats-server`` binary; the message says how to get one.
        """
        if not self._given:
            self._folder = tempfile.TemporaryDirectory(prefix="pubsubkit-nats-", ignore_cleanup_errors=True)
            self._server = NatsServer(Path(self._folder.name))
            await self._server.start()
            self._url = self._server.url
        self._reached = BackendURL.parse(self._url)
        if "embedded" in self._reached.modifiers:
            await self._hold()
        self._version = await _version(self._url)
        if not keeps_metadata(self._version):
            self.withheld = frozenset({Capability.MAX_DELIVER})

    async def stop(self) -> None:
        """End the server and delete its files; an embedded one is let go, and its files stay."""
        if self._store is not None:
            await asyncio.to_thread(self._store.release)
        if self._server is not None:
            with suppress(ProcessLookupError):  # it has ended by itself
                self._server.resume()
            await self._server.stop(crash=True)
        if self._folder is not None:
            self._folder.cleanup()

    def private(self) -> NatsHarness:
        """A harness with a server of its own."""
        return NatsHarness()

    async def go_down(self, *, crash: bool = False) -> None:
        """End the server by SIGTERM or, with *crash*, by ``kill -9``."""
        await self.server.stop(crash=crash)

    async def come_up(self) -> None:
        """Start it on the same port and store."""
        await self.server.start()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.server.pause()

    def thaw(self) -> None:
        """SIGCONT."""
        self.server.resume()

    def address(self) -> tuple[str, int]:
        """Host and port; NATS's own port when the URL names none."""
        host = self._reached.hosts[0]
        return host.name or "localhost", host.port or 4222

    def url_at(self, host: str, port: int) -> str:
        """The server at another address, with a client that pings often and gives up soon."""
        url = self._reached
        query = dict(url.query) | _SOON
        if {"tls", "wss"} & set(url.modifiers):
            query.setdefault("tls_hostname", self.address()[0])
        return replace(url, hosts=(Host(host, port),), query=tuple(query.items())).reveal()

    async def _hold(self) -> None:
        from pubsubkit_nats.embedded.store import Store  # not on Windows

        self._store = Store(Path(self._reached.path), find_server())
        server = await asyncio.to_thread(self._store.acquire, _READY_SECONDS)
        self._reached = replace(
            self._reached,
            modifiers=(),
            user=server.user,
            password=server.password,
            hosts=(Host("127.0.0.1", server.port),),
            path="",
        )


async def _version(url: str) -> tuple[int, ...]:
    async with connect(url) as backend:
        version = cast("Client", backend.native).connected_server_version
        return version.major, version.minor, version.patch
