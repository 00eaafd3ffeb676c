"""The other process of a latency: publishes a message for each line on stdin, with the time of its call in the payload.

Run as ``python -m contenders.there WAY LOOP URL STREAM SUBJECT BYTES``.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats

from contenders.bare import bare_client
from pubsubkit import PublisherOptions, connect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Publish = Callable[[str, bytes], Awaitable[object]]

_PAUSE_SECONDS = 0.001
"""After which the consumer, and the server, are idle again."""


@asynccontextmanager
async def ours(url: str, stream: str) -> AsyncGenerator[Publish]:
    async with connect(url) as backend, backend.publisher(PublisherOptions(stream_name=stream)) as publisher:
        yield publisher.publish


@asynccontextmanager
async def plain(url: str, _: str) -> AsyncGenerator[Publish]:
    """Nobody confirms anything."""
    client = await nats.connect(url)
    yield client.publish
    await client.close()


@asynccontextmanager
async def confirmed(url: str, _: str) -> AsyncGenerator[Publish]:
    client = await nats.connect(url)
    yield client.jetstream().publish
    await client.close()


@asynccontextmanager
async def bare(url: str, _: str) -> AsyncGenerator[Publish]:
    confirmed: asyncio.Future[bytes]
    inbox = f"_INBOX.{secrets.token_hex(8)}"
    async with bare_client(url, lambda _, data: confirmed.set_result(data)) as client:
        await client.subscribe(inbox)

        async def publish(subject: str, data: bytes) -> None:
            nonlocal confirmed
            confirmed = asyncio.get_running_loop().create_future()
            client.publish(subject, data, inbox)
            await confirmed

        yield publish


async def main(way: str, url: str, stream: str, subject: str, size: int) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with {"ours": ours, "plain": plain, "confirmed": confirmed, "bare": bare}[way](url, stream) as publish:
        while await lines.readline():
            await asyncio.sleep(_PAUSE_SECONDS)
            await publish(subject, time.perf_counter_ns().to_bytes(8, "big") + b"x" * (size - 8))


if __name__ == "__main__":
    factory = None
    if sys.argv[2] == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(sys.argv[1], *sys.argv[3:6], int(sys.argv[6])))
