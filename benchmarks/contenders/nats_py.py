"""nats-py as its documentation teaches it, and at its best."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from contenders.work import BUFFER, WINDOW, Post, Work, contender, one_by_one, trips

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from contenders.work import Run


@asynccontextmanager
async def nats_client(url: str) -> AsyncGenerator[Client]:
    import nats

    client = await nats.connect(url)
    try:
        yield client
    finally:
        await client.close()


@contender("consume", "nats-py fetch(100)")
async def nats_fetch(url: str) -> AsyncGenerator[Run]:
    async with nats_client(url) as client:

        async def run(work: Work) -> None:
            subscription = await client.jetstream().pull_subscribe_bind(work.consumer, work.stream)
            left = work.count
            work.begin()
            while left:
                with suppress(TimeoutError):  # its fetch stalls now and then (nats.py #986)
                    for message in await subscription.fetch(min(left, 100)):
                        await message.ack()
                        left -= 1
            await work.settled()
            await subscription.unsubscribe()

        yield run


@contender("consume", "nats-py, own pulls")
async def nats_pulls(url: str) -> AsyncGenerator[Run]:
    """nats-py at its best: a callback, and the next request under way before the last one is used up."""
    async with nats_client(url) as client:

        async def run(work: Work) -> None:
            inbox, done = client.new_inbox(), asyncio.get_running_loop().create_future()
            request = json.dumps({"batch": BUFFER // 2, "expires": 30_000_000_000}).encode()
            count = 0

            async def pull() -> None:
                await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{work.stream}.{work.consumer}", request, inbox)

            async def handle(message: Msg) -> None:
                nonlocal count
                if not message.reply:
                    return
                await message.ack()
                count += 1
                if count == work.count:
                    done.set_result(None)
                elif count % (BUFFER // 2) == 0:
                    await pull()

            subscription = await client.subscribe(inbox, cb=handle)
            work.begin()
            await pull()
            await pull()
            await done
            await work.settled()
            await subscription.unsubscribe()

        yield run


@contender("publish many", "nats-py publish_async")
async def nats_publish_async(url: str) -> AsyncGenerator[Run]:
    async with nats_client(url) as client:
        context = client.jetstream(publish_async_max_pending=WINDOW)

        async def run(work: Work) -> None:
            work.begin()
            receipts = [await context.publish_async(work.subject, work.payload) for _ in range(work.count)]
            await context.publish_async_completed()
            for receipt in receipts:
                receipt.result()

        yield run


@contender("publish", "nats-py")
async def nats_publish(url: str) -> AsyncGenerator[Run]:
    async with nats_client(url) as client:
        context = client.jetstream()
        yield lambda work: one_by_one(work, lambda: context.publish(work.subject, work.payload))


@contender("latency", "core NATS")
async def core_latency(url: str) -> AsyncGenerator[Run]:
    """A subscription with a callback: nothing is stored, nothing is acked."""
    async with nats_client(url) as here:

        async def run(work: Work) -> list[float]:
            post = Post()

            async def handle(message: Msg) -> None:
                post.arrived(message.data)

            subject = f"core.{work.stream}"
            subscription = await here.subscribe(subject, cb=handle)
            await here.flush()
            seconds = await trips(url, "plain", work, subject, post.expect)
            await subscription.unsubscribe()
            return seconds

        yield run


@contender("latency", "JetStream by hand")
async def by_hand_latency(url: str) -> AsyncGenerator[Run]:
    """Pull with one request for all messages, and ack each."""
    async with nats_client(url) as here:

        async def run(work: Work) -> list[float]:
            post = Post()

            async def handle(message: Msg) -> None:
                post.arrived(message.data)
                await message.ack()

            inbox = here.new_inbox()
            request = json.dumps({"batch": work.count, "expires": 30_000_000_000}).encode()
            subscription = await here.subscribe(inbox, cb=handle)
            await here.publish(f"$JS.API.CONSUMER.MSG.NEXT.{work.stream}.{work.consumer}", request, inbox)
            await here.flush()
            seconds = await trips(url, "confirmed", work, work.subject, post.expect)
            await work.settled()
            await subscription.unsubscribe()
            return seconds

        yield run
