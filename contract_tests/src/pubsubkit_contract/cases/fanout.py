"""Fan-out: every consumer of a stream gets every message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["FanoutCases"]

_FANOUT = {Capability.FANOUT, Capability.DURABLE}


class FanoutCases(Cases):
    """Consumers of one stream do not know of each other."""

    @case("fan.independent", why="A service that is added must take nothing from those that are there.", needs=_FANOUT)
    async def test_fan_independent(self, kit: Kit) -> None:
        """Two durable consumers of a stream each get every message, at their own pace."""
        fast, slow = await kit.subscription("fast"), await kit.subscription("slow")
        await kit.publish(b"1", b"2", b"3")
        one = payloads(await kit.read(slow, 1))
        assert sorted(payloads(await kit.read(fast, 3))) == [b"1", b"2", b"3"]
        await kit.publish(b"4")
        assert payloads(await kit.read(fast, 1)) == [b"4"]
        assert sorted(one + payloads(await kit.read(slow, 3))) == [b"1", b"2", b"3", b"4"]

    @case(
        "fan.ack_isolated",
        why="That the mail was sent does not mean that the bill was written.",
        needs={*_FANOUT, Capability.ACK_WAIT},
    )
    async def test_fan_ack_isolated(self, kit: Kit) -> None:
        """An ack in one consumer settles nothing in another: there the message comes back after ack_wait."""
        one, two = await kit.subscription("one"), await kit.subscription("two", ack_wait=kit.short)
        await kit.publish(b"x")
        held = await kit.receive(two)
        assert await (await kit.receive(one)).ack()
        again = await kit.receive(two)
        assert (held.data, again.data) == (b"x", b"x")

    @case(
        "fan.nak_isolated",
        why="A failure of one service must not make the others do their work again.",
        needs={*_FANOUT, Capability.NAK},
    )
    async def test_fan_nak_isolated(self, kit: Kit) -> None:
        """A nak in one consumer brings the message back there, and not in another that has acked it."""
        one, two = await kit.subscription("one"), await kit.subscription("two")
        await kit.publish(b"x")
        await kit.read(two, 1)
        assert await (await kit.receive(one)).nak()
        assert payloads(await kit.read(one, 1)) == [b"x"]
        await kit.publish(b"sentinel")
        assert payloads(await kit.read(two, 1)) == [b"sentinel"]

    @case("fan.ephemeral", why="Two browsers that watch the same events must both see all.", needs={Capability.FANOUT})
    async def test_fan_ephemeral(self, kit: Kit) -> None:
        """Of two subscriptions without a name each gets every message."""
        one, two = await kit.subscription(""), await kit.subscription("")
        await kit.publish(b"1", b"2")
        for member in (one, two):
            assert sorted(payloads(await kit.read(member, 2))) == [b"1", b"2"]

    @case("fan.mixed", why="Looking at what goes on must not take part in it.", needs=_FANOUT)
    async def test_fan_mixed(self, kit: Kit) -> None:
        """A subscription without a name takes nothing from a durable consumer, and acks nothing there."""
        durable, watching = await kit.subscription("d"), await kit.subscription("")
        await kit.publish(b"1", b"2")
        assert sorted(payloads(await kit.read(watching, 2))) == [b"1", b"2"]
        await watching.aclose()
        assert sorted(payloads(await kit.read(durable, 2))) == [b"1", b"2"]
