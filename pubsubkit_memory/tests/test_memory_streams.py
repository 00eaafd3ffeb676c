"""Streams: what they hold, for how long, and what they refuse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pubsubkit.driver import OutgoingMessage, PublishReceipt
from pubsubkit.errors import ConflictError, InvalidArgumentError, NotFoundError, PubSubError, StreamFullError
from pubsubkit.options import Storage, StreamOptions

CAP = 10.0


async def info_of(lab: Any, name: str = "s") -> Any:
    found = await lab.driver.stream_info(name)
    assert found is not None
    return found


async def test_retention_without_consumers(lab: Any) -> None:
    """Messages are kept before any consumer exists and after they were acked."""
    await lab.stream()
    await lab.publish(b"1", b"2")
    assert await lab.read(await lab.member("a"), 2) == [b"1", b"2"]
    assert await lab.read(await lab.member("b"), 2) == [b"1", b"2"]


async def test_receipt_and_info(lab: Any) -> None:
    """Receipts count from 1; info tells numbers, bytes and the options with the default window spelt out."""
    await lab.stream()
    assert (await info_of(lab)).first_sequence == 0
    assert await lab.send("s.a", b"123") == PublishReceipt("s", 1)
    assert await lab.send("s.é", b"") == PublishReceipt("s", 2)
    info = await info_of(lab)
    assert (info.messages, info.bytes, info.first_sequence, info.last_sequence) == (2, 6 + 4, 1, 2)
    assert info.options == StreamOptions(name="s", duplicate_window=120.0)


async def test_headers_count(lab: Any) -> None:
    """Headers and the message id are part of a message's size, as NATS encodes them."""
    await lab.stream()
    await lab.send("s.a", b"123", {"k": "é"}, "id")
    encoded = len("NATS/1.0\r\nNats-Msg-Id: id\r\nk: é\r\n\r\n".encode())
    assert (await info_of(lab)).bytes == len("s.a") + 3 + encoded


async def test_no_stream_holds_the_subject(lab: Any) -> None:
    """A subject outside all streams is NotFoundError for that message alone."""
    await lab.stream(subjects=("s.*",))
    outcomes = [await lab.send(subject, b"") for subject in ("s.a", "s.a.b", "s", "t.a")]
    assert [isinstance(outcome, NotFoundError) for outcome in outcomes] == [False, True, True, True]
    assert "'s.a.b'" in str(outcomes[1])


async def test_batch_outcomes(lab: Any) -> None:
    """Each message of a batch has its own outcome, in order."""
    await lab.stream(max_message_size=3)
    messages = [OutgoingMessage("s.a", b"1"), OutgoingMessage("s.a", b"1234"), OutgoingMessage("s.b", b"")]
    good, large, other = await lab.driver.send(messages, 5)
    assert (good, other) == (PublishReceipt("s", 1), PublishReceipt("s", 2))
    assert isinstance(large, InvalidArgumentError)


@pytest.mark.parametrize(
    ("held", "wanted", "clash"),
    [
        (("a.>",), ("a.b",), True),
        (("a.*",), ("*.b",), True),
        (("a.b", "c"), ("d", "c"), True),
        ((">",), ("x.y",), True),
        (("a.*",), ("a.b.c", "a"), False),
        (("a.>",), ("a",), False),
    ],
)
async def test_overlap(lab: Any, held: tuple[str, ...], wanted: tuple[str, ...], clash: bool) -> None:
    """A subject belongs to one stream: an overlap raises ConflictError that names the other stream."""
    await lab.stream("first", subjects=held)
    if not clash:
        await lab.stream("second", subjects=wanted)
        return
    with pytest.raises(ConflictError, match="'first'"):
        await lab.stream("second", subjects=wanted)
    assert await lab.driver.stream_info("second") is None


async def test_create_again(lab: Any) -> None:
    """Creating a stream again with the same options does nothing, with others it names each difference."""
    await lab.stream(max_messages=5)
    await lab.publish(b"1")
    await lab.stream(max_messages=5)
    await lab.stream(max_messages=5, duplicate_window=120.0)
    with pytest.raises(ConflictError, match=r"max_messages: 5 -> 6; discard: 'old' -> 'new'"):
        await lab.stream(max_messages=6, discard="new")
    assert (await info_of(lab)).messages == 1


