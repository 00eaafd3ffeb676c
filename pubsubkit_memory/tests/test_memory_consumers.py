"""Consumers: what they select, where they start, what they remember."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from pubsubkit.errors import ConflictError, NotFoundError


async def fill(lab: Any) -> None:
    """Five messages to s.a, s.b, s.a, s.b, s.c."""
    await lab.stream()
    for number, tail in enumerate("ababc", 1):
        await lab.publish(b"%d" % number, subject=f"s.{tail}")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("", b"12345"), ("s.>", b"12345"), ("s.*", b"12345"), ("s.a", b"13"), ("*.b", b"24"), ("s.a.>", b""), ("t", b"")],
)
async def test_filter(lab: Any, pattern: str, expected: bytes) -> None:
    """A filter selects stored and later messages alike."""
    await fill(lab)
    before = await lab.member("before", filter_subject=pattern)
    assert await lab.counts("before") == (len(expected), 0)
    assert b"".join(await lab.read(before, len(expected))) == expected
    await lab.nothing(before)
    for number, tail in enumerate("ababc", 1):
        await lab.publish(b"%d" % number, subject=f"s.{tail}")
    assert b"".join(await lab.read(before, len(expected))) == expected
    await lab.nothing(before)


@pytest.mark.parametrize(
    ("where", "pattern", "expected"),
    [
        ("all", "", b"123456"),
        ("new", "", b"6"),
        ("last", "", b"56"),
        ("last", "s.b", b"46"),
        ("last", "s.none", b""),
        (1, "", b"123456"),
        (3, "", b"3456"),
        (4, "s.b", b"46"),
        (100, "", b"6"),
        (datetime(2000, 1, 1, tzinfo=UTC), "", b"123456"),
        (datetime(2999, 1, 1, tzinfo=UTC), "", b"6"),
    ],
)
async def test_deliver_from(lab: Any, where: Any, pattern: str, expected: bytes) -> None:
    """A new consumer starts where it is told; a start in the future is the next message."""
    await fill(lab)
    member = await lab.member(deliver_from=where, filter_subject=pattern)
    await lab.publish(b"6", subject="s.b")
    assert b"".join(await lab.read(member, len(expected))) == expected
    await lab.nothing(member)


async def test_deliver_from_time(lab: Any) -> None:
    """An aware datetime, in any zone, starts at the first message stored at or after it."""
    await lab.stream()
    await lab.publish(b"1")
    first = await lab.take(await lab.member("probe"))
    while datetime.now(UTC) <= first.metadata.timestamp:
        pass
    await lab.publish(b"2", b"3")
    at = first.metadata.timestamp
    exact = await lab.member("exact", deliver_from=at.astimezone(timezone(timedelta(hours=5))))
    later = await lab.member("later", deliver_from=at + timedelta(microseconds=1))
    assert await lab.read(exact, 3) == [b"1", b"2", b"3"]
    assert await lab.read(later, 2) == [b"2", b"3"]


async def test_metadata(lab: Any) -> None:
    """Metadata tells stream, consumer, sequence, id, count and a UTC time that stays the same."""
    await lab.stream()
    member = await lab.member()
    before = datetime.now(UTC)
    await lab.send("s.a", b"x", {"k": "v"}, "the-id")
    after = datetime.now(UTC)
    first = await lab.take(member)
    await first.settle(lab.nak)
    second = await lab.take(member)
    one, two = first.metadata, second.metadata
    assert (one.stream, one.consumer, one.subject, one.sequence, one.message_id) == ("s", "d", "s.a", 1, "the-id")
    assert (one.num_delivered, two.num_delivered) == (1, 2)
    assert before <= one.timestamp == two.timestamp <= after
    assert one.timestamp.tzinfo is UTC
    assert first.key == second.key
    assert (second.subject, second.data, second.headers) == ("s.a", b"x", {"k": "v"})


async def test_resume(lab: Any) -> None:
    """A durable goes on where it was, with what was published while nobody listened."""
    await lab.stream()
    await lab.publish(b"1", b"2", b"3")
    first = await lab.member()
    assert await lab.read(first, 2) == [b"1", b"2"]
    await first.aclose([])
    await lab.publish(b"4")
    second = await lab.member()
    assert await lab.read(second, 2) == [b"3", b"4"]
    await lab.nothing(second)


async def test_fan_out(lab: Any) -> None:
    """Each consumer gets every message; a verdict in one means nothing to the other."""
    await lab.stream()
    one, two = await lab.member("one"), await lab.member("two")
    await lab.publish(b"1", b"2")
    assert await lab.read(one, 1, lab.nak) == [b"1"]
    assert await lab.read(two, 2) == [b"1", b"2"]
    assert await lab.read(one, 2) == [b"1", b"2"]
    await lab.nothing(two)


async def test_info(lab: Any) -> None:
    """Info tells never delivered messages from those without a verdict, delayed and returned ones included."""
    await lab.stream()
    await lab.publish(b"1", b"2", b"3", b"4")
    member = await lab.member()
    assert await lab.counts() == (4, 0)
    one, two, _ = [await lab.take(member) for _ in range(3)]
    assert await lab.counts() == (1, 3)
    await one.settle(lab.nak)
    await two.settle(lab.nak._replace(delay=60))
    assert await lab.counts() == (1, 3)
    await (await lab.take(member)).settle(lab.ack)
    assert await lab.counts() == (1, 2)
    info = await lab.driver.consumer_info("s", "d")
    assert info.spec == lab.spec()
    assert await lab.driver.consumer_info("s", "other") is None


async def test_create_again(lab: Any) -> None:
    """The same spec again changes nothing; another one raises ConflictError that names the difference."""
    await lab.stream()
    await lab.publish(b"1", b"2")
    await lab.read(await lab.member(), 1)
    assert await lab.read(await lab.member(), 1) == [b"2"]
    with pytest.raises(ConflictError, match=r"consumer s/d .*: ack_wait: 30.0 -> 1.0"):
        await lab.driver.create_consumer(lab.spec(ack_wait=1.0))


async def test_update(lab: Any) -> None:
    """An update keeps position and start; a new filter applies to all after the last delivered message."""
    await fill(lab)
    member = await lab.member(filter_subject="s.a")
    assert await lab.read(member, 1) == [b"1"]
    await lab.driver.update_consumer(lab.spec(filter_subject="s.b", deliver_from="new", max_in_flight=1))
    info = await lab.driver.consumer_info("s", "d")
    assert (info.spec.filter_subject, info.spec.deliver_from) == ("s.b", "all")
    assert await lab.read(member, 2) == [b"2", b"4"]
    await lab.publish(b"6", subject="s.a")
    await lab.publish(b"7", subject="s.b")
    assert await lab.read(member, 1) == [b"7"]
    with pytest.raises(NotFoundError):
        await lab.driver.update_consumer(lab.spec("other"))


async def test_update_after_future_start(lab: Any) -> None:
    """A start in the future means the next message, also after the filter was changed."""
    await fill(lab)
    member = await lab.member(deliver_from=100)
    await lab.publish(b"6", subject="s.b")
    await lab.driver.update_consumer(lab.spec(filter_subject="s.b"))
    assert await lab.read(member, 1) == [b"6"]


async def test_update_wakes(lab: Any) -> None:
    """A member that waits because of max_in_flight goes on when the limit is raised."""
    await lab.stream()
    await lab.publish(b"1", b"2")
    member = await lab.member(max_in_flight=1)
    await lab.take(member)
    waiting = await lab.blocked(member)
    await lab.driver.update_consumer(lab.spec(max_in_flight=2))
    assert (await waiting).data == b"2"


async def test_update_shortens_leases(lab: Any) -> None:
    """A shorter ack_wait counts for what is leased already, a lower max_deliver for what waits to come again."""
    await lab.stream()
    await lab.publish(b"1", b"2")
    member = await lab.member()
    one, _ = await lab.take(member), await lab.take(member)
    await one.settle(lab.nak)
    await lab.driver.update_consumer(lab.spec(max_deliver=1))
    assert await lab.counts() == (0, 1)
    await lab.driver.update_consumer(lab.spec(ack_wait=0.05, max_deliver=2))
    delivery = await lab.take(member)
    assert (delivery.data, delivery.metadata.num_delivered) == (b"2", 2)


async def test_deleted_consumer(lab: Any) -> None:
    """After the consumer is deleted a blocked and a later receive raise NotFoundError; verdicts do nothing."""
    await lab.stream()
    await lab.publish(b"1")
    member = await lab.member()
    held = await lab.take(member)
    waiting = await lab.blocked(member)
    assert member.consuming
    assert await lab.driver.delete_consumer("s", "d")
    assert not await lab.driver.delete_consumer("s", "d")
    with pytest.raises(NotFoundError, match="s/d was deleted"):
        await waiting
    with pytest.raises(NotFoundError):
        await member.receive()
    assert not member.consuming
    for verdict in (lab.nak, lab.in_progress, lab.ack):
        await held.settle(verdict)
    with pytest.raises(NotFoundError):
        await lab.driver.subscribe(lab.spec(), 1)
    assert await lab.read(await lab.member(), 1) == [b"1"]
    with pytest.raises(NotFoundError):
        await member.receive()


@pytest.mark.parametrize("how", ["delete_stream", "clear"])
async def test_deleted_stream(lab: Any, how: str) -> None:
    """Deleting the stream, or clearing the broker, ends its consumers, also those that have messages before them."""
    await lab.stream()
    one, two = await lab.member("one"), await lab.member("two", filter_subject="s.y")
    waiting = await lab.blocked(two)
    await lab.publish(b"1", b"2")
    await (await lab.take(one)).settle(lab.nak._replace(delay=60))
    if how == "clear":
        lab.driver.native.clear()
    else:
        await lab.driver.delete_stream("s")
    for raising in (waiting, one.receive()):
        with pytest.raises(NotFoundError):
            await raising
    assert await lab.driver.stream_info("s") is None


async def test_unread_consumer_stays_small(lab: Any) -> None:
    """A consumer that nobody reads remembers no more messages than the stream keeps."""
    await lab.stream(max_messages=3)
    member = await lab.member()
    for number in range(100):
        await lab.publish(b"%d" % number)
    assert len(member._consumer._pending) <= 4
    assert await lab.counts() == (3, 0)
    assert await lab.read(member, 3) == [b"97", b"98", b"99"]
