"""The death of the broker's process, and brokers that promise nothing of a restart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit import PublishReceipt, PubSubError, Storage, TransientError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.cases.restarting import RESTART, reopened, restart
from pubsubkit_contract.kit import payloads
from pubsubkit_contract.outcome import Level

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from pubsubkit import Publisher
    from pubsubkit_contract.kit import Kit

__all__ = ["CrashCases"]

_ATTEMPTS = 150
_MANY = [b"%d" % number for number in range(100)]


class CrashCases(Cases):
    """What was confirmed is there after a crash; acks of the last moments may be lost, so that messages come twice."""

    @case(
        "rst.crash_no_loss",
        why="Machines lose power and processes are killed; the disk is still there.",
        needs={Capability.SURVIVES_CRASH, Capability.DURABLE, Capability.ACK_WAIT},
        knobs=RESTART,
    )
    async def test_rst_crash_no_loss(self, kit: Kit) -> None:
        """After a crash everything comes that was not acked; only what was delivered before may come again."""
        wait = max(0.6, 4 * kit.short)
        before = await kit.connect()
        member = await kit.subscription(backend=before, storage=Storage.FILE, ack_wait=wait, channel_buf_size=1)
        await kit.publish(*_MANY)
        acked = payloads(await kit.read(member, 20))
        held = payloads(await kit.read(member, 10, ack=False))
        member = await reopened(kit, before, crash=True, ack_wait=wait, channel_buf_size=1)
        await kit.publish(b"sentinel", backend=await kit.connect())
        missing, again = {*_MANY, b"sentinel"} - set(acked), list[bytes]()
        while missing:
            again += payloads(await kit.read(member, 1))
            missing.discard(again[-1])
        twice = {data for data in again if again.count(data) > 1}
        assert twice <= {*acked, *held}, f"{sorted(twice)} came twice"

    @case(
        "rst.crash_publishing",
        why="A publisher must be able to tell what it has to send again.",
        needs={Capability.SURVIVES_CRASH, Capability.HISTORY},
        knobs=RESTART,
    )
    async def test_rst_crash_publishing(self, kit: Kit) -> None:
        """What was confirmed to a publisher at work during a crash is there, and nothing that it did not publish."""
        publisher, begun = await kit.publisher(storage=Storage.FILE), asyncio.Event()
        work = asyncio.ensure_future(_publish(kit, publisher, begun))
        await kit.within(begun.wait(), "publishing")
        await restart(kit, crash=True)
        receipts = await kit.within(work, "publishing after the crash")
        backend = await kit.connect()
        stored = (await backend.stream_info(kit.stream)).messages
        found = {m.metadata.sequence: m.data for m in await kit.read(await kit.subscription(backend=backend), stored)}
        lost = {data: receipt for data, receipt in receipts.items() if found.get(receipt.sequence) != data}
        kit.note(f"{len(receipts)} of {_ATTEMPTS} confirmed, {stored} stored")
        assert not lost, f"confirmed and not there: {lost}"
        assert len(set(found.values())) == stored <= _ATTEMPTS
        assert b"%d" % (_ATTEMPTS - 1) in receipts, "the publisher did not go on"

    @case(
        "rst.not_promised",
        why="Who can live with the loss must at least not hang because of it.",
        absent={Capability.SURVIVES_RESTART},
        knobs=RESTART,
        level=Level.SHOULD,
    )
    async def test_rst_not_promised(self, kit: Kit) -> None:
        """After a restart that loses everything what is open works or raises one of our errors; all can begin anew."""
        subscription, publisher = await kit.feed(b"before"), await kit.publisher()
        message = await kit.receive(subscription)
        waiting = asyncio.ensure_future(kit.receive(subscription))
        await asyncio.sleep(0)
        await restart(kit)
        await _try(kit, publisher.publish(kit.subject("x"), b"lost?"), "publish")
        await _try(kit, message.ack(), "ack")
        name = "fresh" if Capability.DURABLE in kit.backend.capabilities else ""
        fresh = await kit.subscription(name, deliver_from="new")
        await kit.publish(b"after")
        assert payloads(await kit.read(fresh, 1)) == [b"after"]
        await _try(kit, waiting, "receive")
        await _try(kit, subscription.aclose(), "close")


async def _publish(kit: Kit, publisher: Publisher, begun: asyncio.Event) -> dict[bytes, PublishReceipt]:
    """Publish numbers; return what was confirmed."""
    receipts: dict[bytes, PublishReceipt] = {}
    for number in range(_ATTEMPTS):
        try:
            receipts[b"%d" % number] = await publisher.publish(kit.subject("x"), b"%d" % number)
        except TransientError as error:
            kit.note(f"{number}: {error}")
        if len(receipts) == _ATTEMPTS // 3:
            begun.set()
    return receipts


async def _try(kit: Kit, work: Awaitable[object], what: str) -> None:
    """*work* must succeed or raise one of our errors, within the cap."""
    try:
        kit.note(f"{what}: {await kit.within(work, what)!r}")
    except PubSubError as error:
        kit.note(f"{what}: {error!r}")
