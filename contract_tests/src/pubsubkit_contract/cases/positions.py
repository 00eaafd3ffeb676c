"""A clean restart of the broker: durable consumers are where they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pubsubkit import Storage
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.cases.restarting import RESTART, reopened, restart
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["PositionCases"]

_FILE = Storage.FILE
_LONG = 60.0
_MANY = [b"%d" % number for number in range(100)]
_DURABLE = {Capability.SURVIVES_RESTART, Capability.DURABLE}


class PositionCases(Cases):
    """Positions, verdicts, counts and settings of a durable consumer outlive a clean restart of the broker."""

    @case(
        "rst.acks",
        why="After an update of the broker everything would be done once more.",
        needs=_DURABLE,
        knobs=RESTART,
    )
    async def test_rst_acks(self, kit: Kit) -> None:
        """What was acked, in any order, does not come after a restart; all that was not does."""
        member = await kit.feed(*_MANY, storage=_FILE, ack_wait=_LONG)
        acked = [message for number, message in enumerate(await kit.read(member, 30, ack=False)) if number % 3]
        for message in acked:
            await message.ack()
        await member.aclose()
        await restart(kit)
        backend = await kit.connect()
        member = await kit.subscription(backend=backend, ack_wait=_LONG)
        got = payloads(await kit.read(member, 80))
        await kit.publish(b"sentinel", backend=backend)
        got += payloads(await kit.read(member, 1))
        assert sorted(got) == sorted({*_MANY, b"sentinel"} - set(payloads(acked)))

    @case(
        "rst.confirmed_acks",
        why="A confirmation that a restart takes back confirms nothing.",
        needs={*_DURABLE, Capability.CONFIRMED_ACK, Capability.ACK_WAIT},
        knobs=RESTART,
    )
    async def test_rst_confirmed_acks(self, kit: Kit) -> None:
        """Confirmed acks of the last moment before a restart hold, while the canary comes back."""
        wait = max(0.6, 4 * kit.short)
        before = await kit.connect()
        member = await kit.subscription(backend=before, storage=_FILE, ack_wait=wait)
        await kit.publish(*_MANY[:6])
        messages = await kit.read(member, 6, ack=False)
        for message in messages[:5]:
            assert await message.ack(confirm=True)
        member = await reopened(kit, before, ack_wait=wait)
        for _ in range(2):
            assert (await kit.receive(member)).data == messages[5].data

    @case(
        "rst.in_flight",
        why="A handler that was at work during the restart may have died meanwhile.",
        needs={*_DURABLE, Capability.ACK_WAIT},
        knobs=RESTART,
    )
    async def test_rst_in_flight(self, kit: Kit) -> None:
        """What was delivered and has no verdict when the broker stops comes again after the restart."""
        wait = max(0.6, 4 * kit.short)
        before = await kit.connect()
        member = await kit.subscription(backend=before, storage=_FILE, ack_wait=wait)
        await kit.publish(b"1", b"2", b"3")
        await kit.read(member, 3, ack=False)
        member = await reopened(kit, before, ack_wait=wait)
        assert sorted(payloads(await kit.read(member, 3))) == [b"1", b"2", b"3"]

    @case(
        "rst.counts",
        why="A poisonous message must not begin a new life with each restart.",
        needs={*_DURABLE, Capability.NAK, Capability.ACK_WAIT, Capability.DELIVERY_COUNT},
        knobs=RESTART,
    )
    async def test_rst_counts(self, kit: Kit) -> None:
        """Deliveries go on being counted after a restart."""
        wait = max(0.6, 4 * kit.short)
        before = await kit.connect()
        member = await kit.subscription(backend=before, storage=_FILE, ack_wait=wait)
        await kit.publish(b"bad")
        await (await kit.receive(member)).nak()
        assert (await kit.receive(member)).metadata.num_delivered == 2
        member = await reopened(kit, before, ack_wait=wait)
        assert (await kit.receive(member)).metadata.num_delivered >= 3

    @case(
        "rst.delayed",
        why="A retry that was put off until tomorrow must survive the night.",
        needs={*_DURABLE, Capability.NAK_DELAY},
        knobs=RESTART,
    )
    async def test_rst_delayed(self, kit: Kit) -> None:
        """A message that waits for the end of its delay comes also when the broker is restarted meanwhile."""
        before = await kit.connect()
        member = await kit.subscription(backend=before, storage=_FILE, ack_wait=_LONG)
        await kit.publish(b"later")
        await (await kit.receive(member)).nak_with_delay(max(0.5, 2 * kit.short))
        await before.aclose()
        await restart(kit)
        member = await kit.subscription(backend=await kit.connect(), ack_wait=_LONG)
        assert (await kit.receive(member)).data == b"later"

    @case(
        "rst.consumer_config",
        why="A limit that is gone after a restart is missed when it is needed.",
        needs=_DURABLE,
        knobs=RESTART,
    )
    async def test_rst_consumer_config(self, kit: Kit) -> None:
        """A durable consumer has the same settings after a restart."""
        options: dict[str, Any] = {"ack_wait": 7.5, "filter_subject": kit.subject("x"), "storage": _FILE}
        options |= {"max_deliver": 9} if Capability.MAX_DELIVER in kit.backend.capabilities else {}
        options |= {"max_in_flight": 17} if Capability.MAX_IN_FLIGHT in kit.backend.capabilities else {}
        await (await kit.subscription(**options)).aclose()
        before = (await kit.consumer_info()).spec
        await restart(kit)
        assert (await kit.consumer_info()).spec == before
