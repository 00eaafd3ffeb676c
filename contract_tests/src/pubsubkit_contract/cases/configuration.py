"""What exists with another configuration: left alone, reported, or widened when that was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pubsubkit import ConflictError, NotFoundError, Storage, StreamOptions
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["ConfigurationCases"]

_LONG = 60.0


class ConfigurationCases(Cases):
    """Nobody's stream is rewritten because somebody else opens it."""

    @case(
        "prov.no_overwrite",
        why="A service that starts must not throw away the limits and subjects that an operator has set.",
        needs={Capability.FANOUT},
    )
    async def test_prov_no_overwrite(self, kit: Kit) -> None:
        """A publisher and a narrow consumer leave an existing stream's subjects and limits as they are."""
        more = f"{kit.stream}-more"
        options = StreamOptions(name=kit.stream, subjects=(kit.subject(">"), more), max_messages=1000, max_age=3600.0)
        before = await kit.backend.ensure_stream(options)
        publisher = await kit.publisher()
        subscription = await kit.subscription("", filter_subject=kit.subject("narrow"))
        await kit.subscription("", storage=Storage.FILE)
        assert (await kit.stream_info()).options == before
        await publisher.publish(more, b"more")
        await publisher.publish(kit.subject("narrow"), b"narrow")
        assert payloads(await kit.read(subscription, 1)) == [b"narrow"]
        assert (await kit.stream_info()).messages == 2

    @case("prov.wider", why="Several services share a stream, and each needs only a part of it.")
    async def test_prov_wider(self, kit: Kit) -> None:
        """A stream that promises more than is asked is no conflict: more subjects, and limits that nobody named."""
        options = StreamOptions(name=kit.stream, subjects=(kit.subject(">"),), storage=Storage.FILE, max_bytes=10**6)
        await kit.backend.ensure_stream(options)
        narrow = StreamOptions(name=kit.stream, subjects=(kit.subject("a.b"),))
        publisher = await kit.publisher(stream=narrow)
        await publisher.publish(kit.subject("a.b"), b"x")
        assert (await kit.stream_info()).messages == 1

    @case("prov.conflict", why="A stream that keeps less than was asked loses messages, months later.")
    async def test_prov_conflict(self, kit: Kit) -> None:
        """A stream that promises less raises ConflictError that names every field, and nothing changes."""
        before = await kit.backend.ensure_stream(StreamOptions(name=kit.stream, max_messages=10))
        wanted = StreamOptions(
            name=kit.stream,
            subjects=(f"{kit.stream}-more",),
            storage=Storage.FILE,
            max_messages=5,
            max_bytes=10_000,
            max_age=500.0,
            max_message_size=100,
            duplicate_window=7.0,
            discard="new",
        )
        fields = ("subjects", "storage", "max_messages", "max_bytes", "max_age", "max_message_size")
        with kit.raises(ConflictError) as caught:
            await kit.publisher(stream=wanted)
        silent = [name for name in (*fields, "duplicate_window", "discard") if f"{name}:" not in str(caught[0])]
        assert not silent, silent
        with kit.raises(ConflictError, "storage"):
            await kit.subscription(stream=wanted)
        assert (await kit.stream_info()).options == before

    @case(
        "prov.conflict_consumer",
        why="Two services that share a name by mistake would change each other's consumer.",
        needs={Capability.COMPETE, Capability.DURABLE, Capability.MAX_DELIVER},
    )
    async def test_prov_conflict_consumer(self, kit: Kit) -> None:
        """A durable with other options raises ConflictError that names the field, and the consumer goes on as it was;
        where it would start does not matter any more.
        """
        first = await kit.subscription("d", ack_wait=30.0, channel_buf_size=1)
        before = (await kit.consumer_info()).spec
        with kit.raises(ConflictError, "ack_wait"):
            await kit.subscription("d", ack_wait=31.0)
        with kit.raises(ConflictError, "filter_subject"):
            await kit.subscription("d", filter_subject=kit.subject("x"))
        with kit.raises(ConflictError, "max_deliver"):
            await kit.subscription("d", max_deliver=3)
        with kit.raises(ConflictError, "max_in_flight"):
            await kit.subscription("d", max_in_flight=3)
        assert (await kit.consumer_info()).spec == before
        await kit.subscription("d", deliver_from="new")
        await kit.publish(b"x", tail="y")
        assert (await kit.receive(first)).data == b"x"

    @case("prov.overlap", why="A message whose subject two streams hold would be stored in one of them by chance.")
    async def test_prov_overlap(self, kit: Kit) -> None:
        """A subject belongs to one stream: another one that would hold it too is refused and not created."""
        await kit.publisher()
        other = kit.another_stream("other")
        with kit.raises(ConflictError):
            await kit.publisher(stream=StreamOptions(name=other, subjects=(kit.subject("a.>"),)))
        with kit.raises(NotFoundError):
            await kit.backend.stream_info(other)
        await kit.publish(b"x", tail="a.b")
        assert (await kit.stream_info()).messages == 1

    @case("prov.update", why="A stream grows with its users, without being emptied.", needs={Capability.ORDERING})
    async def test_prov_update(self, kit: Kit) -> None:
        """manage="update" adds subjects and raises limits, keeps what is there, and returns what the stream is then."""
        more = f"{kit.stream}-more"
        await kit.backend.ensure_stream(StreamOptions(name=kit.stream, max_messages=10))
        subscription = await kit.feed(b"before")
        wider = StreamOptions(name=kit.stream, subjects=(more,), max_messages=20)
        found = await kit.backend.ensure_stream(wider, manage="update")
        assert (set(found.subjects), found.max_messages) == ({kit.subject(">"), more}, 20)
        assert (await kit.stream_info()).options == found
        await (await kit.publisher()).publish(more, b"after")
        assert payloads(await kit.read(subscription, 2)) == [b"before", b"after"]

    @case("prov.update_narrow", why="Narrowing a stream deletes messages.")
    async def test_prov_update_narrow(self, kit: Kit) -> None:
        """manage="update" never narrows a stream: it raises ConflictError, and nothing changes."""
        before = await kit.backend.ensure_stream(StreamOptions(name=kit.stream, max_messages=10, max_age=3600.0))
        await kit.publish(*(b"%d" % number for number in range(10)))
        for field, value in {"max_messages": 5, "max_age": 60.0, "max_bytes": 100, "max_message_size": 10}.items():
            with kit.raises(ConflictError, field):
                await kit.backend.ensure_stream(
                    StreamOptions(name=kit.stream, **{field: value}),  # type: ignore[arg-type]
                    manage="update",
                )
        info = await kit.stream_info()
        assert (info.options, info.messages) == (before, 10)

    @case(
        "prov.update_consumer",
        why="A longer ack_wait must not cost the position.",
        needs={
            Capability.ORDERING,
            Capability.DURABLE,
            Capability.MAX_DELIVER,
            Capability.WILDCARDS,
            Capability.ACK_WAIT,
        },
    )
    async def test_prov_update_consumer(self, kit: Kit) -> None:
        """manage="update" gives a durable the new options, which count from then on, and keeps its position."""
        first = await kit.feed(b"1", b"2", ack_wait=30.0, channel_buf_size=1)
        await kit.read(first, 1)
        await first.aclose()
        second = await kit.subscription(
            ack_wait=kit.short, max_deliver=2, max_in_flight=7, filter_subject=kit.subject("*"), manage="update"
        )
        spec = (await kit.consumer_info()).spec
        assert (spec.ack_wait, spec.max_deliver, spec.max_in_flight) == (kit.short, 2, 7)
        assert spec.filter_subject == kit.subject("*")
        assert payloads(await kit.read(second, 2, ack=False)) == [b"2", b"2"]
        await kit.publish(b"canary")
        assert payloads(await kit.read(second, 2, ack=False)) == [b"canary", b"canary"]

    @case(
        "prov.off",
        why="Where operators own the streams a service must not make any.",
        needs={Capability.COMPETE, Capability.DURABLE},
    )
    async def test_prov_off(self, kit: Kit) -> None:
        """manage="none" raises NotFoundError for what is missing, creates nothing, and takes what exists as it is."""
        with kit.raises(NotFoundError):
            await kit.publisher(manage="none")
        with kit.raises(NotFoundError):
            await kit.subscription(manage="none")
        with kit.raises(NotFoundError):
            await kit.stream_info()
        await kit.publisher()
        with kit.raises(NotFoundError):
            await kit.subscription(manage="none")
        with kit.raises(NotFoundError):
            await kit.consumer_info()
        first = await kit.subscription(ack_wait=20.0, channel_buf_size=1)
        member = await kit.subscription(manage="none", ack_wait=30.0, max_in_flight=5)
        publisher = await kit.publisher(manage="none", storage=Storage.FILE)
        await first.aclose()
        await publisher.publish(kit.subject("x"), b"x")
        assert payloads(await kit.read(member, 1)) == [b"x"]
        assert (await kit.consumer_info()).spec.ack_wait == 20.0
