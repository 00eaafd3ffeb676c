"""Delivery: content, order, subjects, de-duplication."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pubsubkit import InvalidArgumentError, NotFoundError, OutgoingMessage, PublishBatchError
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads, read, receive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pubsubkit_contract.kit import Kit

__all__ = ["DeliveryCases"]

_MATCHES = [
    (">", "a", True),
    ("a", "a", True),
    ("a", "a.b", False),
    ("a", "ab", False),
    ("a.*", "a.b", True),
    ("a.*", "a", False),
    ("a.*", "a.b.c", False),
    ("a.>", "a.b", True),
    ("a.>", "a.b.c", True),
    ("a.>", "a", False),
    ("*.b", "a.b", True),
    ("*.b", "a.c", False),
    ("a.*.>", "a.b.c", True),
    ("a.*.>", "a.b", False),
    ("Aa", "aa", False),
]
_INVALID_SUBJECTS = ["", "a.", ".a", "a..b", "a b", "a.*", "a.>", "a\n", "\ta", "a\x00", "x" * 2000]
_INVALID_FILTERS = ["a.>.b", "a..b", "a b", "a.b*", ">.a", "a.", "x" * 2000]


class DeliveryCases:
    """What is published arrives, once, unchanged and in order."""

    @case("core.roundtrip")
    async def test_roundtrip(self, kit: Kit) -> None:
        """Subject, every byte value and headers arrive exactly as they were published."""
        headers = {"Case": "a", "case": "b", "unicode": "é 中 😀", "empty": "", "long": "x" * 1024, "colon": "a: b"}
        publisher = await kit.publisher()
        receipt = await publisher.publish(kit.subject("a.b"), bytes(range(256)), headers=headers)
        message = await receive(await kit.subscription())
        assert (message.subject, message.data, type(message.data)) == (kit.subject("a.b"), bytes(range(256)), bytes)
        assert dict(message.headers) == headers
        assert (receipt.stream, receipt.sequence, receipt.duplicate) == (kit.stream, 1, False)

    @case("core.live")
    async def test_live(self, kit: Kit) -> None:
        """A message that is published after the subscription began arrives."""
        subscription = await kit.subscription()
        waiting = asyncio.ensure_future(receive(subscription))
        await kit.publish(b"late")
        assert (await waiting).data == b"late"

    @case("core.no_loss_no_extra")
    async def test_no_loss(self, kit: Kit) -> None:
        """Two hundred messages arrive once each, in order, then the sentinel."""
        wanted = [b"%d" % number for number in range(200)]
        await kit.publish(*wanted, b"sentinel")
        assert payloads(await read(await kit.subscription(), 201)) == [*wanted, b"sentinel"]

    @case("core.batch")
    async def test_batch(self, kit: Kit) -> None:
        """publish_many keeps the order and returns a receipt for each."""
        publisher = await kit.publisher(window=10)
        wanted = [b"%d" % number for number in range(300)]
        receipts = await publisher.publish_many((kit.subject("x"), data) for data in wanted)
        assert [receipt.sequence for receipt in receipts] == list(range(1, 301))
        assert payloads(await read(await kit.subscription(), 300)) == wanted

    @case("core.batch_large")
    async def test_batch_large(self, kit: Kit) -> None:
        """publish_many of more bytes than a connection buffers keeps the order."""
        publisher = await kit.publisher()
        wanted = [b"%06d" % number + b"x" * 32_000 for number in range(300)]
        receipts = await publisher.publish_many((kit.subject("x"), data) for data in wanted)
        assert [receipt.sequence for receipt in receipts] == list(range(1, 301))
        assert payloads(await read(await kit.subscription(channel_buf_size=10), 300)) == wanted

    @case("core.batch_failure")
    async def test_batch_failure(self, kit: Kit) -> None:
        """When one message of publish_many fails, the error says which were stored and which not."""
        publisher = await kit.publisher()
        good, bad = (kit.subject("x"), b"good"), ("elsewhere.x", b"bad")
        with pytest.raises(PublishBatchError) as caught:
            await publisher.publish_many([good, good, bad])
        assert list(caught.value.stored) == [0, 1]
        assert isinstance(caught.value.failed[2], NotFoundError)
        assert (await kit.backend.stream_info(kit.stream)).messages == 2

    @case("core.publish_soon")
    async def test_publish_soon(self, kit: Kit) -> None:
        """publish_soon keeps the order with publish, and flush waits for all of it."""
        publisher = await kit.publisher(window=5)
        futures = [await publisher.publish_soon(kit.subject("x"), b"%d" % number) for number in range(20)]
        last = await publisher.publish(kit.subject("x"), b"20")
        await publisher.flush()
        assert [(await future).sequence for future in futures] == list(range(1, 21))
        assert last.sequence == 21

    @case("core.buffer_snapshot")
    async def test_buffer_snapshot(self, kit: Kit) -> None:
        """Changing a buffer after publish_soon returned does not change the message."""
        publisher, buffer = await kit.publisher(), bytearray(b"before")
        future = await publisher.publish_soon(kit.subject("x"), buffer)
        buffer[:] = b"after!"
        await future
        assert (await receive(await kit.subscription())).data == b"before"

    @case("core.streams_isolated")
    async def test_streams_isolated(self, kit: Kit) -> None:
        """A consumer gets nothing of another stream."""
        other = f"{kit.stream}-other"
        try:
            publisher = await kit.publisher(stream_name=other)
            await publisher.publish(f"{other}.x", b"other")
            await kit.publish(b"mine")
            assert payloads(await read(await kit.subscription(), 1)) == [b"mine"]
        finally:
            await kit.backend.delete_stream(other)

    @case("core.dedup")
    async def test_dedup(self, kit: Kit) -> None:
        """A message id is stored once; the repeat says so and names the first one's sequence."""
        publisher = await kit.publisher()
        first = await publisher.publish(kit.subject("x"), b"1", message_id="one")
        again = await publisher.publish(kit.subject("x"), b"1", message_id="one")
        await publisher.publish(kit.subject("x"), b"2", message_id="two")
        assert (again.sequence, again.duplicate) == (first.sequence, True)
        messages = await read(await kit.subscription(), 2)
        assert payloads(messages) == [b"1", b"2"]
        assert messages[0].metadata.message_id == "one"

    @case("subj.match_table")
    async def test_match_table(self, kit: Kit) -> None:
        """Filters select exactly the subjects of the grammar: * is one token, > one or more."""
        subjects = dict.fromkeys(subject for _, subject, _ in _MATCHES)
        publisher = await kit.publisher()
        for subject in [*subjects, "zz"]:
            await publisher.publish(kit.subject(f"t.{subject}"), subject.encode())
            await publisher.publish(kit.subject("end"), b"end")
        for number, pattern in enumerate(dict.fromkeys(pattern for pattern, _, _ in _MATCHES)):
            subscription = await kit.subscription(f"d{number}", filter_subject=kit.subject(f"t.{pattern}"))
            info = await kit.backend.consumer_info(kit.stream, f"d{number}")
            got = {message.data.decode() for message in await read(subscription, info.num_pending)}
            wrong = [row for row in _MATCHES if row[0] == pattern and (row[1] in got) is not row[2]]
            assert not wrong, f"{wrong}, got {got}"
            await subscription.aclose()

    @case("subj.invalid_publish")
    async def test_invalid_publish(self, kit: Kit) -> None:
        """A subject that is empty, has empty tokens, blanks, wildcards or is too long is refused, nothing is stored."""
        publisher = await kit.publisher()
        for subject in _INVALID_SUBJECTS:
            with pytest.raises(InvalidArgumentError):
                await publisher.publish(subject, b"x")
        assert (await kit.backend.stream_info(kit.stream)).messages == 0

    @case("subj.invalid_filter")
    async def test_invalid_filter(self, kit: Kit) -> None:
        """A filter with misplaced wildcards, empty tokens or blanks is refused."""
        for pattern in _INVALID_FILTERS:
            with pytest.raises(InvalidArgumentError):
                await kit.subscription(filter_subject=pattern)

    @case("subj.outside_stream")
    async def test_outside_stream(self, kit: Kit) -> None:
        """Publishing outside of the stream's subjects is NotFoundError; a hopeless filter is InvalidArgumentError."""
        publisher = await kit.publisher()
        with pytest.raises(NotFoundError, match="does not hold"):
            await publisher.publish("elsewhere.x", b"x")
        with pytest.raises(InvalidArgumentError, match="can match nothing"):
            await kit.subscription(filter_subject="elsewhere.>")

    @case("subj.unicode")
    async def test_unicode(self, kit: Kit) -> None:
        """Unicode subjects arrive unchanged, and normalisation forms stay distinct."""
        twins = ["é", "e\u0301"]
        publisher = await kit.publisher()
        for twin in twins:
            await publisher.publish(kit.subject(f"{twin}.中.😀"), twin.encode())
        only = await kit.subscription(filter_subject=kit.subject(f"{twins[1]}.>"))
        message = await receive(only)
        assert (message.subject, message.data) == (kit.subject(f"{twins[1]}.中.😀"), twins[1].encode())

    @case("subj.prefix")
    async def test_prefix(self, kit: Kit) -> None:
        """subject_prefix and a dot go before the subject; the filter and the message have the full subject."""
        publisher = await kit.publisher(subject_prefix=kit.subject("pre"))
        await publisher.publish("a.b", b"x")
        subscription = await kit.subscription(filter_subject=kit.subject("pre.a.>"))
        assert (await receive(subscription)).subject == kit.subject("pre.a.b")
        assert (await kit.backend.stream_info(kit.stream)).options.subjects == (kit.subject("pre.>"),)

    @case("pay.limits")
    async def test_payload_limits(self, kit: Kit) -> None:
        """Empty and largest payloads arrive; one byte more is refused and the publisher stays usable."""
        publisher, limit = await kit.publisher(), kit.backend.max_payload
        await publisher.publish(kit.subject("x"), b"")
        await publisher.publish(kit.subject("x"), b"m" * limit)
        for headers in (None, {"a": "b"}):
            with pytest.raises(InvalidArgumentError, match="more than the"):
                await publisher.publish(kit.subject("x"), b"m" * (limit + (headers is None)), headers=headers)
        await publisher.publish(kit.subject("x"), b"end")
        sizes = [len(message.data) for message in await read(await kit.subscription(), 3)]
        assert sizes == [0, limit, 3]

    @case("hdr.exact_or_refused")
    async def test_headers_refused(self, kit: Kit) -> None:
        """A header that a broker would alter, or that is its own, is refused; nothing is stored."""
        publisher = await kit.publisher()
        bad = [{"a": "x\r\ny"}, {"a": " x"}, {"a": "x\t"}, {"a b": "x"}, {"a:": "x"}, {"": "x"}, {"Nats-Msg-Id": "x"}]
        for headers in [*bad, {"é": "x"}, {"a": 1}]:
            with pytest.raises(InvalidArgumentError):
                await publisher.publish(kit.subject("x"), b"x", headers=headers)  # type: ignore[arg-type]
        assert (await kit.backend.stream_info(kit.stream)).messages == 0

    @case("con.publishers")
    async def test_concurrent_publishers(self, kit: Kit) -> None:
        """Eight tasks share one publisher: nothing is lost and each one's order is kept."""
        publisher = await kit.publisher()

        async def work(name: int) -> None:
            for number in range(25):
                await publisher.publish(kit.subject(f"p{name}"), b"%d" % number)

        await asyncio.gather(*(work(name) for name in range(8)))
        messages = await read(await kit.subscription(), 200)
        for name in range(8):
            mine = [int(message.data) for message in messages if message.subject == kit.subject(f"p{name}")]
            assert mine == list(range(25))

    @case("core.many_async")
    async def test_publish_many_async(self, kit: Kit) -> None:
        """publish_many takes an async iterable, headers and message ids."""

        async def source() -> AsyncIterator[OutgoingMessage]:
            for number in range(3):
                yield OutgoingMessage(kit.subject("x"), b"%d" % number, {"n": str(number)}, f"id-{number}")

        publisher = await kit.publisher()
        await publisher.publish_many(source())
        receipts = await publisher.publish_many(source())
        assert [receipt.duplicate for receipt in receipts] == [True] * 3
        messages = await read(await kit.subscription(), 3)
        assert [message.headers["n"] for message in messages] == ["0", "1", "2"]
