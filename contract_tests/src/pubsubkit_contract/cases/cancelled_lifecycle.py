"""Cancelled lifecycles: opening, closing and whole groups of tasks are cancelled, and can be tried again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit import NotFoundError, PublisherOptions, connect
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads
from pubsubkit_contract.leftovers import Leftovers

if TYPE_CHECKING:
    from pubsubkit import Subscription
    from pubsubkit_contract.kit import Kit

__all__ = ["CancelledLifecycleCases"]

_LONG = 60.0


class CancelledLifecycleCases(Cases):
    """What is cancelled at any moment leaves nothing half done that is in the way later."""

    @case("can.connect", why="A service that cannot reach its broker tries again and again, under a timeout.")
    async def test_can_connect(self, kit: Kit) -> None:
        """Connecting that is cancelled, at any moment, ends at once and leaves no task, socket or complaint."""
        with Leftovers(kit.cap) as leftovers:
            for turns in range(1, 13):
                backend = connect(kit.harness.url())
                opening = asyncio.ensure_future(backend.open())
                await _turns(turns)
                opening.cancel()
                await kit.within(asyncio.wait([opening]), "cancelled connecting")
                await kit.within(backend.aclose(), "closing")
            left = await leftovers.settle()
        kit.note(f"left: {left}, complaints: {leftovers.complaints}")
        assert not left
        assert not leftovers.complaints

    @case("can.open", why="A service that is stopped while it starts is started again at once.")
    async def test_can_open(self, kit: Kit) -> None:
        """Opening that is cancelled at any moment can be done again, and leaves no member that takes messages."""
        first = await kit.subscription(ack_wait=_LONG)
        await first.aclose()
        for turns in range(1, 9):
            publisher = kit.backend.publisher(PublisherOptions(stream_name=kit.stream))
            subscription = kit.backend.consumer(first.options).subscribe()
            for opened in (publisher, subscription):
                opening = asyncio.ensure_future(opened.__aenter__())
                await _turns(turns)
                opening.cancel()
                await kit.within(asyncio.wait([opening]), "a cancelled opening")
            async with publisher, subscription:
                await publisher.publish(kit.subject("x"), b"%d" % turns)
            await kit.within(subscription.aclose(), "closing")
        kit.note("8 openings were cancelled and done again")

    @case(
        "can.open_phantom",
        why="A member that nobody knows of takes messages and never gives them back.",
        needs={Capability.DURABLE, Capability.COMPETE, Capability.NAK},
    )
    async def test_can_open_phantom(self, kit: Kit) -> None:
        """A member whose opening was cancelled takes no messages, also when it is not closed."""
        reader = await kit.subscription(ack_wait=_LONG, channel_buf_size=1)
        phantoms: list[Subscription] = []
        for turns in range(8):
            phantom = kit.backend.consumer(reader.options).subscribe()
            phantoms.append(phantom)
            opening = asyncio.ensure_future(phantom.__aenter__())
            await _turns(turns)
            opening.cancel()
            await kit.within(asyncio.wait([opening]), "a cancelled opening")
        wanted = [b"%d" % number for number in range(20)]
        await kit.publish(*wanted)
        assert sorted(payloads(await kit.read(reader, 20))) == sorted(wanted)

    @case("can.close", why="Clean-up runs under a timeout of its own, which runs out.")
    async def test_can_close(self, kit: Kit) -> None:
        """A close that is cancelled goes on by itself, and closing again waits for its end."""
        for turns in range(1, 6):
            backend = await kit.connect()
            subscription = await kit.subscription("", backend=backend, ack_wait=_LONG)
            publisher = await kit.publisher(backend)
            await publisher.publish(kit.subject("x"), b"x")
            name = (await kit.receive(subscription)).metadata.consumer
            for closable in (subscription, publisher, backend):
                closing = asyncio.ensure_future(closable.aclose())
                await _turns(turns)
                closing.cancel()
                await asyncio.wait([closing])
                await kit.within(closable.aclose(), "closing again")
            with kit.raises(NotFoundError):
                await kit.backend.consumer_info(kit.stream, name)

    @case("can.task_group", why="A task group cancels everything when one of its tasks fails.")
    async def test_can_task_group(self, kit: Kit) -> None:
        """Tasks that publish and consume end promptly when they are cancelled; no error of theirs goes unseen."""
        with Leftovers(kit.cap) as leftovers:
            backend = await kit.connect()
            subscription = await kit.subscription("", backend=backend)
            publisher = await kit.publisher(backend, window=4)

            async def consume() -> None:
                async for message in subscription:
                    await message.ack()

            async def produce(number: int) -> None:
                while True:
                    await publisher.publish_soon(kit.subject("x"), b"%d" % number)

            async def work() -> None:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(consume())
                    for number in range(3):
                        tasks.create_task(produce(number))

            working = asyncio.ensure_future(work())
            await _turns(50)
            working.cancel()
            await kit.within(asyncio.wait([working]), "the cancelled task group")
            assert working.cancelled()
            await kit.within(backend.aclose(), "closing")
            del working
        kit.note(f"complaints: {leftovers.complaints}")
        assert not leftovers.complaints


async def _turns(count: int) -> None:
    """Let the event loop turn *count* times."""
    for _ in range(count):
        await asyncio.sleep(0)
