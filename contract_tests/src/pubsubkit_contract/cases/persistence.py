"""A clean restart of the broker: what is in file storage is there again, and applications go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pubsubkit import Storage, StreamOptions
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.cases.restarting import RESTART, restart
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["PersistenceCases"]

_FILE = Storage.FILE
_MANY = [b"%d" % number for number in range(100)]
_SURVIVES = {Capability.SURVIVES_RESTART}
_DURABLE = {Capability.SURVIVES_RESTART, Capability.DURABLE}


class PersistenceCases(Cases):
    """Messages and streams outlive a clean restart of the broker, and applications go on."""

    @case(
        "rst.messages",
        why="A message that was confirmed is nobody's but the broker's.",
        needs={*_SURVIVES, Capability.HISTORY},
        knobs=RESTART,
    )
    async def test_rst_messages(self, kit: Kit) -> None:
        """All messages of a stream in file storage are there after a restart, once each."""
        await kit.publish(*_MANY, storage=_FILE)
        await restart(kit)
        backend = await kit.connect()
        subscription = await kit.subscription(backend=backend)
        await kit.publish(b"sentinel", backend=backend)
        assert sorted(payloads(await kit.read(subscription, 101))) == sorted([*_MANY, b"sentinel"])

    @case(
        "rst.unchanged",
        why="Who stored a sequence or a time must find the same message under it.",
        needs={*_SURVIVES, Capability.HISTORY, Capability.HEADERS},
        knobs=RESTART,
    )
    async def test_rst_unchanged(self, kit: Kit) -> None:
        """Subject, data, headers, sequence and time of a message are the same after a restart."""
        subscription = await kit.subscription("", storage=_FILE)
        publisher = await kit.publisher()
        for number in range(3):
            await publisher.publish(kit.subject(f"a.{number}"), b"\x00%d" % number, headers={"n": str(number)})
        before = [_identity(message) for message in await kit.read(subscription, 3)]
        await restart(kit)
        again = await kit.subscription("", backend=await kit.connect())
        assert sorted(map(_identity, await kit.read(again, 3))) == sorted(before)

    @case(
        "rst.dedup_window",
        why="The retry of what was under way when the broker stopped comes after the restart.",
        needs={*_SURVIVES, Capability.DEDUPLICATION},
        knobs=RESTART,
    )
    async def test_rst_dedup_window(self, kit: Kit) -> None:
        """A message id that was stored before a restart is not stored again after it."""
        publisher = await kit.publisher(storage=_FILE)
        first = await publisher.publish(kit.subject("x"), b"1", message_id="one")
        await restart(kit)
        publisher = await kit.publisher(backend=await kit.connect())
        again = await publisher.publish(kit.subject("x"), b"1", message_id="one")
        assert (again.duplicate, again.sequence) == (True, first.sequence)

    @case(
        "rst.stream_config",
        why="A limit that is gone after a restart is missed when the disk is full.",
        needs=_SURVIVES,
        knobs=RESTART,
    )
    async def test_rst_stream_config(self, kit: Kit) -> None:
        """A stream has the same settings after a restart."""
        options = StreamOptions(name=kit.stream, storage=_FILE, max_messages=7, max_age=3600, discard="new")
        await kit.publisher(stream=options)
        before = (await kit.stream_info()).options
        await restart(kit)
        assert (await kit.stream_info()).options == before

    @case(
        "rst.live_subscription",
        why="Nobody restarts all services because the broker was restarted.",
        needs=_DURABLE,
        knobs=RESTART,
    )
    async def test_rst_live_subscription(self, kit: Kit) -> None:
        """A subscription that waits for a message, and a publisher, go on over a restart by themselves."""
        subscription = await kit.feed(b"before", storage=_FILE)
        publisher = await kit.publisher()
        assert payloads(await kit.read(subscription, 1)) == [b"before"]
        waiting = asyncio.ensure_future(kit.receive(subscription))
        await restart(kit)
        await kit.publish(b"theirs", backend=await kit.connect())
        message = await waiting
        assert message.data == b"theirs"
        assert await message.ack()
        await publisher.publish(kit.subject("x"), b"ours")
        assert payloads(await kit.read(subscription, 1)) == [b"ours"]

    @case(
        "ord.across_restart",
        why="created must not come after deleted, either, when the broker was restarted between.",
        needs={*_DURABLE, Capability.ORDERING},
        knobs=RESTART,
    )
    async def test_ord_across_restart(self, kit: Kit) -> None:
        """What one publisher publishes before and after a restart is first delivered in its order."""
        publisher = await kit.publisher(storage=_FILE)
        member = await kit.feed(*_MANY[:50], channel_buf_size=1)  # so that no message is fetched and not seen
        got = payloads(await kit.read(member, 20))
        await member.aclose()
        await restart(kit)
        for data in _MANY[50:]:
            await publisher.publish(kit.subject("x"), data)
        got += payloads(await kit.read(await kit.subscription(backend=await kit.connect()), 80))
        assert got == _MANY


def _identity(message: Any) -> tuple[object, ...]:
    meta = message.metadata
    return meta.sequence, message.subject, message.data, sorted(message.headers.items()), meta.timestamp
