"""JetStream through pubsubkit and through nats-py as its documentation teaches it, on one private server."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import nats

from pubsubkit import ConsumerOptions, PublisherOptions, StreamOptions, connect
from pubsubkit_nats.testing import NatsServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.js import JetStreamContext

    from pubsubkit import Backend

ROUNDS, MESSAGES, SEQUENTIAL, PAYLOAD = 5, 20_000, 3_000, b"x" * 128
STORED = MESSAGES + SEQUENTIAL


class Ours:
    """pubsubkit's public API."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    async def publish_one_by_one(self, stream: str) -> int:
        async with self.backend.publisher(PublisherOptions(stream_name=stream)) as publisher:
            for _ in range(SEQUENTIAL):
                await publisher.publish(f"{stream}.x", PAYLOAD)
        return SEQUENTIAL

    async def publish_many(self, stream: str) -> int:
        async with self.backend.publisher(PublisherOptions(stream_name=stream)) as publisher:
            await publisher.publish_many((f"{stream}.x", PAYLOAD) for _ in range(MESSAGES))
        return MESSAGES

    async def consume(self, stream: str) -> int:
        options = ConsumerOptions(stream_name=stream, consumer_name="reader", channel_buf_size=500)
        async with self.backend.consumer(options).subscribe() as messages:
            for _ in range(STORED):
                await (await anext(messages)).ack()
        assert (await self.backend.consumer_info(stream, "reader")).num_ack_pending == 0
        return STORED


class NatsPy:
    """nats-py's documented way."""

    def __init__(self, context: JetStreamContext) -> None:
        self.context = context

    async def publish_one_by_one(self, stream: str) -> int:
        for _ in range(SEQUENTIAL):
            await self.context.publish(f"{stream}.x", PAYLOAD)
        return SEQUENTIAL

    async def publish_many(self, stream: str) -> int:
        for _ in range(MESSAGES):
            await self.context.publish_async(f"{stream}.x", PAYLOAD)
        await self.context.publish_async_completed()
        return MESSAGES

    async def consume(self, stream: str) -> int:
        subscription = await self.context.pull_subscribe(f"{stream}.>", durable="reader", stream=stream)
        count = 0
        while count < STORED:
            for message in await subscription.fetch(100):
                await message.ack()
                count += 1
        while (await subscription.consumer_info()).num_ack_pending:
            pass
        return STORED


async def rate(work: Callable[[str], Awaitable[int]], stream: str) -> float:
    started = time.perf_counter()
    return await work(stream) / (time.perf_counter() - started)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with NatsServer(Path(folder)) as server, connect(server.url) as backend:
            client = await nats.connect(server.url)
            rivals = {"pubsubkit": Ours(backend), "nats-py": NatsPy(client.jetstream())}
            rates: dict[tuple[str, str], list[float]] = {}
            for number, name in itertools.product(range(ROUNDS), rivals):
                stream = f"s{number}-{name}"
                await backend.ensure_stream(StreamOptions(name=stream))
                for task in ("publish_one_by_one", "publish_many", "consume"):
                    rates.setdefault((task, name), []).append(await rate(getattr(rivals[name], task), stream))
                await backend.delete_stream(stream)
            await client.close()
    for task in ("publish_one_by_one", "publish_many", "consume"):
        ours, theirs = (statistics.median(rates[task, name]) for name in rivals)
        sys.stdout.write(f"{task:20} {ours:9,.0f}/s  nats-py {theirs:9,.0f}/s  {ours / theirs:5.2f} x\n")


asyncio.run(main())
