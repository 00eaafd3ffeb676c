"""FastStream."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from contenders.work import BUFFER, Work, contender, gathered, one_by_one

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from contenders.work import Run


@asynccontextmanager
async def faststream_broker(url: str) -> AsyncGenerator[Any]:
    from faststream.nats import NatsBroker

    broker = NatsBroker(url, logger=None)
    await broker.connect()
    try:
        yield broker
    finally:
        await broker.stop()


async def faststream_consume(broker: Any, work: Work, *, batch: bool) -> None:
    from faststream.nats import JStream, PullSub

    done, count = asyncio.Event(), 0

    async def handle(body: Any) -> None:
        nonlocal count
        count += len(body) if batch else 1
        if count >= work.count:
            done.set()

    async def handle_message(body: bytes) -> None:
        await handle(body)

    async def handle_batch(body: list[bytes]) -> None:
        await handle(body)

    subscriber = broker.subscriber(
        f"{work.stream}.>",
        durable=work.consumer,
        stream=JStream(work.stream, declare=False),
        pull_sub=PullSub(batch_size=BUFFER, batch=batch),
    )
    subscriber(handle_batch if batch else handle_message)
    work.begin()
    await subscriber.start()
    await done.wait()
    await work.settled()
    await subscriber.stop()


@contender("consume", "FastStream per message")
async def faststream_messages(url: str) -> AsyncGenerator[Run]:
    async with faststream_broker(url) as broker:
        yield lambda work: faststream_consume(broker, work, batch=False)


@contender("consume", "FastStream batch")
async def faststream_batches(url: str) -> AsyncGenerator[Run]:
    async with faststream_broker(url) as broker:
        yield lambda work: faststream_consume(broker, work, batch=True)


@contender("publish many", "FastStream gathered")
async def faststream_gathered(url: str) -> AsyncGenerator[Run]:
    async with faststream_broker(url) as broker:
        yield lambda work: gathered(work, lambda: broker.publish(work.payload, work.subject, stream=work.stream))


@contender("publish", "FastStream")
async def faststream_publish(url: str) -> AsyncGenerator[Run]:
    async with faststream_broker(url) as broker:
        yield lambda work: one_by_one(work, lambda: broker.publish(work.payload, work.subject, stream=work.stream))
