"""Redelivery: what got no verdict comes back, counted, until ``max_deliver``."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["RedeliveryCases"]

_LONG = 60.0
_EARLY = 0.9


class RedeliveryCases(Cases):
    """``ack_wait`` is a lease: kept while it runs, ended when it is over."""

    @case("redel.ack_wait", why="Redelivery that comes early does everything twice.", needs={Capability.ACK_WAIT})
    async def test_redel_ack_wait(self, kit: Kit) -> None:
        """A message without a verdict comes back after ack_wait, not before."""
        lease = max(0.15, kit.short)
        subscription = await kit.subscription(ack_wait=lease)
        started = time.monotonic()
        await kit.publish(b"x")
        for number in range(1, 4):
            assert (await kit.receive(subscription)).data == b"x"
            waited = time.monotonic() - started
            assert waited >= (number - 1) * lease * _EARLY, f"delivery {number} came after {waited:.3f} s"

    @case(
        "redel.each_its_own",
        why="A message that arrives while another one is being worked on has its whole time before it.",
        needs={Capability.ACK_WAIT},
    )
    async def test_redel_each_its_own(self, kit: Kit) -> None:
        """ack_wait of each message begins with its own delivery, not with that of an older one."""
        lease = max(0.2, kit.short)
        subscription = await kit.feed(b"older", ack_wait=lease)
        await kit.receive(subscription)
        await asyncio.sleep(lease * 0.7)
        started = time.monotonic()
        await kit.publish(b"younger")
        seen = 0
        while seen < 2:
            seen += (await kit.receive(subscription)).data == b"younger"
        assert time.monotonic() - started >= lease * _EARLY

    @case(
        "redel.from_delivery",
        why="After an hour of downtime a backlog would come back before anybody could have handled it.",
        needs={Capability.ACK_WAIT, Capability.HISTORY},
    )
    async def test_redel_from_delivery(self, kit: Kit) -> None:
        """ack_wait begins when a message is delivered, not when it was stored."""
        lease = max(0.15, kit.short)
        await kit.publish(b"waits")
        await asyncio.sleep(lease)
        started = time.monotonic()
        subscription = await kit.subscription(ack_wait=lease)
        assert payloads(await kit.read(subscription, 2, ack=False)) == [b"waits", b"waits"]
        assert time.monotonic() - started >= lease * _EARLY

    @case("redel.repeat", why="The second failure is where naive brokers lose a message.", needs={Capability.ACK_WAIT})
    async def test_redel_repeat(self, kit: Kit) -> None:
        """A message comes back each time that it is left without a verdict, unchanged, and ends with an ack."""
        subscription = await kit.feed(b"x", ack_wait=kit.short)
        deliveries = [await kit.receive(subscription) for _ in range(4)]
        assert {(each.data, each.subject, each.metadata.sequence) for each in deliveries} == {
            (b"x", kit.subject("x"), deliveries[0].metadata.sequence)
        }
        assert await deliveries[-1].ack()
        await kit.publish(b"canary")
        assert payloads(await kit.read(subscription, 2, ack=False)) == [b"canary", b"canary"]

    @case("redel.all", why="A process that dies holding many messages must lose none.", needs={Capability.ACK_WAIT})
    async def test_redel_all(self, kit: Kit) -> None:
        """Each of a hundred messages that were left without a verdict comes back."""
        wanted = {b"%d" % number for number in range(100)}
        subscription = await kit.feed(*wanted, ack_wait=max(0.1, kit.short))
        seen: set[bytes] = set()
        again: set[bytes] = set()
        while again != wanted:
            message = await kit.receive(subscription)
            if message.data in seen:
                assert await message.ack()
                again.add(message.data)
            seen.add(message.data)

    @case(
        "redel.backlog_unaffected",
        why="One message that is stuck must not cost or hold up the others.",
        needs={Capability.ACK_WAIT, Capability.HISTORY},
    )
    async def test_redel_backlog_unaffected(self, kit: Kit) -> None:
        """While a message comes back again and again, the backlog behind it is delivered once each, all of it."""
        backlog = [b"%d" % number for number in range(15)]
        await kit.publish(b"stuck", *backlog)
        subscription = await kit.subscription(ack_wait=kit.short, channel_buf_size=1)
        got: list[bytes] = []
        stuck = 0
        while stuck < 3 or len(got) < len(backlog):
            message = await kit.receive(subscription)
            if message.data == b"stuck":
                stuck += 1
            else:
                got.append(message.data)
                assert await message.ack()
            await asyncio.sleep(kit.short / 5)
        assert sorted(got) == sorted(backlog)

    @case(
        "redel.other_member",
        why="The point of several members is that one takes over from another that hangs.",
        needs={Capability.ACK_WAIT, Capability.COMPETE, Capability.DURABLE},
    )
    async def test_redel_other_member(self, kit: Kit) -> None:
        """What one member leaves without a verdict goes to another, on another connection."""
        hung = await kit.feed(b"1", b"2", ack_wait=kit.short, channel_buf_size=1)
        held = [await kit.receive(hung)]
        other = await kit.subscription(backend=await kit.connect(), ack_wait=kit.short, channel_buf_size=1)
        got = {message.data for message in await kit.read(other, 2)}
        assert {message.data for message in held} < got == {b"1", b"2"}

    @case(
        "redel.counts",
        why="Retry policies and dead letters go by the count of deliveries.",
        needs={Capability.ACK_WAIT, Capability.DELIVERY_COUNT},
    )
    async def test_redel_counts(self, kit: Kit) -> None:
        """Deliveries after a lease that ran out are counted, from 1."""
        subscription = await kit.feed(b"x", ack_wait=kit.short)
        counts = [(await kit.receive(subscription)).metadata.num_delivered for _ in range(4)]
        assert counts == [1, 2, 3, 4]

    @case(
        "redel.count_fresh",
        why="A new message that seems to be tried already may be given up at its first failure.",
        needs={Capability.NAK, Capability.DELIVERY_COUNT},
    )
    async def test_redel_count_fresh(self, kit: Kit) -> None:
        """Each message has its own count: a new one begins at 1 after others were redelivered, and ends none."""
        subscription = await kit.feed(b"old", ack_wait=_LONG)
        for _ in range(3):
            assert await (await kit.receive(subscription)).nak()
        old = await kit.receive(subscription)
        await kit.publish(b"new")
        new = await kit.receive(subscription)
        assert (new.data, new.metadata.num_delivered) == (b"new", 1)
        assert await old.nak()
        again = await kit.receive(subscription)
        assert (again.data, again.metadata.num_delivered) == (b"old", 5)

    @case(
        "redel.count_kept",
        why="A poisonous message kills its process, and must not begin anew with the next one.",
        needs={Capability.NAK, Capability.DELIVERY_COUNT, Capability.COMPETE, Capability.DURABLE},
    )
    async def test_redel_count_kept(self, kit: Kit) -> None:
        """The count goes on with another member, on another connection."""
        first = await kit.feed(b"x", ack_wait=_LONG, channel_buf_size=1)
        assert await (await kit.receive(first)).nak()
        assert await (await kit.receive(first)).nak()
        await first.aclose()
        second = await kit.subscription(backend=await kit.connect(), ack_wait=_LONG)
        assert (await kit.receive(second)).metadata.num_delivered == 3

    @case(
        "redel.count_own",
        why="The failures of one service are no failures of another.",
        needs={Capability.NAK, Capability.DELIVERY_COUNT, Capability.FANOUT, Capability.DURABLE},
    )
    async def test_redel_count_own(self, kit: Kit) -> None:
        """Each consumer counts its own deliveries."""
        failing, other = await kit.subscription("failing"), await kit.subscription("other")
        await kit.publish(b"x")
        for _ in range(3):
            assert await (await kit.receive(failing)).nak()
        assert (await kit.receive(other)).metadata.num_delivered == 1
