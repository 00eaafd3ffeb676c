"""natsrpy, a client written in Rust."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from contenders.work import BUFFER, Work, contender, gathered, one_by_one

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from contenders.work import Run


@asynccontextmanager
async def rust_context(url: str) -> AsyncGenerator[Any]:
    from natsrpy import Nats

    client = Nats(addrs=[url])
    await client.startup()
    try:
        yield await client.jetstream()
    finally:
        await client.shutdown()


@contender("consume", "natsrpy fetch(500)")
async def rust_fetch(url: str) -> AsyncGenerator[Run]:
    """The acks of a batch are gathered, which is twice as fast as one after the other."""
    async with rust_context(url) as context:

        async def run(work: Work) -> None:
            consumer = await (await context.streams.get(work.stream)).consumers.get_pull(work.consumer)
            left = work.count
            work.begin()
            while left:
                messages = await consumer.fetch(max_messages=min(left, BUFFER))
                await asyncio.gather(*(message.ack() for message in messages))
                left -= len(messages)
            await work.settled()

        yield run


@contender("publish many", "natsrpy gathered")
async def rust_gathered(url: str) -> AsyncGenerator[Run]:
    async with rust_context(url) as context:
        yield lambda work: gathered(work, lambda: context.publish(work.subject, work.payload, wait=True))


@contender("publish", "natsrpy")
async def rust_publish(url: str) -> AsyncGenerator[Run]:
    async with rust_context(url) as context:
        yield lambda work: one_by_one(work, lambda: context.publish(work.subject, work.payload, wait=True))
