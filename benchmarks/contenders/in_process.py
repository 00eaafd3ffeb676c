"""``memory://`` and what else carries a message inside one process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from contenders.work import Work, contender
from pubsubkit import ConsumerOptions, PublisherOptions, connect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from contenders.work import Run

_SUBJECTS = 100


@contender("in process", "pubsubkit memory://")
async def ours(_: str) -> AsyncGenerator[Run]:
    async def run(work: Work) -> None:
        async with (
            connect("memory://") as backend,
            backend.publisher(PublisherOptions(stream_name="s")) as publisher,
            backend.consumer(ConsumerOptions(stream_name="s", consumer_name="c")).subscribe() as subscription,
        ):
            work.begin()
            for _ in range(work.count):
                await publisher.publish("s.x", work.payload)
                message = await anext(subscription)
                await message.ack()
            assert (await backend.consumer_info("s", "c")).num_ack_pending == 0

    yield run


@contender("in process", "asyncio.Queue")
async def queue(_: str) -> AsyncGenerator[Run]:
    """Nothing is kept, nothing is acked."""
    waiting: asyncio.Queue[bytes] = asyncio.Queue(100)

    async def run(work: Work) -> None:
        work.begin()
        for _ in range(work.count):
            await waiting.put(work.payload)
            await waiting.get()

    yield run


@contender("in process", "kombu memory://")
async def kombu(_: str) -> AsyncGenerator[Run]:
    from kombu import Connection

    with Connection("memory://") as connection, connection.SimpleQueue("q") as waiting:

        async def run(work: Work) -> None:
            work.begin()
            for _ in range(work.count):
                waiting.put(work.payload)
                message = waiting.get(block=False)
                message.ack()

        yield run


@contender("beside durables", "pubsubkit, 10 beside")
async def few(_: str) -> AsyncGenerator[Run]:
    async for run in beside(10):
        yield run


@contender("beside durables", "pubsubkit, 10,000 beside")
async def many(_: str) -> AsyncGenerator[Run]:
    async for run in beside(10_000):
        yield run


async def beside(consumers: int) -> AsyncGenerator[Run]:
    """Publish beside that many durable consumers, each with a filter of its own that selects something else."""
    async with connect("memory://") as backend, backend.publisher(PublisherOptions(stream_name="s")) as publisher:
        for number in range(consumers):
            options = ConsumerOptions(stream_name="s", consumer_name=f"c{number}", filter_subject=f"s.other.{number}")
            async with backend.consumer(options):
                pass

        async def run(work: Work) -> None:
            work.begin()
            for number in range(work.count):
                await publisher.publish(f"s.x.{number % _SUBJECTS}", work.payload)

        yield run
