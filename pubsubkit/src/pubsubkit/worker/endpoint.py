"""``/live`` and ``/ready`` for who starts and watches processes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from pubsubkit.errors import ConfigurationError

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncGenerator, Callable

    from pubsubkit.worker.state import WorkerHealth

__all__ = ["serve_health"]

logger: logging.Logger = logging.getLogger("pubsubkit.worker")

_LONGEST_REQUEST = 8192
_MOST_CLIENTS = 64
_CLIENT_SECONDS = 5.0


@asynccontextmanager
async def serve_health(look: Callable[[], WorkerHealth], host: str, port: int) -> AsyncGenerator[int]:
    """Answer ``GET /live`` and ``GET /ready`` by 200 or 503 and the health as JSON; yield the port.

    A client has some seconds for its request, and one request for its connection; too many at the same time are
    turned away.

    :param port: 0 for any that is free.
    :raises ConfigurationError: nothing can be served there.
    """
    clients = _Clients(look)
    try:
        server = await asyncio.start_server(clients.accept, host, port, limit=_LONGEST_REQUEST)
    except (OSError, OverflowError) as error:
        raise ConfigurationError(f"cannot serve health on {host}:{port}: {error}") from error
    found = int(server.sockets[0].getsockname()[1])
    logger.info("health is served on http://%s:%d/live and /ready", host, found)
    try:
        yield found
    finally:
        server.close()
        await clients.end()
        await server.wait_closed()


class _Clients:
    """Those that are connected."""

    def __init__(self, look: Callable[[], WorkerHealth]) -> None:
        self._look = look
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer a client that has connected."""
        if len(self._tasks) >= _MOST_CLIENTS:
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Hang up."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            async with asyncio.timeout(_CLIENT_SECONDS):
                writer.write(await self._answer(reader))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        method, target, version = [*head.partition(b"\r\n")[0].split(b" "), b"", b""][:3]
        if not version.startswith(b"HTTP/1."):
            return _response(HTTPStatus.BAD_REQUEST)
        if method not in {b"GET", b"HEAD"}:
            return _response(HTTPStatus.METHOD_NOT_ALLOWED)
        health = self._look()
        good = {b"/live": health.live, b"/ready": health.ready}.get(target.partition(b"?")[0])
        if good is None:
            return _response(HTTPStatus.NOT_FOUND)
        body = json.dumps(dataclasses.asdict(health)).encode() + b"\n"
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        return _response(status, body, bodiless=method == b"HEAD")


def _response(status: HTTPStatus, body: bytes = b"", *, bodiless: bool = False) -> bytes:
    body = body or json.dumps({"error": status.phrase}).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if bodiless else body)
