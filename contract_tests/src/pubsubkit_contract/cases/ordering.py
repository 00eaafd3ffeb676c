"""Ordering: what is promised of the order of first deliveries."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["OrderingCases"]


class OrderingCases(Cases):
    """One publisher's messages are first delivered in the order in which they were published."""

    @case("ord.fifo", why="created must not come after deleted.", needs={Capability.ORDERING})
    async def test_ord_fifo(self, kit: Kit) -> None:
        """Fifty messages of one publisher arrive in their order."""
        subscription = await kit.subscription()
        wanted = [b"%d" % number for number in range(50)]
        await kit.publish(*wanted)
        assert payloads(await kit.read(subscription, 50)) == wanted

    @case(
        "ord.backlog",
        why="Catching up takes another path through a broker than keeping up.",
        needs={Capability.ORDERING, Capability.HISTORY},
    )
    async def test_ord_backlog(self, kit: Kit) -> None:
        """A backlog larger than the consumer's buffer arrives in its order."""
        wanted = [b"%d" % number for number in range(60)]
        await kit.publish(*wanted)
        assert payloads(await kit.read(await kit.subscription(channel_buf_size=7), 60)) == wanted

    @case("ord.per_publisher", why="Each producer has an order of its own to keep.", needs={Capability.ORDERING})
    async def test_ord_per_publisher(self, kit: Kit) -> None:
        """Of eight publishers at once each one's messages keep their order."""
        subscription = await kit.subscription()

        async def work(name: int) -> None:
            publisher = await kit.publisher()
            for number in range(25):
                await publisher.publish(kit.subject(f"p{name}"), b"%d" % number)

        await asyncio.gather(*(work(name) for name in range(8)))
        messages = await kit.read(subscription, 200)
        for name in range(8):
            mine = [int(message.data) for message in messages if message.subject == kit.subject(f"p{name}")]
            assert mine == list(range(25))

    @case(
        "ord.stream",
        why="Two services that build the same state must see the same history.",
        needs={Capability.ORDERING, Capability.FANOUT},
    )
    async def test_ord_stream(self, kit: Kit) -> None:
        """Two consumers see the messages of several publishers in the identical order."""
        one, two = await kit.subscription(""), await kit.subscription("")
        publishers = [await kit.publisher() for _ in range(4)]

        async def work(index: int) -> None:
            for number in range(10):
                await publishers[index].publish(kit.subject("x"), b"%d/%d" % (index, number))

        await asyncio.gather(*(work(index) for index in range(4)))
        assert payloads(await kit.read(one, 40)) == payloads(await kit.read(two, 40))

    @case(
        "ord.strict_single",
        why="Whoever needs strict order must be able to have it, also when a message fails.",
        needs={Capability.ORDERING, Capability.NAK, Capability.NAK_DELAY, Capability.MAX_IN_FLIGHT},
    )
    async def test_ord_strict_single(self, kit: Kit) -> None:
        """With max_in_flight=1 nothing overtakes: after nak and delayed nak the same message comes next."""
        subscription = await kit.feed(b"1", b"2", max_in_flight=1)
        first = await kit.receive(subscription)
        await first.nak()
        again = await kit.receive(subscription)
        await again.nak_with_delay(kit.short)
        assert (first.data, again.data) == (b"1", b"1")
        assert payloads(await kit.read(subscription, 2)) == [b"1", b"2"]
