"""Limits of streams: what is kept, what is pushed out, and what is refused."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from pubsubkit import InvalidArgumentError, PublishBatchError, StreamFullError, StreamOptions
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["LimitCases"]

_LONG = 60.0


class LimitCases(Cases):
    """A limit is kept to the message."""

    @case(
        "lim.retention",
        why="A service that is added later must find what the others have handled.",
        needs={Capability.ORDERING, Capability.FANOUT, Capability.HISTORY},
    )
    async def test_lim_retention(self, kit: Kit) -> None:
        """A message stays in its stream whether it was consumed or not."""
        subscription = await kit.feed(b"1", b"2")
        first, second = await kit.read(subscription, 2, ack=False)
        await first.ack()
        await (second.term() if Capability.TERM in kit.backend.capabilities else second.ack())
        await subscription.aclose()
        assert (await kit.stream_info()).messages == 2
        assert payloads(await kit.read(await kit.subscription(""), 2)) == [b"1", b"2"]

    @case(
        "lim.messages",
        why="A stream without its limit fills the disk.",
        needs={Capability.ORDERING, Capability.HISTORY},
    )
    async def test_lim_messages(self, kit: Kit) -> None:
        """At max_messages the oldest message makes room for the new one."""
        publisher = await kit.publisher(stream=StreamOptions(name=kit.stream, max_messages=3))
        receipts = [await publisher.publish(kit.subject("x"), b"%d" % number) for number in range(5)]
        info = await kit.stream_info()
        assert (info.messages, info.first_sequence) == (3, receipts[2].sequence)
        assert payloads(await kit.read(await kit.subscription(), 3)) == [b"2", b"3", b"4"]

    @case(
        "lim.bytes", why="Large messages fill a disk before many do.", needs={Capability.ORDERING, Capability.HISTORY}
    )
    async def test_lim_bytes(self, kit: Kit) -> None:
        """At max_bytes the oldest messages make room for the new one."""
        publisher = await kit.publisher(stream=StreamOptions(name=kit.stream, max_bytes=5000))
        for number in range(10):
            await publisher.publish(kit.subject("x"), b"%d" % number + b"m" * 999)
        info = await kit.stream_info()
        assert info.bytes <= 5000 and 3 <= info.messages <= 5
        got = payloads(await kit.read(await kit.subscription(), info.messages))
        assert [int(data[:1]) for data in got] == list(range(10 - info.messages, 10))

    @case(
        "lim.full_messages",
        why="Where nothing may be lost the producer must be told to wait.",
        needs={Capability.ORDERING},
    )
    async def test_lim_full_messages(self, kit: Kit) -> None:
        """With discard="new" a full stream refuses by StreamFullError, keeps what it has, and later takes more."""
        publisher = await kit.publisher(stream=StreamOptions(name=kit.stream, max_messages=2, discard="new"))
        subscription = await kit.feed(b"1", b"2")
        for _ in range(2):
            with kit.raises(StreamFullError):
                await publisher.publish(kit.subject("x"), b"refused")
        await kit.backend.ensure_stream(StreamOptions(name=kit.stream, max_messages=3, discard="new"), manage="update")
        await publisher.publish(kit.subject("x"), b"3")
        assert payloads(await kit.read(subscription, 3)) == [b"1", b"2", b"3"]

    @case(
        "lim.full_bytes",
        why="A limit in bytes must refuse as honestly as one in messages.",
        needs={Capability.ORDERING},
    )
    async def test_lim_full_bytes(self, kit: Kit) -> None:
        """With discard="new" a stream refuses what would put it over max_bytes, and still takes what fits."""
        options = StreamOptions(name=kit.stream, max_bytes=5000, discard="new")
        publisher = await kit.publisher(stream=options)
        subscription = await kit.feed(b"a" * 2000, b"b" * 2000)
        with kit.raises(StreamFullError):
            await publisher.publish(kit.subject("x"), b"c" * 2000)
        await publisher.publish(kit.subject("x"), b"d" * 500)
        assert [data[:1] for data in payloads(await kit.read(subscription, 3))] == [b"a", b"b", b"d"]
        assert (await kit.stream_info()).bytes <= 5000

    @case("lim.full_batch", why="Whoever retries a batch must know which messages the full stream has taken.")
    async def test_lim_full_batch(self, kit: Kit) -> None:
        """publish_many into a stream that gets full tells those that were stored from those that were refused."""
        publisher = await kit.publisher(stream=StreamOptions(name=kit.stream, max_messages=3, discard="new"))
        with kit.raises(PublishBatchError) as caught:
            await publisher.publish_many((kit.subject("x"), b"%d" % number) for number in range(5))
        assert list(caught[0].stored) == [0, 1, 2]
        assert {type(error) for error in caught[0].failed.values()} == {StreamFullError}
        assert (await kit.stream_info()).messages == 3

    @case("lim.age", why="What is too old to be of use must not be handled.", needs={Capability.HISTORY})
    async def test_lim_age(self, kit: Kit) -> None:
        """A message goes after max_age, not before, and is not delivered any more."""
        age = max(0.2, kit.short)
        publisher = await kit.publisher(stream=StreamOptions(name=kit.stream, max_age=age))
        other = await kit.connect()
        started = time.monotonic()
        await publisher.publish(kit.subject("x"), b"old")
        async with asyncio.timeout(kit.cap):
            while (await other.stream_info(kit.stream)).messages:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        assert time.monotonic() - started >= age * 0.9
        subscription = await kit.subscription()
        await publisher.publish(kit.subject("x"), b"new")
        assert (await kit.receive(subscription)).data == b"new"

    @case("lim.message_size", why="One message that is far too large must not push out all others.")
    async def test_lim_message_size(self, kit: Kit) -> None:
        """A message over max_message_size is refused by InvalidArgumentError, one of exactly that size is stored."""
        publisher = await kit.publisher(stream=StreamOptions(name=kit.stream, max_message_size=100))
        subscription = await kit.subscription()
        with kit.raises(InvalidArgumentError):
            await publisher.publish(kit.subject("x"), b"m" * 101)
        await publisher.publish(kit.subject("x"), b"m" * 100)
        assert len((await kit.receive(subscription)).data) == 100
        assert (await kit.stream_info()).messages == 1

    @case(
        "lim.behind",
        why="A consumer that was away for too long has lost messages, not its mind.",
        needs={Capability.ORDERING, Capability.DURABLE, Capability.HISTORY},
    )
    async def test_lim_behind(self, kit: Kit) -> None:
        """A consumer whose messages were pushed out while it was away goes on with what is left."""
        publisher = await kit.publisher(stream=StreamOptions(name=kit.stream, max_messages=3))
        await (await kit.subscription(ack_wait=_LONG)).aclose()
        for number in range(10):
            await publisher.publish(kit.subject("x"), b"%d" % number)
        subscription = await kit.subscription(ack_wait=_LONG)
        assert payloads(await kit.read(subscription, 3)) == [b"7", b"8", b"9"]
        assert (await kit.consumer_info()).num_pending == 0

    @case("lim.held", why="A limit strikes while a handler is at work.")
    async def test_lim_held(self, kit: Kit) -> None:
        """Settling a message that was pushed out meanwhile is no error, and the consumer goes on."""
        await kit.backend.ensure_stream(StreamOptions(name=kit.stream, max_messages=1))
        subscription = await kit.subscription(ack_wait=_LONG)
        for number, verdict in enumerate(("ack", "nak", "ack")):
            await kit.publish(b"%d" % number)
            message = await kit.receive(subscription)
            assert message.data == b"%d" % number
            await kit.publish(b"pushes %d out" % number)
            if verdict == "ack" or Capability.NAK not in kit.backend.capabilities:
                assert await message.ack()
            else:
                assert await message.nak()
            assert (await kit.read(subscription, 1))[0].data == b"pushes %d out" % number
