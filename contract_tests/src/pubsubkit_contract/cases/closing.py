"""What closing leaves behind for the next reader of a durable consumer: verdicts, and messages without one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["ClosingCases"]

_EARLY = 0.002
_LONG = 60.0


class ClosingCases(Cases):
    """Closing gives back what has no verdict, and keeps every verdict."""

    @case(
        "dur.unacked_kept",
        why="A handler that was cut short has not handled its message.",
        needs={Capability.DURABLE},
    )
    async def test_dur_unacked_kept(self, kit: Kit) -> None:
        """What was read and has no verdict at close comes back; at once, long before ack_wait, where there is nak."""
        wait = _LONG if Capability.NAK in kit.backend.capabilities else kit.short
        first = await kit.feed(b"1", b"2", b"held", ack_wait=wait)
        held = (await kit.read(first, 3, ack=False))[2]
        await first.aclose()
        again = payloads(await kit.read(await kit.subscription(ack_wait=wait), 3))
        assert sorted(again) == [b"1", b"2", b"held"]
        assert not await held.ack()

    @case(
        "dur.acks_singly",
        why="Handlers run side by side: an ack speaks for one message, not for all before it.",
        needs={Capability.DURABLE},
    )
    async def test_dur_acks_singly(self, kit: Kit) -> None:
        """Of three messages the second is acked before closing: exactly the other two come when it is opened again."""
        member = await kit.feed(b"1", b"2", b"3", ack_wait=kit.short)
        messages = {message.data: message for message in await kit.read(member, 3, ack=False)}
        assert await messages[b"2"].ack()
        await member.aclose()
        assert sorted(payloads(await kit.read(await kit.subscription(ack_wait=kit.short), 2))) == [b"1", b"3"]

    @case(
        "dur.held_long",
        why="Closing must give back what is held, however long it was held.",
        needs={Capability.DURABLE},
    )
    async def test_dur_held_long(self, kit: Kit) -> None:
        """What was held longer than ack_wait when its subscription is closed, or drained, comes to the next one."""
        member = await kit.feed(b"held", ack_wait=kit.short)
        for end in ("aclose", "drain"):
            assert (await kit.receive(member)).data == b"held"
            await asyncio.sleep(kit.short * 1.5)
            await (member.aclose() if end == "aclose" else member.drain(0.1))
            member = await kit.subscription(ack_wait=kit.short)
        assert (await kit.receive(member)).data == b"held"

    @case(
        "dur.unacked_counted",
        why="A message that kills every process that reads it is found by its count.",
        needs={Capability.DURABLE, Capability.NAK, Capability.DELIVERY_COUNT},
    )
    async def test_dur_unacked_counted(self, kit: Kit) -> None:
        """Deliveries go on being counted when the consumer is closed and opened again."""
        member = await kit.feed(b"held", ack_wait=_LONG)
        for count in (1, 2, 3):
            assert (await kit.receive(member)).metadata.num_delivered == count
            await member.aclose()
            member = await kit.subscription(ack_wait=_LONG)

    @case(
        "dur.unseen_not_dead_lettered",
        why="Restarts in a row would kill messages that no handler ever saw.",
        needs={Capability.DURABLE, Capability.NAK, Capability.MAX_DELIVER},
    )
    async def test_dur_unseen_not_dead_lettered(self, kit: Kit) -> None:
        """Closing over and over with unread messages does not use up their max_deliver."""
        options: dict[str, Any] = {"ack_wait": _LONG, "max_deliver": 2}
        member = await kit.feed(b"1", b"2", **options)
        seen = [(await kit.receive(member)).data]
        await member.aclose()
        member = await kit.subscription(**options)
        seen.append((await kit.receive(member)).data)
        await member.aclose()
        alive = {b"1", b"2"} - {data for data in seen if seen.count(data) == 2}
        member = await kit.subscription(**options)
        assert set(payloads(await kit.read(member, len(alive)))) == alive

    @case(
        "dur.ack_survives_close",
        why="The last acks before an orderly end must not be lost with it.",
        needs={Capability.DURABLE},
    )
    async def test_dur_ack_survives_close(self, kit: Kit) -> None:
        """When closing a subscription returns, the broker has recorded the acks that were given right before."""
        subscription = await kit.feed(*(b"%d" % number for number in range(30)), ack_wait=_LONG)
        await kit.read(subscription, 30)
        await subscription.aclose()
        info = await kit.consumer_info()
        assert (info.num_pending, info.num_ack_pending) == (0, 0)

    @case(
        "dur.ack_survives_disconnect",
        why="A process that ends closes its connection and nothing else.",
        needs={Capability.DURABLE},
    )
    async def test_dur_ack_survives_disconnect(self, kit: Kit) -> None:
        """When closing the backend returns, the broker has recorded the acks that were given right before."""
        backend = await kit.connect()
        subscription = await kit.subscription(backend=backend, ack_wait=_LONG)
        await kit.publish(*(b"%d" % number for number in range(30)))
        await kit.read(subscription, 30)
        await backend.aclose()
        info = await kit.consumer_info()
        assert (info.num_pending, info.num_ack_pending) == (0, 0)

    @case(
        "dur.delay_survives_close",
        why="A retry that was put off for an hour must not depend on who is there in an hour.",
        needs={Capability.DURABLE, Capability.NAK_DELAY},
    )
    async def test_dur_delay_survives_close(self, kit: Kit) -> None:
        """A delayed nak is the broker's to keep: the message comes to the next reader, and not before the delay."""
        delay = max(0.3, 2 * kit.short)
        first = await kit.feed(b"later", ack_wait=_LONG)
        message = await kit.receive(first)
        started = time.monotonic()
        assert await message.nak_with_delay(delay)
        await first.aclose()
        assert (await kit.receive(await kit.subscription(ack_wait=_LONG))).data == b"later"
        assert time.monotonic() - started >= delay - _EARLY