async def test_max_messages_discards_old(lab: Any) -> None:
    """At max_messages the oldest goes, and consumers skip what is gone."""
    await lab.stream(max_messages=2)
    early = await lab.member("early")
    await lab.publish(b"1", b"2", b"3")
    assert await lab.counts("early") == (2, 0)
    assert await lab.read(early, 2) == [b"2", b"3"]
    info = await info_of(lab)
    assert (info.messages, info.first_sequence, info.last_sequence) == (2, 2, 3)


async def test_max_bytes_discards_old(lab: Any) -> None:
    """At max_bytes as many of the oldest go as needed."""
    await lab.stream(max_bytes=20)
    await lab.publish(b"1234567", b"1234567")
    await lab.publish(b"12345678")
    info = await info_of(lab)
    assert (info.messages, info.bytes) == (1, 11)


async def test_larger_than_the_stream(lab: Any) -> None:
    """A message larger than max_bytes is refused rather than everything else dropped for it."""
    await lab.stream(max_bytes=20)
    await lab.publish(b"1")
    assert isinstance(await lab.send("s.x", b"x" * 18), InvalidArgumentError)
    assert (await info_of(lab)).messages == 1


async def test_max_message_size(lab: Any) -> None:
    """max_message_size counts data and headers; what is larger gets InvalidArgumentError and is not stored."""
    await lab.stream(max_message_size=30)
    assert isinstance(await lab.send("s.x", b"x" * 30), PublishReceipt)
    assert isinstance(await lab.send("s.x", b"x" * 31), InvalidArgumentError)
    assert isinstance(await lab.send("s.x", b"x" * 20, {"k": "v"}), InvalidArgumentError)
    assert (await info_of(lab)).messages == 1


@pytest.mark.parametrize("limit", [{"max_messages": 2}, {"max_bytes": 8}])
async def test_discard_new(lab: Any, limit: dict[str, int]) -> None:
    """discard="new" refuses with StreamFullError and keeps what is there."""
    await lab.stream(discard="new", **limit)
    await lab.publish(b"1", b"2")
    assert isinstance(await lab.send("s.x", b"3"), StreamFullError)
    assert await lab.read(await lab.member(), 2) == [b"1", b"2"]


async def test_max_age(lab: Any) -> None:
    """Messages go by themselves after max_age, also from what a consumer has before it, and make room."""
    await lab.stream(max_age=60, discard="new", max_messages=1)
    member = await lab.member()
    await lab.publish(b"1")
    lab.advance(59)
    assert (await info_of(lab)).messages == 1
    lab.advance(2)
    assert await lab.counts() == (0, 0)
    await lab.nothing(member)
    await lab.publish(b"2")
    assert await lab.read(member, 1) == [b"2"]
    info = await info_of(lab)
    assert (info.first_sequence, info.last_sequence) == (2, 2)


async def test_timestamps_follow_the_clock(lab: Any) -> None:
    """A message that is stored after the clock was put forward says so, and max_age counts from then on."""
    await lab.stream(max_age=3600)
    lab.advance(3000)
    before = datetime.now(UTC)
    await lab.publish(b"1")
    ahead = (await lab.take(await lab.member())).metadata.timestamp - before
    assert timedelta(seconds=2999) < ahead < timedelta(seconds=3000 + CAP)
    lab.advance(3000)
    assert (await info_of(lab)).messages == 1


@pytest.mark.parametrize("seconds", [-1, float("nan"), "1", 1e10])
async def test_the_clock_goes_forward_only(lab: Any, seconds: object) -> None:
    """The clock cannot be put back."""
    with pytest.raises(InvalidArgumentError, match="seconds"):
        lab.advance(seconds)


async def test_duplicates(lab: Any) -> None:
    """A message id is stored once: the second receipt has the first sequence, whatever it carries."""
    await lab.stream()
    assert await lab.send("s.a", b"1", None, "id") == PublishReceipt("s", 1)
    assert await lab.send("s.b", b"2", None, "id") == PublishReceipt("s", 1, duplicate=True)
    assert await lab.send("s.a", b"3", None, "other") == PublishReceipt("s", 2)
    assert (await info_of(lab)).messages == 2


@pytest.mark.parametrize("window", [None, 7.0])
async def test_duplicate_window_ends(lab: Any, window: float | None) -> None:
    """After the window, 120 seconds by default, the same id is stored again, and not before."""
    await lab.stream(duplicate_window=window)
    await lab.send("s.a", b"", None, "id")
    lab.advance((window or 120) - 1)
    assert await lab.send("s.a", b"", None, "id") == PublishReceipt("s", 1, duplicate=True)
    lab.advance(2)
    assert await lab.send("s.a", b"", None, "id") == PublishReceipt("s", 2)
    assert await lab.send("s.a", b"", None, "id") == PublishReceipt("s", 2, duplicate=True)


