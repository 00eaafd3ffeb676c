"""Metadata: what the broker says of a delivery."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["MetadataCases"]

_SKEW = timedelta(seconds=1)


class MetadataCases(Cases):
    """Stream, consumer, sequence and time are true."""

    @case("meta.fields", why="Logs, metrics and idempotent handlers are made from metadata.")
    async def test_meta_fields(self, kit: Kit) -> None:
        """Metadata name the stream, the subject, and a consumer that the broker knows by that name."""
        subscription = await kit.feed(b"x")
        meta = (await kit.receive(subscription)).metadata
        assert (meta.stream, meta.subject, meta.message_id) == (kit.stream, kit.subject("x"), None)
        assert (await kit.consumer_info(meta.consumer)).spec.name == meta.consumer
        assert isinstance(meta.num_delivered, int) and meta.num_delivered >= 1

    @case(
        "meta.consumer",
        why="Two consumers of one stream are told apart by their names.",
        needs={Capability.FANOUT, Capability.DURABLE},
    )
    async def test_meta_consumer(self, kit: Kit) -> None:
        """The consumer of a durable subscription is the durable, of an ephemeral one a name of its own."""
        members = [await kit.subscription(name) for name in ("first", "second", "", "")]
        await kit.publish(b"x")
        names = [(await kit.receive(member)).metadata.consumer for member in members]
        assert names[:2] == ["first", "second"]
        assert len(set(names)) == len(names)

    @case("meta.sequence", why="The sequence is where one starts to read again.", needs={Capability.ORDERING})
    async def test_meta_sequence(self, kit: Kit) -> None:
        """The sequence is the message's number in the stream, that of the receipt, also for a filtered consumer."""
        member = await kit.subscription("", filter_subject=kit.subject("mine"))
        publisher = await kit.publisher()
        receipts = [await publisher.publish(kit.subject(tail), b"x") for tail in ("other", "mine", "other", "mine")]
        sequences = [message.metadata.sequence for message in await kit.read(member, 2)]
        assert sequences == [receipts[1].sequence, receipts[3].sequence]
        assert receipts[0].sequence >= 1

    @case(
        "meta.sequence_shared", why="Two services must be able to speak of the same message.", needs={Capability.FANOUT}
    )
    async def test_meta_sequence_shared(self, kit: Kit) -> None:
        """Two consumers see the same sequence, time and subject for the same message."""
        one, two = await kit.subscription(""), await kit.subscription("")
        await kit.publish(b"1", b"2", b"3")
        seen = [
            sorted((meta.sequence, meta.timestamp, meta.subject) for meta in (message.metadata for message in messages))
            for messages in (await kit.read(one, 3), await kit.read(two, 3))
        ]
        assert seen[0] == seen[1]

    @case("meta.timestamp", why="A time without a zone is wrong by hours somewhere.")
    async def test_meta_timestamp(self, kit: Kit) -> None:
        """The time is aware, in UTC, and within a second of when the message was published."""
        subscription = await kit.subscription()
        before = datetime.now(UTC) - _SKEW
        await kit.publish(b"x")
        after = datetime.now(UTC) + _SKEW
        meta = (await kit.receive(subscription)).metadata
        assert meta.timestamp.utcoffset() == timedelta(0)
        assert before <= meta.timestamp <= after

    @case(
        "meta.timestamp_stored",
        why="The age of a backlog is measured by it.",
        needs={Capability.HISTORY},
    )
    async def test_meta_timestamp_stored(self, kit: Kit) -> None:
        """The time is that of storing, not of delivering: messages that were stored apart are as far apart."""
        await kit.publish(b"1")
        await asyncio.sleep(kit.short)
        await kit.publish(b"2")
        messages = await kit.read(await kit.subscription(), 2)
        times = {message.data: message.metadata.timestamp for message in messages}
        assert (times[b"2"] - times[b"1"]).total_seconds() >= kit.short * 0.9

    @case(
        "meta.timestamp_stable",
        why="An idempotent handler knows a redelivery by what stays the same.",
        needs={Capability.NAK},
    )
    async def test_meta_timestamp_stable(self, kit: Kit) -> None:
        """Time, sequence, subject, stream, consumer and message id are the same at every delivery."""
        subscription = await kit.subscription()
        unique = "one" if Capability.DEDUPLICATION in kit.backend.capabilities else None
        await (await kit.publisher()).publish(kit.subject("x"), b"x", message_id=unique)
        seen: list[tuple[object, ...]] = []
        for _ in range(3):
            message = await kit.receive(subscription)
            seen.append(tuple(message.metadata._replace(num_delivered=0)))
            await message.nak()
            await asyncio.sleep(0.002)
        assert seen[0] == seen[1] == seen[2]
