"""Negative acknowledgement: a message that was not handled comes back, at once or after a delay."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from pubsubkit import InvalidArgumentError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit import Message
    from pubsubkit_contract.kit import Kit

__all__ = ["NakCases"]

_EARLY = 0.002
_LONG = 60.0


class NakCases(Cases):
    """A nak is a wish to try again, and is fulfilled."""

    @case("nak.redelivers", why="A nak is a wish to try again.", needs={Capability.NAK})
    async def test_nak_redelivers(self, kit: Kit) -> None:
        """A nak brings the message back at once, long before ack_wait, the same but for its count."""
        subscription = await kit.feed(b"x", ack_wait=_LONG)
        first = await kit.receive(subscription)
        assert await first.nak()
        again = await kit.receive(subscription)
        assert again is not first
        assert (again.data, again.subject) == (b"x", first.subject)
        assert again.metadata.sequence == first.metadata.sequence
        assert await again.ack()

    @case(
        "nak.prompt",
        why="A member that waits must not need a second push to see what another gave back.",
        needs={Capability.NAK},
    )
    async def test_nak_prompt(self, kit: Kit) -> None:
        """A receive that waits already gets a message at the moment of its nak, long before ack_wait."""
        subscription = await kit.feed(b"x", ack_wait=_LONG)
        message = await kit.receive(subscription)
        waiting = asyncio.ensure_future(kit.receive(subscription))
        await asyncio.sleep(0)
        assert await message.nak()
        assert (await waiting).data == b"x"

    @case("nak.delay_zero", why="A computed delay may well be 0.", needs={Capability.NAK, Capability.NAK_DELAY})
    async def test_nak_delay_zero(self, kit: Kit) -> None:
        """A delay of 0 seconds is none: the message comes back at once, long before ack_wait."""
        subscription = await kit.feed(b"x", ack_wait=_LONG)
        assert await (await kit.receive(subscription)).nak_with_delay(0)
        assert (await kit.receive(subscription)).data == b"x"

    @case("nak.repeat", why="The second failure is where naive brokers lose the message.", needs={Capability.NAK})
    async def test_nak_repeat(self, kit: Kit) -> None:
        """Each of five naks brings the message back, and the ack after them ends it."""
        subscription = await kit.feed(b"x", ack_wait=_LONG)
        for _ in range(5):
            message = await kit.receive(subscription)
            assert message.data == b"x"
            assert await message.nak()
        assert await (await kit.receive(subscription)).ack()
        await kit.publish(b"sentinel")
        assert (await kit.receive(subscription)).data == b"sentinel"

    @case(
        "nak.counts",
        why="Retry policies go by the count of deliveries.",
        needs={Capability.NAK, Capability.DELIVERY_COUNT},
    )
    async def test_nak_counts(self, kit: Kit) -> None:
        """Deliveries are counted from 1, one more with each nak."""
        subscription = await kit.feed(b"x", ack_wait=_LONG)
        counts: list[int] = []
        for _ in range(5):
            message = await kit.receive(subscription)
            counts.append(message.metadata.num_delivered)
            await message.nak()
        assert counts == [1, 2, 3, 4, 5]

    @case(
        "nak.when_full",
        why="A consumer at its limit is where a nak has nowhere to go.",
        needs={Capability.NAK, Capability.MAX_IN_FLIGHT, Capability.HISTORY},
    )
    async def test_nak_when_full(self, kit: Kit) -> None:
        """With the limit in flight and more waiting, every message that was nak'ed once is acked in the end."""
        wanted = {b"%d" % number for number in range(20)}
        await kit.publish(*wanted)
        subscription = await kit.subscription(max_in_flight=2, ack_wait=_LONG)
        held: list[Message] = []
        seen: set[bytes] = set()
        acked: set[bytes] = set()
        while acked != wanted:
            while len(held) < min(2, len(wanted) - len(acked)):
                held.append(await kit.receive(subscription))
            message = held.pop(0)
            if message.data in seen:
                assert await message.ack()
                acked.add(message.data)
            else:
                seen.add(message.data)
                assert await message.nak()

    @case(
        "nak.handle_snapshot",
        why="A log line that is written later must tell of the delivery that it is about.",
        needs={Capability.NAK, Capability.DELIVERY_COUNT},
    )
    async def test_nak_handle_snapshot(self, kit: Kit) -> None:
        """The handle of the first delivery still says what it said when the second one is there."""
        subscription = await kit.feed(b"x", ack_wait=_LONG)
        first = await kit.receive(subscription)
        before = (first.data, first.subject, first.metadata)
        await first.nak()
        second = await kit.receive(subscription)
        assert (first.data, first.subject, first.metadata) == before
        assert (first.metadata.num_delivered, second.metadata.num_delivered) == (1, 2)

    @case(
        "nak.content_unmutated",
        why="A handler that changes what it got must not change what the next one gets.",
        needs={Capability.NAK, Capability.HEADERS},
    )
    async def test_nak_content_unmutated(self, kit: Kit) -> None:
        """What a handler does to the headers of a delivery is not in the next delivery."""
        subscription = await kit.subscription(ack_wait=_LONG)
        publisher = await kit.publisher()
        await publisher.publish(kit.subject("x"), b"x", headers={"a": "original"})
        message = await kit.receive(subscription)
        try:
            message.headers["a"] = "changed"  # type: ignore[index]
            message.headers.clear()  # type: ignore[attr-defined]
        except (TypeError, AttributeError):
            kit.note("the headers cannot be changed")
        await message.nak()
        assert dict((await kit.receive(subscription)).headers) == {"a": "original"}

    @case("nak.delay_lower", why="A delay that is not kept turns a retry into a storm.", needs={Capability.NAK_DELAY})
    async def test_nak_delay_lower(self, kit: Kit) -> None:
        """A delayed nak comes back after the delay, not before."""
        subscription = await kit.feed(b"later", ack_wait=_LONG)
        message = await kit.receive(subscription)
        started = time.monotonic()
        assert await message.nak_with_delay(kit.short)
        again = await kit.receive(subscription)
        assert time.monotonic() - started >= kit.short - _EARLY
        assert again.data == b"later"

    @case("nak.delay_no_hol", why="One message that waits must not hold up all others.", needs={Capability.NAK_DELAY})
    async def test_nak_delay_no_hol(self, kit: Kit) -> None:
        """While one message is delayed the next ones arrive, and the delayed one still comes."""
        subscription = await kit.feed(b"later", b"next", ack_wait=_LONG)
        message = await kit.receive(subscription)
        assert await message.nak_with_delay(max(0.3, 2 * kit.short))
        others = {b"later", b"next"} - {message.data}
        assert set(payloads(await kit.read(subscription, 1))) == others
        await kit.publish(b"new")
        assert set(payloads(await kit.read(subscription, 2))) == {b"new", message.data}

    @case(
        "nak.delay_invalid",
        why="A delay that was computed wrongly must not lose the message.",
        needs={Capability.NAK, Capability.NAK_DELAY},
    )
    async def test_nak_delay_invalid(self, kit: Kit) -> None:
        """A negative, infinite or wordy delay is refused and the message stays without a verdict."""
        subscription = await kit.feed(b"x", ack_wait=_LONG)
        message = await kit.receive(subscription)
        for delay in (-1, float("nan"), float("inf"), "1"):
            with kit.raises(InvalidArgumentError):
                await message.nak_with_delay(delay)  # type: ignore[arg-type]
        assert not message.settled
        assert await message.nak()
        assert (await kit.receive(subscription)).data == b"x"

    @case(
        "nak.backoff",
        why="Waiting longer each time is how a broken dependency recovers.",
        needs={Capability.NAK, Capability.NAK_DELAY},
    )
    async def test_nak_backoff(self, kit: Kit) -> None:
        """A plain nak waits as the consumer's backoff says; its last entry serves all later deliveries."""
        subscription = await kit.feed(b"x", ack_wait=_LONG, backoff=(kit.short, 0.0))
        message = await kit.receive(subscription)
        started = time.monotonic()
        await message.nak()
        message = await kit.receive(subscription)
        assert time.monotonic() - started >= kit.short - _EARLY
        for _ in range(2):
            await message.nak()
            message = await kit.receive(subscription)
        assert time.monotonic() - started < _LONG
