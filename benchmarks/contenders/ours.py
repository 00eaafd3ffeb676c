"""pubsubkit, by its public API."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from contenders.work import ACK_PENDING, BUFFER, WINDOW, Work, contender, one_by_one, trips
from pubsubkit import ConsumerOptions, PublisherOptions, connect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from contenders.work import Arrival, Run


def reader(work: Work) -> ConsumerOptions:
    return ConsumerOptions(
        stream_name=work.stream, consumer_name=work.consumer, channel_buf_size=BUFFER, max_in_flight=ACK_PENDING
    )


@contender("consume", "pubsubkit")
async def ours_consume(url: str) -> AsyncGenerator[Run]:
    async with connect(url) as backend:

        async def run(work: Work) -> None:
            left = work.count
            async with backend.consumer(reader(work)).subscribe() as subscription:
                work.begin()
                async for message in subscription:
                    await message.ack()
                    left -= 1
                    if not left:
                        break
                await work.settled()

        yield run


@contender("publish many", "pubsubkit publish_many")
async def ours_publish_many(url: str) -> AsyncGenerator[Run]:
    async with connect(url) as backend:

        async def run(work: Work) -> None:
            async with backend.publisher(PublisherOptions(stream_name=work.stream, window=WINDOW)) as publisher:
                work.begin()
                await publisher.publish_many((work.subject, work.payload) for _ in range(work.count))

        yield run


@contender("publish many", "pubsubkit publish_soon")
async def ours_publish_soon(url: str) -> AsyncGenerator[Run]:
    async with connect(url) as backend:

        async def run(work: Work) -> None:
            async with backend.publisher(PublisherOptions(stream_name=work.stream, window=WINDOW)) as publisher:
                work.begin()
                receipts = [await publisher.publish_soon(work.subject, work.payload) for _ in range(work.count)]
                for receipt in receipts:
                    await receipt

        yield run


@contender("publish", "pubsubkit")
async def ours_publish(url: str) -> AsyncGenerator[Run]:
    async with connect(url) as backend:

        async def run(work: Work) -> None:
            async with backend.publisher(PublisherOptions(stream_name=work.stream)) as publisher:
                await one_by_one(work, lambda: publisher.publish(work.subject, work.payload))

        yield run


@contender("latency", "pubsubkit")
async def ours_latency(url: str) -> AsyncGenerator[Run]:
    async with connect(url) as here:

        async def run(work: Work) -> list[float]:
            async with here.consumer(reader(work)).subscribe() as subscription:

                async def arrival() -> Arrival:
                    message = await anext(subscription)
                    now = time.perf_counter_ns()
                    await message.ack()
                    return now, message.data

                seconds = await trips(url, "ours", work, work.subject, lambda: asyncio.create_task(arrival()))
                await work.settled()
                return seconds

        yield run


@contender("growth", "pubsubkit")
async def ours_growth(url: str) -> AsyncGenerator[Run]:
    async with connect(url) as there, connect(url) as here:

        async def run(work: Work) -> int:
            """Publish and consume in a hundred steps; return by how many bytes memory grew after the tenth."""
            step = max(1, work.count // 100)
            sizes: list[int] = []
            async with (
                there.publisher(PublisherOptions(stream_name=work.stream)) as publisher,
                here.consumer(reader(work)).subscribe() as subscription,
            ):
                for _ in range(100):
                    await publisher.publish_many((work.subject, work.payload) for _ in range(step))
                    for _ in range(step):
                        await (await anext(subscription)).ack()
                    sizes.append(resident_bytes())
                await work.settled()
            return max(sizes[10:]) - sizes[9]

        yield run


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
