"""Provisioning: what is missing is created, what exists is left as it is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pubsubkit import ConsumerOptions, NotFoundError, PublisherOptions, StreamOptions, UnsupportedError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["ProvisioningCases"]

_LONG = 60.0


class ProvisioningCases(Cases):
    """Opening may be done by anybody, at any time, as often as one likes."""

    @case(
        "prov.idempotent",
        why="Every start of every service opens the same streams and consumers again.",
        needs={Capability.ORDERING, Capability.COMPETE},
    )
    async def test_prov_idempotent(self, kit: Kit) -> None:
        """Ensuring a stream and opening publishers and members again changes nothing: messages and positions stay."""
        options = StreamOptions(name=kit.stream, max_messages=1000)
        first = await kit.backend.ensure_stream(options)
        assert await kit.backend.ensure_stream(options) == first
        subscription = await kit.feed(b"1", b"2", ack_wait=_LONG, channel_buf_size=1)
        assert payloads(await kit.read(subscription, 1)) == [b"1"]
        await kit.publisher()
        await kit.subscription(ack_wait=_LONG)
        assert await kit.backend.ensure_stream(options) == first
        assert payloads(await kit.read(subscription, 1)) == [b"2"]
        assert (await kit.stream_info()).messages == 2

    @case("prov.concurrent", why="All replicas of a service start at the same moment.", needs={Capability.COMPETE})
    async def test_prov_concurrent(self, kit: Kit) -> None:
        """Ten publishers and ten members may open at once, over several connections, where nothing exists."""
        backends = [kit.backend, await kit.connect(), await kit.connect()]
        opening = [kit.publisher(backends[number % 3]) for number in range(10)]
        joining = [kit.subscription(backend=backends[number % 3]) for number in range(10)]
        await kit.within(asyncio.gather(*opening, *joining), "opening")
        assert (await kit.stream_info()).messages == 0

    @case("prov.created", why="A stream that is not what was asked for keeps too little, or for too short a time.")
    async def test_prov_created(self, kit: Kit) -> None:
        """A stream is created with all that was asked, and says so."""
        wanted = StreamOptions(
            name=kit.stream,
            subjects=(kit.subject(">"), f"{kit.stream}-more"),
            max_messages=1000,
            max_bytes=1_000_000,
            max_age=3600.0,
            max_message_size=10_000,
            duplicate_window=60.0,
            discard="new",
        )
        await kit.publisher(stream=wanted)
        found = (await kit.stream_info()).options
        assert set(found.subjects) == set(wanted.subjects)
        differing = [name for name in vars(wanted) if getattr(wanted, name) != getattr(found, name)]
        assert set(differing) <= {"subjects"}, differing

    @case("prov.created_by_consumer", why="Whether the consumer or the publisher starts first is a matter of luck.")
    async def test_prov_created_by_consumer(self, kit: Kit) -> None:
        """A consumer creates a missing stream with the subjects of its name, and a publisher then finds it so."""
        subscription = await kit.subscription()
        assert (await kit.stream_info()).options.subjects == (kit.subject(">"),)
        await kit.publish(b"x", tail="a.b.c")
        assert (await kit.receive(subscription)).data == b"x"

    @case("prov.stream_info", why="Alarms and dashboards read it.")
    async def test_prov_stream_info(self, kit: Kit) -> None:
        """stream_info tells how many messages and bytes a stream holds, and the first and last sequence."""
        publisher = await kit.publisher()
        receipts = [await publisher.publish(kit.subject("x"), b"m" * 1000) for _ in range(3)]
        info = await kit.stream_info()
        assert (info.messages, info.first_sequence, info.last_sequence) == (
            3,
            receipts[0].sequence,
            receipts[2].sequence,
        )
        assert 3000 <= info.bytes <= 6000

    @case(
        "prov.consumer_info",
        why="Lag is what operators watch.",
        needs={Capability.DURABLE, Capability.HISTORY, Capability.WILDCARDS},
    )
    async def test_prov_consumer_info(self, kit: Kit) -> None:
        """consumer_info tells what a consumer was created with, and how many messages are before it and in flight."""
        await kit.publish(*(b"%d" % number for number in range(5)))
        options: dict[str, Any] = {
            "filter_subject": kit.subject("*"),
            "deliver_from": 2,
            "ack_wait": 45.0,
            "max_in_flight": 77,
        }
        subscription = await kit.subscription("d", channel_buf_size=1, **options)
        held = await kit.read(subscription, 2, ack=False)
        info = await kit.consumer_info()
        assert (info.spec.stream, info.spec.name, info.spec.durable) == (kit.stream, "d", True)
        assert {name: getattr(info.spec, name) for name in options} == options
        assert info.spec.max_deliver is None
        assert (info.num_pending, info.num_ack_pending) == (2, 2)
        assert len(held) == 2

    @case("prov.missing", why="Asking for what is not there is no failure of the broker.")
    async def test_prov_missing(self, kit: Kit) -> None:
        """What does not exist is NotFoundError, or False for deleting, also where the stream is missing too, and where
        one exists whose name begins alike.
        """
        await kit.publisher(stream_name=kit.another_stream("longer"))
        with kit.raises(NotFoundError, kit.stream):
            await kit.backend.stream_info(kit.stream)
        assert await kit.backend.delete_stream(kit.stream) is False
        await _no_consumer(kit)
        await kit.publisher()
        await _no_consumer(kit)

    @case("prov.deleted", why="A stream that is deleted and made again must not begin with old positions.")
    async def test_prov_deleted(self, kit: Kit) -> None:
        """delete_stream takes messages and consumers with it, and nothing of other streams; one of the same name begins
        empty, with no consumers.
        """
        longer = kit.another_stream("longer")
        await (await kit.publisher(stream_name=longer)).publish(f"{longer}.x", b"x")
        subscription = await kit.feed(b"old", b"older")
        name = (await kit.read(subscription, 2))[0].metadata.consumer
        await subscription.aclose()
        assert await kit.backend.delete_stream(kit.stream) is True
        assert await kit.backend.delete_stream(kit.stream) is False
        with kit.raises(NotFoundError):
            await kit.stream_info()
        await kit.publish(b"new")
        assert (await kit.stream_info()).messages == 1
        with kit.raises(NotFoundError):
            await kit.consumer_info(name)
        assert (await kit.backend.stream_info(longer)).messages == 1

    @case("prov.publisher_lazy", why="A publisher is often made long before it is used, if ever.")
    async def test_prov_publisher_lazy(self, kit: Kit) -> None:
        """Making a publisher sends nothing; without ``async with`` the first publish creates the stream."""
        publisher = kit.backend.publisher(PublisherOptions(stream_name=kit.stream))
        with kit.raises(NotFoundError):
            await kit.stream_info()
        await publisher.publish(kit.subject("x"), b"x")
        assert (await kit.stream_info()).messages == 1
        await publisher.aclose()

    @case("prov.consumer_lazy", why="A subscription is often made before anything is there.")
    async def test_prov_consumer_lazy(self, kit: Kit) -> None:
        """Making a subscription sends nothing; without ``async with`` the first iteration joins the consumer."""
        name = "d" if Capability.DURABLE in kit.backend.capabilities else ""
        options = ConsumerOptions(stream_name=kit.stream, consumer_name=name)
        subscription = kit.backend.consumer(options).subscribe()
        with kit.raises(NotFoundError):
            await kit.stream_info()
        waiting = asyncio.ensure_future(kit.receive(subscription))
        async with asyncio.timeout(kit.cap):
            while not subscription.entered:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.001)
        await kit.publish(b"x")
        assert (await waiting).data == b"x"
        await subscription.aclose()

    @case("prov.lists", why="Operators look at what there is before they change it.")
    async def test_prov_lists(self, kit: Kit) -> None:
        """Streams, and the consumers of a stream, are listed as they are when asked for by name, or it is said that the
        backend cannot list them.
        """
        subscription = await kit.feed(b"1", b"2", consumer_name="", channel_buf_size=1)
        name = (await kit.receive(subscription)).metadata.consumer
        stream, consumer = await kit.stream_info(), await kit.consumer_info(name)
        if await _cannot_list(kit):
            return
        listed = {each.options.name: each for each in await kit.backend.list_streams()}
        assert replace(listed[kit.stream], native={}) == replace(stream, native={})
        (only,) = await kit.backend.list_consumers(kit.stream)
        assert replace(only, native={}) == replace(consumer, native={})
        with kit.raises(NotFoundError, "missing"):
            await kit.backend.list_consumers(f"{kit.stream}-missing")

    @case(
        "subj.filter_independent",
        why="The filter of one service must not decide what another one gets.",
        needs={Capability.FANOUT, Capability.DURABLE},
    )
    async def test_subj_filter_independent(self, kit: Kit) -> None:
        """Consumers with different filters do not change each other or the stream, whoever comes first."""
        members = {"one": await kit.subscription("one", filter_subject=kit.subject("one"))}
        publisher = await kit.publisher()
        members["two"] = await kit.subscription("two", filter_subject=kit.subject("two"))
        for name in ("one", "two", "three", "one", "two"):
            await publisher.publish(kit.subject(name), name.encode())
        for name, member in members.items():
            assert payloads(await kit.read(member, 2)) == [name.encode()] * 2
        assert (await kit.stream_info()).messages == 5


async def _cannot_list(kit: Kit) -> bool:
    try:
        await kit.backend.list_streams()
    except UnsupportedError as error:
        kit.note(str(error))
        with kit.raises(UnsupportedError, "consumers"):
            await kit.backend.list_consumers(kit.stream)
        return True
    return False


async def _no_consumer(kit: Kit) -> None:
    with kit.raises(NotFoundError, "nobody"):
        await kit.backend.consumer_info(kit.stream, "nobody")
    assert await kit.backend.delete_consumer(kit.stream, "nobody") is False
