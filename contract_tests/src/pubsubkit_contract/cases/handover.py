"""Handing over: what is closed leaves to the broker and to others all that it had."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit import ClosedError, PublishBatchError, PublishReceipt, StreamFullError, StreamOptions
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["HandoverCases"]

_LONG = 60.0


class HandoverCases(Cases):
    """Closing loses no message, in either direction, and disturbs nobody."""

    @case(
        "shut.buffered_returned",
        why="A deployment would delay every message that was read ahead by ack_wait.",
        needs={Capability.DURABLE, Capability.NAK},
    )
    async def test_shut_buffered_returned(self, kit: Kit) -> None:
        """Messages that were read ahead and never seen go to the next member at once, long before ack_wait."""
        wanted = [b"%d" % number for number in range(100)]
        first = await kit.feed(*wanted, ack_wait=_LONG)
        got = payloads(await kit.read(first, 1))
        await _until_read_ahead(kit)
        await first.aclose()
        got += payloads(await kit.read(await kit.subscription(ack_wait=_LONG), 99))
        assert sorted(got) == sorted(wanted)

    @case(
        "shut.woken_receive",
        why="The message that arrives in the moment of the stop is the one that is missing later.",
        needs={Capability.DURABLE, Capability.NAK},
    )
    async def test_shut_woken_receive(self, kit: Kit) -> None:
        """A message that arrives at the moment of closing is not lost with the receive that waited for it."""
        publisher = await kit.publisher()
        for number in range(20):
            first = await kit.subscription(ack_wait=_LONG)
            waiting = asyncio.ensure_future(anext(first, None))
            await _turns(3)
            publishing = asyncio.ensure_future(publisher.publish(kit.subject("x"), b"%d" % number))
            await _turns(number % 8)
            await kit.within(asyncio.gather(publishing, first.aclose()), "closing")
            await kit.within(waiting, "the receive")
            second = await kit.subscription(ack_wait=_LONG)
            assert payloads(await kit.read(second, 1)) == [b"%d" % number]
            await second.aclose()

    @case("shut.flush", why="What was handed over before the end of a program must not depend on how fast it ends.")
    async def test_shut_flush(self, kit: Kit) -> None:
        """Closing a publisher waits until everything of publish_soon is stored."""
        publisher = await kit.publisher(window=16)
        futures = [await publisher.publish_soon(kit.subject("x"), b"%d" % number) for number in range(100)]
        await kit.within(publisher.aclose(), "closing")
        assert (await kit.stream_info()).messages == 100
        assert all([await future for future in futures])

    @case("shut.publishes", why="Whoever publishes while the program ends must know what became of the message.")
    async def test_shut_publishes(self, kit: Kit) -> None:
        """A publish under way when its publisher is closed gets its receipt, or ClosedError when it is not stored."""
        stored = 0
        for turns in range(8):
            publisher = await kit.publisher()
            calls = [asyncio.ensure_future(publisher.publish(kit.subject("x"), b"x")) for _ in range(10)]
            await _turns(turns)
            await kit.within(publisher.aclose(), "closing")
            outcomes = await kit.within(asyncio.gather(*calls, return_exceptions=True), "the publishes")
            receipts = [outcome for outcome in outcomes if not isinstance(outcome, ClosedError)]
            assert all(isinstance(outcome, PublishReceipt) for outcome in receipts), outcomes
            stored += len(receipts)
        kit.note(f"{stored} of 80 were stored")
        assert (await kit.stream_info()).messages == stored

    @case("shut.flush_errors", why="A message that could not be stored must not vanish because the program ends.")
    async def test_shut_flush_errors(self, kit: Kit) -> None:
        """Closing raises PublishBatchError for messages that were not stored and whose futures nobody looked at."""
        full = StreamOptions(name=kit.stream, max_messages=1, discard="new")
        for closed in ("publisher", "backend"):
            backend = await kit.connect()
            publisher = await kit.publisher(backend, stream=full)
            futures = [await publisher.publish_soon(kit.subject("x"), b"x") for _ in range(3)]
            await kit.within(asyncio.wait(futures), "the publishes")
            with kit.raises(PublishBatchError) as caught:
                await (publisher if closed == "publisher" else backend).aclose()
            assert {type(error) for error in caught[0].failed.values()} == {StreamFullError}
        assert (await kit.stream_info()).messages == 1

    @case(
        "shut.backend_hands_over",
        why="Most programs close the connection only.",
        needs={Capability.DURABLE, Capability.NAK},
    )
    async def test_shut_backend_hands_over(self, kit: Kit) -> None:
        """Closing the backend stores what is under way and gives back at once what has no verdict."""
        backend = await kit.connect()
        subscription = await kit.subscription(backend=backend, ack_wait=_LONG)
        publisher = await kit.publisher(backend, window=16)
        await publisher.publish(kit.subject("x"), b"0")
        held = await kit.receive(subscription)
        for number in range(1, 50):
            await publisher.publish_soon(kit.subject("x"), b"%d" % number)
        await kit.within(backend.aclose(), "closing")
        assert await held.ack() is False
        got = payloads(await kit.read(await kit.subscription(ack_wait=_LONG), 50))
        assert sorted(got) == sorted(b"%d" % number for number in range(50))

    @case(
        "shut.only_its_own", why="One part of a program that ends must not end the others.", needs={Capability.FANOUT}
    )
    async def test_shut_only_its_own(self, kit: Kit) -> None:
        """Closing a publisher, a subscription, a consumer or a connection leaves all others of their kind at work."""
        subscription, publisher = await kit.subscription(""), await kit.publisher()
        waiting = asyncio.ensure_future(kit.receive(subscription))
        other = await kit.connect()
        consumer = kit.backend.consumer(subscription.options)
        for closable in (
            await kit.publisher(),
            await kit.subscription(""),
            await consumer.subscribe().__aenter__(),
            consumer,
            await kit.subscription("", backend=other),
            await kit.publisher(other),
            other,
        ):
            await closable.aclose()
            await publisher.publish(kit.subject("x"), type(closable).__name__.encode())
            assert (await waiting).data == type(closable).__name__.encode()
            waiting = asyncio.ensure_future(kit.receive(subscription))
        waiting.cancel()

    @case(
        "shut.restart",
        why="A service that pauses and goes on must miss nothing and get nothing twice.",
        needs={Capability.DURABLE},
    )
    async def test_shut_restart(self, kit: Kit) -> None:
        """When a subscription was closed, or drained, the same consumer object subscribes again and misses nothing."""
        first = await kit.subscription()
        await first.aclose()
        consumer = kit.backend.consumer(first.options)
        for number in range(6):
            await kit.publish(b"%d" % number)
            async with consumer.subscribe() as member:
                message = await kit.receive(member)
                assert message.data == b"%d" % number
                await message.ack()
                if number % 2:
                    await member.drain()


async def _turns(count: int) -> None:
    """Let the event loop turn *count* times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def _until_read_ahead(kit: Kit) -> None:
    """Return when a member that reads ahead has done so; at once for a backend that does not, and soon in any case."""
    deadline = asyncio.get_running_loop().time() + kit.cap / 10
    while asyncio.get_running_loop().time() < deadline:
        info = await kit.consumer_info()
        if not (info.num_ack_pending and info.num_pending):
            return
        await asyncio.sleep(0)
