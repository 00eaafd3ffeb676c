"""The least that a client takes: an asyncio protocol that knows INFO, MSG, PING and PONG, for one message at a time."""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from contenders.work import Post, Work, contender, trips

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from contenders.work import Run

__all__ = ["bare_client"]

_CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"protocol":1}\r\n'
_END = b"\r\n"


class Bare(asyncio.Protocol):
    """One connection; *sink* gets the reply subject and the data of every message."""

    def __init__(self, sink: Callable[[bytes, bytes], None]) -> None:
        self._sink = sink
        self._left = b""
        self._pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(_CONNECT)

    def publish(self, subject: str, data: bytes, reply: str = "") -> None:
        self._transport.write(b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(data), data))

    async def subscribe(self, subject: str) -> None:
        self._transport.write(b"SUB %b 1\r\n" % subject.encode())
        await self.flush()

    async def flush(self) -> None:
        self._pong = asyncio.get_running_loop().create_future()
        self._transport.write(b"PING\r\n")
        await self._pong

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        data, at = self._left + data, 0
        while (line := data.find(_END, at)) >= 0:
            begin, end = line + len(_END), line
            if data.startswith(b"MSG", at):
                _, _, _, *reply, size = data[at:line].split()
                end = begin + int(size)
                if end + len(_END) > len(data):
                    break
                self._sink(reply[0] if reply else b"", data[begin:end])
            elif data.startswith(b"PING", at):
                self._transport.write(b"PONG\r\n")
            elif data.startswith(b"PONG", at):
                self._pong.set_result(None)
            at = end + len(_END)
        self._left = data[at:]


@asynccontextmanager
async def bare_client(url: str, sink: Callable[[bytes, bytes], None]) -> AsyncGenerator[Bare]:
    place = urlsplit(url)
    _, client = await asyncio.get_running_loop().create_connection(lambda: Bare(sink), place.hostname, place.port)
    await client.flush()
    try:
        yield client
    finally:
        client.close()


@contender("latency", "JetStream, bare")
async def bare_latency(url: str) -> AsyncGenerator[Run]:
    """What server, kernel and interpreter take, with a confirmation and an ack for each message."""

    async def run(work: Work) -> list[float]:
        post = Post()

        def handle(reply: bytes, data: bytes) -> None:
            if reply:
                post.arrived(data)
                client.publish(reply.decode(), b"+ACK")

        inbox = f"_INBOX.{secrets.token_hex(8)}"
        request = json.dumps({"batch": work.count, "expires": 30_000_000_000}).encode()
        async with bare_client(url, handle) as client:
            await client.subscribe(inbox)
            client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{work.stream}.{work.consumer}", request, inbox)
            await client.flush()
            seconds = await trips(url, "bare", work, work.subject, post.expect)
            await work.settled()
        return seconds

    yield run
