"""Durable consumers, where they start, how members share, and how much is in flight."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pubsubkit import NotFoundError, StreamFullError, StreamOptions
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads, read, receive

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["DurabilityCases"]


class DurabilityCases:
    """Positions outlive connections; members share; nobody hoards."""

    @case("dur.resume")
    async def test_resume(self, kit: Kit) -> None:
        """A durable consumer that read and acked two of four resumes with exactly the rest."""
        await kit.publish(b"1", b"2", b"3", b"4")
        first = await kit.subscription()
        assert payloads(await read(first, 2)) == [b"1", b"2"]
        await first.aclose()
        await kit.publish(b"5")
        assert payloads(await read(await kit.subscription(), 3)) == [b"3", b"4", b"5"]

    @case("dur.unacked_kept")
    async def test_unacked_kept(self, kit: Kit) -> None:
        """A message that was read but has no verdict at close comes back at once, long before ack_wait."""
        await kit.publish(b"held")
        first = await kit.subscription(ack_wait=60)
        held = await receive(first)
        await first.aclose()
        again = await receive(await kit.subscription(ack_wait=60))
        assert (again.data, again.metadata.num_delivered) == (b"held", 2)
        assert not await held.ack()

    @case("shut.buffered_returned")
    async def test_buffered_returned(self, kit: Kit) -> None:
        """Messages that were fetched but never read go to the next member at once, long before ack_wait."""
        await kit.publish(*(b"%d" % number for number in range(50)))
        first = await kit.subscription(ack_wait=60)
        await read(first, 1)
        await first.aclose()
        rest = await read(await kit.subscription(ack_wait=60), 49)
        assert sorted(payloads(rest)) == sorted(b"%d" % number for number in range(1, 50))

    @case("dur.unseen_not_dead_lettered")
    async def test_unseen_not_dead(self, kit: Kit) -> None:
        """Closing over and over with unread messages does not use up their max_deliver."""
        await kit.publish(b"first", b"unseen")
        for _ in range(2):
            member = await kit.subscription(ack_wait=60, max_deliver=2)
            assert (await receive(member)).data == b"first"
            await member.aclose()
        assert (await receive(await kit.subscription(ack_wait=60, max_deliver=2))).data == b"unseen"

    @case("dur.reopen_many")
    async def test_reopen_many(self, kit: Kit) -> None:
        """Twenty cycles of open, read one, close over twenty messages: none is lost and none comes twice."""
        wanted = [b"%d" % number for number in range(20)]
        await kit.publish(*wanted)
        got: list[bytes] = []
        for _ in wanted:
            member = await kit.subscription()
            got += payloads(await read(member, 1))
            await member.aclose()
        assert sorted(got) == sorted(wanted)

    @case("dur.deliver_from")
    async def test_deliver_from(self, kit: Kit) -> None:
        """A new consumer starts at all, the last, a sequence, a time or only new messages, as asked."""
        publisher = await kit.publisher()
        for data in (b"1", b"2", b"3"):
            await publisher.publish(kit.subject("x"), data)
        times = [message.metadata.timestamp for message in await read(await kit.subscription("t"), 3)]
        new = await kit.subscription("new", deliver_from="new")
        await publisher.publish(kit.subject("x"), b"4")
        assert payloads(await read(new, 1)) == [b"4"]
        later = times[0] + timedelta(microseconds=1) if times[0] != times[1] else times[0]
        expected: dict[object, bytes] = {"all": b"1", "last": b"4", 2: b"2", later: b"2" if later != times[0] else b"1"}
        for number, (start, first) in enumerate(expected.items()):
            subscription = await kit.subscription(f"s{number}", deliver_from=start)
            assert (await receive(subscription)).data == first, start

    @case("fan.independent")
    async def test_fan_out(self, kit: Kit) -> None:
        """Two durable consumers get every message each, at their own pace."""
        await kit.publish(b"1", b"2", b"3")
        fast, slow = await kit.subscription("fast"), await kit.subscription("slow")
        assert payloads(await read(fast, 3)) == [b"1", b"2", b"3"]
        assert payloads(await read(slow, 3)) == [b"1", b"2", b"3"]

    @case("fan.ephemeral")
    async def test_ephemeral(self, kit: Kit) -> None:
        """Subscriptions without a name get every message each and leave no consumer behind."""
        one, two = await kit.subscription(""), await kit.subscription("")
        await kit.publish(b"x")
        names = {(await read(member, 1))[0].metadata.consumer for member in (one, two)}
        assert len(names) == 2
        for member in (one, two):
            await member.aclose()
        for name in names:
            with pytest.raises(NotFoundError):
                await kit.backend.consumer_info(kit.stream, name)

    @case("cmp.each_once")
    async def test_competing(self, kit: Kit) -> None:
        """Members of one durable share: each holds one at a time, together they get each message once."""
        members = [await kit.subscription(channel_buf_size=1) for _ in range(3)]
        await kit.publish(*(b"%d" % number for number in range(40)))
        firsts = await asyncio.gather(*(receive(member) for member in members))
        got = payloads(firsts)
        for message in firsts:
            await message.ack()

        async def work(index: int) -> None:
            async for message in members[index]:
                got.append(message.data)
                await message.ack()
                if len(got) == 40:
                    await asyncio.gather(*(member.aclose() for member in members))

        await asyncio.gather(*(work(index) for index in range(3)))
        assert sorted(got) == sorted(b"%d" % number for number in range(40))

    @case("bp.no_greedy_prefetch")
    async def test_no_greedy_prefetch(self, kit: Kit) -> None:
        """A member with a buffer of one that stalls holds one message: the other member gets the rest."""
        await kit.publish(*(b"%d" % number for number in range(10)))
        stalled = await kit.subscription(ack_wait=60, channel_buf_size=1)
        held = await receive(stalled)
        other = await kit.subscription(ack_wait=60, channel_buf_size=1)
        assert len({held.data, *payloads(await read(other, 9))}) == 10

    @case("bp.max_in_flight")
    async def test_max_in_flight(self, kit: Kit) -> None:
        """With max_in_flight unsettled messages the next one waits for a verdict."""
        await kit.publish(b"1", b"2", b"3")
        subscription = await kit.subscription(max_in_flight=2)
        one, _ = await read(subscription, 2, ack=False)
        waiting = asyncio.ensure_future(receive(subscription))
        await asyncio.wait([waiting], timeout=0.05)
        assert not waiting.done()
        await one.ack()
        assert (await waiting).data == b"3"

    @case("ord.strict_single")
    async def test_strict_order(self, kit: Kit) -> None:
        """With max_in_flight=1 nothing overtakes: nak and delayed nak bring the same message next."""
        await kit.publish(b"1", b"2")
        subscription = await kit.subscription(max_in_flight=1)
        await (await receive(subscription)).nak()
        await (await receive(subscription)).nak_with_delay(0.05)
        assert payloads(await read(subscription, 2)) == [b"1", b"2"]

    @case("can.receive")
    async def test_cancel_receive(self, kit: Kit) -> None:
        """Cancelling a pending receive loses no message, whenever it comes."""
        publisher = await kit.publisher()
        subscription = await kit.subscription(ack_wait=60)
        got: list[bytes] = []
        for number in range(100):
            waiting = asyncio.ensure_future(anext(subscription))
            publishing = asyncio.ensure_future(publisher.publish(kit.subject("x"), b"%d" % number))
            for _ in range(number % 10):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            if not waiting.cancelled():
                got += [waiting.result().data]
                await waiting.result().ack()
            await publishing
        got += payloads(await read(subscription, 100 - len(got)))
        assert sorted(got) == sorted(b"%d" % number for number in range(100))

    @case("lim.discard")
    async def test_limits(self, kit: Kit) -> None:
        """At a limit discard="old" drops the oldest message, discard="new" refuses with StreamFullError."""
        old = StreamOptions(name=kit.stream, max_messages=2)
        publisher = await kit.publisher(stream_name="", stream=old)
        for data in (b"1", b"2", b"3"):
            await publisher.publish(kit.subject("x"), data)
        assert payloads(await read(await kit.subscription(), 2)) == [b"2", b"3"]
        await kit.backend.delete_stream(kit.stream)
        new = StreamOptions(name=kit.stream, max_messages=1, discard="new")
        publisher = await kit.publisher(stream_name="", stream=new)
        await publisher.publish(kit.subject("x"), b"1")
        with pytest.raises(StreamFullError):
            await publisher.publish(kit.subject("x"), b"2")