async def test_duplicate_of_full_stream(lab: Any) -> None:
    """A retry of what is stored is a duplicate also when the stream is full, and a refused id may come again."""
    await lab.stream(discard="new", max_messages=1)
    await lab.send("s.a", b"", None, "id")
    assert await lab.send("s.a", b"", None, "id") == PublishReceipt("s", 1, duplicate=True)
    for _ in range(2):
        assert isinstance(await lab.send("s.a", b"", None, "refused"), StreamFullError)


async def test_ids_per_stream(lab: Any) -> None:
    """Message ids and sequences of two streams are independent."""
    await lab.stream("a")
    await lab.stream("b")
    assert await lab.send("a.x", b"", None, "id") == PublishReceipt("a", 1)
    assert await lab.send("b.x", b"", None, "id") == PublishReceipt("b", 1)


async def test_update(lab: Any) -> None:
    """update_stream changes subjects and limits at once and keeps messages and consumers."""
    await lab.stream()
    member = await lab.member()
    await lab.publish(b"1", b"2", b"3")
    await lab.driver.update_stream(StreamOptions(name="s", subjects=("s.>", "t"), max_messages=2))
    assert (await info_of(lab)).messages == 2
    await lab.publish(b"4", subject="t")
    assert await lab.read(member, 2) == [b"3", b"4"]
    await lab.driver.update_stream(StreamOptions(name="s", subjects=("t",)))
    assert isinstance(await lab.send("s.x", b""), NotFoundError)


async def test_update_refused(lab: Any) -> None:
    """Another storage, another stream's subjects or a missing stream is refused and nothing changes."""
    await lab.stream(replicas=1)
    await lab.stream("other")
    with pytest.raises(ConflictError, match="storage"):
        await lab.driver.update_stream(StreamOptions(name="s", storage=Storage.FILE))
    with pytest.raises(ConflictError, match="'other'"):
        await lab.driver.update_stream(StreamOptions(name="s", subjects=("s.>", "other.x")))
    with pytest.raises(NotFoundError):
        await lab.driver.update_stream(StreamOptions(name="missing"))


async def test_replicas_are_a_label(lab: Any) -> None:
    """There is one copy whatever replicas says, but the number that was asked for is shown."""
    await lab.stream(replicas=1)
    await lab.driver.update_stream(StreamOptions(name="s", replicas=3))
    assert (await info_of(lab)).options == StreamOptions(name="s", duplicate_window=120.0, replicas=3)


async def test_short_age_shortens_the_window(lab: Any) -> None:
    """The default duplicate window is never longer than max_age."""
    await lab.stream(max_age=60)
    assert (await info_of(lab)).options.duplicate_window == 60


async def test_delete(lab: Any) -> None:
    """Deleting frees the subjects; a stream of the same name starts anew."""
    await lab.stream()
    await lab.publish(b"1")
    assert await lab.driver.delete_stream("s")
    assert not await lab.driver.delete_stream("s")
    assert await lab.driver.stream_info("s") is None
    assert isinstance(await lab.send("s.x", b""), NotFoundError)
    await lab.stream("again", subjects=("s.>",))
    assert await lab.send("s.x", b"") == PublishReceipt("again", 1)


async def test_missing_stream(lab: Any) -> None:
    """Consumers of a stream that does not exist are None, False or NotFoundError."""
    assert await lab.driver.consumer_info("s", "d") is None
    assert not await lab.driver.delete_consumer("s", "d")
    for use in (lab.driver.create_consumer, lab.driver.update_consumer):
        with pytest.raises(NotFoundError):
            await use(lab.spec())
    with pytest.raises(PubSubError):
        await lab.driver.subscribe(lab.spec(), 1)


async def test_headers_are_private(lab: Any) -> None:
    """Neither the publisher's nor a handler's later changes reach the stored headers."""
    await lab.stream()
    headers = {"k": "v"}
    member = await lab.member()
    await lab.send("s.a", b"", headers)
    headers["k"] = "changed"
    first = await lab.take(member)
    first.headers["k"] = "changed"
    await first.settle(lab.nak)
    assert (await lab.take(member)).headers == {"k": "v"}
    await lab.send("s.a", b"")
    assert (await lab.take(member)).headers == {}
