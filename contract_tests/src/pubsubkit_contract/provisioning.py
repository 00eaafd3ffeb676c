"""Provisioning: creates what is missing, never narrows or rewrites what exists."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pubsubkit import ConflictError, NotFoundError, PublisherOptions, Storage, StreamOptions
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads, read

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["ProvisioningCases"]


class ProvisioningCases:
    """Opening is idempotent and harmless."""

    @case("prov.idempotent")
    async def test_idempotent(self, kit: Kit) -> None:
        """Ten publishers and ten members of one durable may open at once."""
        await asyncio.gather(*(kit.publisher() for _ in range(10)), *(kit.subscription() for _ in range(10)))

    @case("prov.no_overwrite")
    async def test_no_overwrite(self, kit: Kit) -> None:
        """A publisher and a narrow consumer leave an existing stream's subjects and limits as they are."""
        options = StreamOptions(name=kit.stream, subjects=(f"{kit.stream}.>", f"{kit.stream}-more"), max_messages=1000)
        before = await kit.backend.ensure_stream(options)
        await kit.publisher()
        await kit.subscription(filter_subject=kit.subject("narrow"), storage=Storage.FILE)
        assert (await kit.backend.stream_info(kit.stream)).options == before

    @case("subj.filter_independent")
    async def test_filters_independent(self, kit: Kit) -> None:
        """Consumers with different filters do not change each other, whoever comes first."""
        one = await kit.subscription("one", filter_subject=kit.subject("one"))
        publisher = await kit.publisher()
        two = await kit.subscription("two", filter_subject=kit.subject("two"))
        for name in ("one", "two"):
            await publisher.publish(kit.subject(name), name.encode())
        assert payloads(await read(one, 1)) == [b"one"]
        assert payloads(await read(two, 1)) == [b"two"]

    @case("prov.conflict")
    async def test_conflict(self, kit: Kit) -> None:
        """What exists with less than is asked raises ConflictError that names the fields; nothing changes."""
        await kit.backend.ensure_stream(StreamOptions(name=kit.stream, max_messages=10))
        wanted = StreamOptions(
            name=kit.stream, subjects=("elsewhere.>",), storage=Storage.FILE, max_messages=5, duplicate_window=7.0
        )
        with pytest.raises(ConflictError, match=r"(?s)subjects.*storage.*max_messages.*duplicate_window"):
            await kit.publisher(stream_name="", stream=wanted)
        assert (await kit.backend.stream_info(kit.stream)).options.max_messages == 10
        await kit.subscription(ack_wait=30)
        with pytest.raises(ConflictError, match="ack_wait"):
            await kit.subscription(ack_wait=31)
        with pytest.raises(ConflictError, match="filter_subject"):
            await kit.subscription(filter_subject=kit.subject("x"))

    @case("prov.update")
    async def test_update(self, kit: Kit) -> None:
        """manage="update" widens a stream and changes a consumer, and refuses to narrow a stream."""
        await kit.backend.ensure_stream(StreamOptions(name=kit.stream, max_messages=10))
        wider = StreamOptions(name=kit.stream, subjects=(f"{kit.stream}-more",), max_messages=20)
        found = await kit.backend.ensure_stream(wider, manage="update")
        assert (set(found.subjects), found.max_messages) == ({f"{kit.stream}.>", f"{kit.stream}-more"}, 20)
        with pytest.raises(ConflictError, match="max_messages"):
            await kit.backend.ensure_stream(StreamOptions(name=kit.stream, max_messages=5), manage="update")
        await kit.publish(b"1", b"2")
        first = await kit.subscription(ack_wait=30)
        await read(first, 1)
        await first.aclose()
        second = await kit.subscription(ack_wait=20, max_deliver=3, max_in_flight=7, manage="update")
        assert payloads(await read(second, 1)) == [b"2"]
        spec = (await kit.backend.consumer_info(kit.stream, "d")).spec
        assert (spec.ack_wait, spec.max_deliver, spec.max_in_flight) == (20, 3, 7)

    @case("prov.none")
    async def test_none(self, kit: Kit) -> None:
        """manage="none" takes what exists as it is and raises NotFoundError for what does not."""
        with pytest.raises(NotFoundError):
            await kit.publisher(manage="none")
        with pytest.raises(NotFoundError):
            await kit.subscription(manage="none")
        await kit.publish(b"x")
        with pytest.raises(NotFoundError):
            await kit.subscription(manage="none")
        await kit.subscription(ack_wait=20)
        member = await kit.subscription(manage="none")
        publisher = await kit.publisher(manage="none", storage=Storage.FILE)
        await publisher.publish(kit.subject("x"), b"y")
        assert payloads(await read(member, 2)) == [b"x", b"y"]

    @case("prov.publisher_lazy")
    async def test_lazy(self, kit: Kit) -> None:
        """Without ``async with`` the first publish creates the stream."""
        publisher = kit.backend.publisher(PublisherOptions(stream_name=kit.stream))
        with pytest.raises(NotFoundError):
            await kit.backend.stream_info(kit.stream)
        await publisher.publish(kit.subject("x"), b"x")
        assert (await kit.backend.stream_info(kit.stream)).messages == 1
