"""Cancelled publishing: a message is stored whole or not at all, and the publisher goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pubsubkit import PublishReceipt
    from pubsubkit_contract.kit import Kit

__all__ = ["CancelledPublishingCases"]


class CancelledPublishingCases(Cases):
    """Cancelling a call of a publisher concerns that call alone."""

    @case(
        "can.publish",
        why="A request whose client went away is cancelled in the middle of its publish.",
    )
    async def test_can_publish(self, kit: Kit) -> None:
        """A cancelled publish ends at once, stored whole or not at all; other publishes get receipts of their own."""
        subscription = await kit.subscription()
        publisher = await kit.publisher()
        wanted = [b"%d/" % number + bytes(10_000) for number in range(60)]
        sequences: dict[bytes, int] = {}
        for number, data in enumerate(wanted):
            publishing = asyncio.ensure_future(publisher.publish(kit.subject("x"), data))
            await _turns(number % 6)
            if number % 2:
                publishing.cancel()
            await kit.within(asyncio.wait([publishing]), "a cancelled publish")
            if not publishing.cancelled():
                sequences[data] = publishing.result().sequence
        await publisher.publish(kit.subject("x"), b"end")
        stored = (await kit.stream_info()).messages
        kit.note(f"{len(wanted) - len(sequences)} cancelled, {len(wanted) + 1 - stored} not stored")
        messages = await kit.read(subscription, stored)
        got = {message.data: message.metadata.sequence for message in messages}
        assert len(got) == stored
        assert got.keys() <= {*wanted, b"end"}
        assert sequences.items() <= got.items()

    @case("can.publish_soon", why="A window that shrinks with every cancelled call stands still in the end.")
    async def test_can_publish_soon(self, kit: Kit) -> None:
        """A publish_soon that is cancelled while it waits for room is not stored, and leaves the room to others."""
        subscription = await kit.subscription()
        publisher = await kit.publisher(window=2)
        kept: list[bytes] = []
        for number in range(40):
            datas = [b"%d/%d" % (number, place) for place in range(4)]
            calls = {data: asyncio.ensure_future(publisher.publish_soon(kit.subject("x"), data)) for data in datas}
            await _turns(number % 8)
            for call in tuple(calls.values())[2:]:
                call.cancel()
            await kit.within(asyncio.wait(calls.values()), "publish_soon")
            kept += [data for data, call in calls.items() if not call.cancelled()]
        await kit.within(publisher.publish_soon(kit.subject("x"), b"end"), "publish_soon")
        await publisher.flush()
        assert sorted(payloads(await kit.read(subscription, len(kept) + 1))) == sorted([*kept, b"end"])

    @case("can.publish_many", why="An import that was stopped must not go on behind one's back.")
    async def test_can_publish_many(self, kit: Kit) -> None:
        """A publish_many that is cancelled takes no more; what it took is stored once, and the publisher goes on."""
        subscription = await kit.subscription()
        publisher = await kit.publisher(window=4)
        taken: list[bytes] = []

        async def source(name: int) -> AsyncIterator[tuple[str, bytes]]:
            for number in range(30):
                taken.append(b"%d/%d" % (name, number))
                yield kit.subject("x"), taken[-1]
                await asyncio.sleep(0)

        for turns in range(20):
            publishing = asyncio.ensure_future(publisher.publish_many(source(turns)))
            await _turns(turns)
            publishing.cancel()
            await kit.within(asyncio.wait([publishing]), "a cancelled publish_many")
            before = len(taken)
            await kit.within(publisher.flush(), "flush")
            await _turns(3)
            assert len(taken) == before
        await kit.within(publisher.publish(kit.subject("x"), b"end"), "publish")
        stored = (await kit.stream_info()).messages
        kit.note(f"{len(taken)} of 600 were taken, {stored - 1} stored")
        got = payloads(await kit.read(subscription, stored))
        assert len(set(got)) == stored
        assert set(got) <= {*taken, b"end"}

    @case("can.flush", why="A flush under a timeout is how one says: now, if it does not take too long.")
    async def test_can_flush(self, kit: Kit) -> None:
        """A flush that is cancelled leaves the messages under way: they are stored, and their futures say so."""
        publisher = await kit.publisher()
        futures: list[asyncio.Future[PublishReceipt]] = []
        for turns in range(6):
            futures += [await publisher.publish_soon(kit.subject("x"), b"%d" % number) for number in range(70)]
            flushing = asyncio.ensure_future(publisher.flush())
            await _turns(turns)
            flushing.cancel()
            await kit.within(asyncio.wait([flushing]), "a cancelled flush")
        await kit.within(publisher.flush(), "the last flush")
        assert all([await future for future in futures])
        assert (await kit.stream_info()).messages == len(futures)


async def _turns(count: int) -> None:
    """Let the event loop turn *count* times."""
    for _ in range(count):
        await asyncio.sleep(0)
