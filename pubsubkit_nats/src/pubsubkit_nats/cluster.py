"""Three real ``nats-server`` processes as one cluster, for tests of leader changes, lost nodes and maintenance."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from itertools import islice
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from pubsubkit_nats.started import Started
from pubsubkit_nats.testing import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["NatsCluster"]

_SIZE = 3
_PORTS = range(20_000, 32_000)
"""None that systems give to outgoing connections, one of which could take the port of a server that is down."""
_ELECTION_SECONDS = 30.0
_ANSWER_SECONDS = 0.25
_POLL_SECONDS = 0.02
_NO_LEADER = 503


class NatsCluster(Started):
    """Three servers with JetStream, joined by routes, on this machine; an async context manager.

    :param directory: each server has a folder in it; existing stores are taken up again.
    :param config: lines for the configuration of each server; clients without credentials must be able to connect.
    """

    def __init__(self, directory: Path, config: str = "") -> None:
        self.directory = directory
        self.nodes: tuple[NatsServer, ...] = ()
        """The servers; each can be stopped, killed, frozen and started again by itself.  Empty before the start."""
        self._config = config

    async def __aexit__(self, *_: object) -> None:
        await self.stop(crash=True)

    @property
    def url(self) -> str:
        """A URL with all three hosts."""
        return "nats://" + ",".join(node.address for node in self.nodes)

    async def start(self) -> None:
        """Start every server that does not run, on the ports it had, and wait for the leader of JetStream's meta group.

        :raises RuntimeError: a server ended at its start; the message has the end of its log.
        :raises TimeoutError: no leader within half a minute.
        """
        self.nodes = self.nodes or self._make_nodes()
        starting = (node.start() for node in self.nodes if not node.running)
        for outcome in await asyncio.gather(*starting, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        await self._ask("INFO")  # only the leader answers this

    async def stop(self, *, crash: bool = False) -> None:
        """End all servers by SIGTERM, or by ``kill -9`` with *crash*."""
        await asyncio.gather(*(node.stop(crash=crash) for node in self.nodes))

    def node_of(self, client: Client) -> NatsServer:
        """The server to which a nats-py client is connected; see ``Backend.native``.

        :raises LookupError: it is connected to none of them.
        """
        address = client.connected_url.netloc if client.connected_url else None
        for node in self.nodes:
            if node.address == address:
                return node
        raise LookupError(f"the client is connected to none of {self.url}, but to {address}")

    async def leader(self, stream: str, consumer: str = "") -> NatsServer:
        """The server that leads *stream*, or its *consumer*, waiting for an election to end.

        :raises RuntimeError: the server's reason, when there is no such stream or consumer.
        :raises TimeoutError: no leader within half a minute.
        """
        found = await self._group(stream, consumer, lambda group: bool(group.get("leader")))
        return next(node for node in self.nodes if node.directory.name == found["leader"])

    async def in_step(self, stream: str, consumer: str = "") -> None:
        """Return when all replicas of *stream*, or of its *consumer*, have what the leader has.

        :raises RuntimeError: the server's reason, when there is no such stream or consumer.
        :raises TimeoutError: they have not within half a minute.
        """
        await self._group(stream, consumer, _is_in_step)

    async def step_down(self, stream: str, consumer: str = "", *, to: NatsServer | None = None) -> None:
        """Make the leader of *stream*, or of its *consumer*, hand over: to the server *to*, or to any other.

        A server that is not :meth:`in_step` yet may fail to take over, and then there is an election.

        :raises RuntimeError: the server's reason for refusing.
        :raises TimeoutError: no leader within half a minute.
        """
        kind, name = _names(stream, consumer)
        body = {"placement": {"preferred": to.directory.name}} if to else None
        await self._ask(f"{kind}.LEADER.STEPDOWN.{name}", body)

    def _make_nodes(self) -> tuple[NatsServer, ...]:
        ports = _free_ports(_SIZE)
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        return tuple(
            NatsServer(
                self.directory / name,
                f"server_name: {name}\n"
                f'cluster {{ name: pubsubkit, listen: "127.0.0.1:{port}", routes: [{routes}] }}\n{self._config}',
            )
            for name, port in zip(("n1", "n2", "n3"), ports, strict=True)
        )

    async def _group(self, stream: str, consumer: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What the leader of a stream or consumer says of its Raft group, once that is as *wanted*."""
        kind, name = _names(stream, consumer)
        async with asyncio.timeout(_ELECTION_SECONDS):
            while True:
                group: dict[str, Any] = (await self._ask(f"{kind}.INFO.{name}")).get("cluster", {})
                if wanted(group):
                    return group
                await asyncio.sleep(_POLL_SECONDS)

    async def _ask(self, subject: str, body: object = None) -> dict[str, Any]:
        """Ask the JetStream API, as often as it takes to reach a leader."""
        payload = b"" if body is None else json.dumps(body).encode()
        async with asyncio.timeout(_ELECTION_SECONDS):
            while True:
                try:
                    answer = await self._ask_once(f"$JS.API.{subject}", payload)
                except (NatsError, OSError):  # TimeoutError is an OSError
                    answer = {"error": {"code": _NO_LEADER}}
                error: dict[str, Any] = answer.get("error", {})
                if not error:
                    return answer
                if error["code"] != _NO_LEADER:
                    raise RuntimeError(f"{subject}: {error['description']}")
                await asyncio.sleep(_POLL_SECONDS)

    async def _ask_once(self, subject: str, payload: bytes) -> dict[str, Any]:
        client = Client()
        servers = [node.url for node in self.nodes if node.running]
        try:
            await client.connect(servers=servers, allow_reconnect=False, connect_timeout=1, error_cb=_ignore)
            result: dict[str, Any] = json.loads((await client.request(subject, payload, timeout=_ANSWER_SECONDS)).data)
        finally:
            await client.close()
        return result


async def _ignore(_: Exception) -> None:
    """Another server is asked, or the same one again."""


def _is_in_step(group: dict[str, Any]) -> bool:
    replicas: list[dict[str, Any]] = group.get("replicas") or []
    return bool(group.get("leader")) and all(replica["current"] and not replica.get("offline") for replica in replicas)


def _names(stream: str, consumer: str) -> tuple[str, str]:
    return ("CONSUMER", f"{stream}.{consumer}") if consumer else ("STREAM", stream)


def _free_ports(count: int) -> list[int]:
    """Ports for the routes, which every server must know beforehand."""
    return list(islice(filter(_is_free, SystemRandom().sample(_PORTS, len(_PORTS))), count))


def _is_free(port: int) -> bool:
    with socket.socket() as trial, suppress(OSError):
        trial.bind(("127.0.0.1", port))
        return True
    return False
