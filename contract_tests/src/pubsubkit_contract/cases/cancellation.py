"""Cancellation: whatever is cancelled, and whenever, no message is lost and everything stays usable."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from pubsubkit_contract.kit import Kit

__all__ = ["CancellationCases"]

_LONG = 60.0


class CancellationCases(Cases):
    """asyncio cancels at every await; each of these may be the wrong moment."""

    @case("can.receive", why="A service that waits for a message and for something else cancels one of the two.")
    async def test_can_receive(self, kit: Kit) -> None:
        """A receive that is cancelled, whenever that is in relation to the arrival, loses no message."""
        subscription = await kit.subscription(ack_wait=_LONG)
        publisher = await kit.publisher()
        idle = asyncio.ensure_future(anext(subscription))
        await asyncio.wait([idle], timeout=kit.timing.quiet)
        idle.cancel()
        await kit.within(asyncio.wait([idle]), "a cancelled receive")
        assert idle.cancelled()
        late = 0
        for number in range(100):
            waiting = asyncio.ensure_future(anext(subscription))
            publishing = asyncio.ensure_future(publisher.publish(kit.subject("x"), b"%d" % number))
            await _turns(number % 10)
            waiting.cancel()
            await kit.within(asyncio.wait([waiting, publishing]), "a cancelled receive")
            late += not waiting.cancelled()
            message = await kit.receive(subscription) if waiting.cancelled() else waiting.result()
            assert message.data == b"%d" % number
            await message.ack()
        kit.note(f"{late} of 100 receives were cancelled too late")

    @case("can.timeout", why="asyncio.timeout around a receive is how one looks after something else now and then.")
    async def test_can_timeout(self, kit: Kit) -> None:
        """Receives under a timeout that runs out again and again lose no message and end by TimeoutError only."""
        subscription = await kit.subscription(ack_wait=_LONG)
        publisher = await kit.publisher()
        got: list[bytes] = []
        timeouts = 0

        async def publish() -> None:
            for number in range(100):
                await publisher.publish(kit.subject("x"), b"%d" % number)
                await _turns(number % 4)

        for _ in range(50):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.0005):
                    await anext(subscription)
        publishing = asyncio.ensure_future(publish())
        loop = asyncio.get_running_loop()
        deadline = loop.time() + kit.cap
        while len(got) < 100 and loop.time() < deadline:
            try:
                async with asyncio.timeout(0.0001 * kit.random.randrange(4)):
                    message = await anext(subscription)
            except TimeoutError:
                timeouts += 1
                continue
            got.append(message.data)
            await message.ack()
        await publishing
        kit.note(f"{len(got)} messages, {timeouts} timeouts")
        assert sorted(got) == sorted(b"%d" % number for number in range(100))

    @case("can.pre_cancelled", why="What is cancelled before it began must not happen behind one's back.")
    async def test_can_pre_cancelled(self, kit: Kit) -> None:
        """A call that is cancelled before it begins publishes nothing and takes no message."""
        subscription = await kit.subscription(ack_wait=_LONG)
        publisher = await kit.publisher()
        await publisher.publish(kit.subject("x"), b"first")
        calls: list[Coroutine[Any, Any, object]] = [
            publisher.publish(kit.subject("x"), b"never"),
            publisher.publish_soon(kit.subject("x"), b"never"),
            publisher.publish_many([(kit.subject("x"), b"never")]),
            subscription.__anext__(),
        ]
        for call in calls:
            task = asyncio.ensure_future(call)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        await publisher.publish(kit.subject("x"), b"sentinel")
        assert sorted(payloads(await kit.read(subscription, 2))) == [b"first", b"sentinel"]

    @case("can.verdict", why="A handler is cancelled in its last line.")
    async def test_can_verdict(self, kit: Kit) -> None:
        """A verdict that was cancelled can be given again, and then counts."""
        subscription = await kit.feed(*(b"%d" % number for number in range(12)), ack_wait=_LONG)
        messages = await kit.read(subscription, 12, ack=False)
        cancelled = 0
        for number, message in enumerate(messages):
            settling = asyncio.ensure_future(message.ack())
            await _turns(number % 6)
            settling.cancel()
            await kit.within(asyncio.wait([settling]), "a cancelled ack")
            cancelled += settling.cancelled()
            assert await message.ack() is settling.cancelled()
        kit.note(f"{cancelled} of 12 acks were cancelled")
        await kit.within(_settled(kit, messages[0].metadata.consumer), "settling all")

    @case("can.break_resume", why="A loop that was left is entered again after something else was done.")
    async def test_can_break_resume(self, kit: Kit) -> None:
        """Breaking out of a loop over a subscription leaves it open: the next loop goes on with the next message."""
        subscription = await kit.feed(b"1", b"2", b"3", ack_wait=_LONG)
        got: list[bytes] = []

        async def read_one() -> None:
            async for message in subscription:
                got.append(message.data)
                await _turns(5)
                await message.ack()
                break

        for _ in range(3):
            await kit.within(read_one(), "a loop over one message")
        kit.note(f"got {got}")
        assert sorted(got) == [b"1", b"2", b"3"]

    @case(
        "can.iteration_break",
        why="A handler that raises leaves the loop and the block around it.",
        needs={Capability.DURABLE, Capability.NAK},
    )
    async def test_can_iteration_break(self, kit: Kit) -> None:
        """Leaving the loop and its async with by an error gives back what has no verdict at once, and hides nothing."""
        first = await kit.feed(b"1", b"2", ack_wait=_LONG)
        await first.aclose()
        with kit.raises(ZeroDivisionError):
            async with kit.backend.consumer(first.options) as consumer, consumer.subscribe() as subscription:
                async for message in subscription:
                    kit.note(f"the handler of {message.data!r} fails")
                    raise ZeroDivisionError
        again = await kit.subscription(ack_wait=_LONG)
        assert sorted(payloads(await kit.read(again, 2))) == [b"1", b"2"]


async def _turns(count: int) -> None:
    """Let the event loop turn *count* times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def _settled(kit: Kit, consumer: str) -> None:
    """Return when the broker counts no message without a verdict."""
    while (await kit.backend.consumer_info(kit.stream, consumer)).num_ack_pending:
        await _turns(1)
