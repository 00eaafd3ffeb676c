"""nats-jetstream, the next generation of nats-py."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from contenders.work import ACK_PENDING, Work, contender, gathered, one_by_one

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from contenders.work import Run


@asynccontextmanager
async def next_generation(url: str) -> AsyncGenerator[Any]:
    try:
        import nats.client
        import nats.jetstream
    except ImportError as error:
        raise ImportError("its nats-core needs Python 3.13") from error

    client = await nats.client.connect(url)
    try:
        yield nats.jetstream.new(client)
    finally:
        await client.close()


@contender("consume", "nats-jetstream messages(5000)")
async def jetstream_messages(url: str) -> AsyncGenerator[Run]:
    """It asks again every 100 ms at the most, so that a smaller batch would be 5,000 messages a second."""
    async with next_generation(url) as context:

        async def run(work: Work) -> None:
            consumer = await context.get_consumer(work.stream, work.consumer)
            work.begin()
            messages = await consumer.messages(max_messages=ACK_PENDING)
            for _ in range(work.count):
                await (await anext(messages)).ack()
            await work.settled()
            await messages.stop()

        yield run


@contender("publish many", "nats-jetstream gathered")
async def jetstream_gathered(url: str) -> AsyncGenerator[Run]:
    async with next_generation(url) as context:
        yield lambda work: gathered(work, lambda: context.publish(work.subject, work.payload))


@contender("publish", "nats-jetstream")
async def jetstream_publish(url: str) -> AsyncGenerator[Run]:
    async with next_generation(url) as context:
        yield lambda work: one_by_one(work, lambda: context.publish(work.subject, work.payload))
