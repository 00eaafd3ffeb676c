"""``max_deliver``: how often a message is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pubsubkit import NotFoundError, UnsupportedError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit import Subscription
    from pubsubkit_contract.kit import Kit

__all__ = ["MaxDeliverCases"]

_LONG = 60.0


class MaxDeliverCases(Cases):
    """A message that fails every time is tried as often as was said: no more, no less."""

    @case(
        "redel.max_deliver",
        why="A handler that hangs on one message would be at it for ever.",
        needs={Capability.MAX_DELIVER, Capability.ACK_WAIT},
    )
    async def test_redel_max_deliver(self, kit: Kit) -> None:
        """A message that is always left without a verdict comes max_deliver times, and then never again."""
        subscription = await kit.feed(b"poison", ack_wait=kit.short, max_deliver=3)
        assert payloads(await kit.read(subscription, 3, ack=False)) == [b"poison"] * 3
        await _outlast(kit, subscription, 3)

    @case(
        "redel.max_deliver_nak",
        why="A handler that fails on one message at once would take all of the machine.",
        needs={Capability.MAX_DELIVER, Capability.NAK},
    )
    async def test_redel_max_deliver_nak(self, kit: Kit) -> None:
        """A message that is nak'ed every time comes max_deliver times, and then never again."""
        subscription = await kit.feed(b"poison", ack_wait=_LONG, max_deliver=3)
        for _ in range(3):
            message = await kit.receive(subscription)
            assert message.data == b"poison"
            assert await message.nak()
        await kit.publish(b"canary")
        for verdict in ("nak", "nak", "ack"):
            message = await kit.receive(subscription)
            assert message.data == b"canary"
            assert await getattr(message, verdict)()

    @case(
        "redel.max_deliver_delay",
        why="Waiting longer each time must not be a way around the limit.",
        needs={Capability.MAX_DELIVER, Capability.NAK_DELAY},
    )
    async def test_redel_max_deliver_delay(self, kit: Kit) -> None:
        """A nak with a delay at the last delivery does not bring the message back."""
        subscription = await kit.feed(b"poison", ack_wait=_LONG, max_deliver=2)
        for _ in range(2):
            message = await kit.receive(subscription)
            assert message.data == b"poison"
            assert await message.nak_with_delay(kit.short / 2)
        await kit.publish(b"canary")
        message = await kit.receive(subscription)
        assert await message.nak_with_delay(kit.short)
        assert payloads([message, await kit.receive(subscription)]) == [b"canary", b"canary"]

    @case(
        "redel.max_deliver_frees",
        why="A message that was given up and keeps its place stops a consumer for good.",
        needs={Capability.ORDERING, Capability.MAX_DELIVER, Capability.MAX_IN_FLIGHT, Capability.ACK_WAIT},
    )
    async def test_redel_max_deliver_frees(self, kit: Kit) -> None:
        """A message that was given up makes room for the next one under max_in_flight."""
        wanted = [b"%d" % number for number in range(3)]
        subscription = await kit.feed(*wanted, ack_wait=kit.short, max_deliver=1, max_in_flight=1)
        got = await kit.read(subscription, 3, ack=False)
        assert payloads(got) == wanted

    @case(
        "redel.max_deliver_others",
        why="What one service cannot handle another one can.",
        needs={Capability.ORDERING, Capability.MAX_DELIVER, Capability.NAK, Capability.FANOUT, Capability.DURABLE},
    )
    async def test_redel_max_deliver_others(self, kit: Kit) -> None:
        """A message that one consumer gave up is still delivered to another."""
        failing = await kit.subscription("failing", max_deliver=1)
        other = await kit.subscription("other", max_deliver=1)
        await kit.publish(b"x")
        assert await (await kit.receive(failing)).nak()
        await kit.publish(b"y")
        assert (await kit.receive(failing)).data == b"y"
        assert payloads(await kit.read(other, 2)) == [b"x", b"y"]

    @case(
        "redel.unsupported_max_deliver",
        why="A limit that is silently ignored lets one bad message run for ever.",
        absent={Capability.MAX_DELIVER},
    )
    async def test_redel_unsupported_max_deliver(self, kit: Kit) -> None:
        """Without max_deliver a consumer that asks for it is refused before anything is created."""
        with kit.raises(UnsupportedError, "max_deliver"):
            await kit.subscription(max_deliver=3)
        with kit.raises(NotFoundError):
            await kit.stream_info()


async def _outlast(kit: Kit, subscription: Subscription, count: int) -> None:
    """See that nothing but a canary comes until its own lease has run out twice."""
    await kit.publish(b"canary")
    assert payloads(await kit.read(subscription, count, ack=False)) == [b"canary"] * count
