"""Core delivery: what is published arrives, once and unchanged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit import NotFoundError, OutgoingMessage, PublishBatchError, StreamOptions, UnsupportedError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pubsubkit_contract.kit import Kit

__all__ = ["DeliveryCases"]


class DeliveryCases(Cases):
    """Nothing is lost, added, altered or mixed up."""

    @case(
        "core.roundtrip",
        why="A payload that is decoded or cut on its way breaks every format but the one it was tried with.",
    )
    async def test_core_roundtrip(self, kit: Kit) -> None:
        """Subject and every byte value arrive exactly as they were published, the data as bytes."""
        data = bytes(range(256)) + "é".encode()[:1]
        subscription = await kit.subscription()
        await kit.publish(data, tail="a.b")
        message = await kit.receive(subscription)
        assert (message.subject, message.data) == (kit.subject("a.b"), data)
        assert type(message.data) is bytes

    @case("core.receipt", why="Applications use the sequence to find the message again.")
    async def test_core_receipt(self, kit: Kit) -> None:
        """The receipt names the stream and the sequence under which the message is delivered."""
        subscription = await kit.subscription()
        publisher = await kit.publisher()
        receipts = [await publisher.publish(kit.subject("x"), b"%d" % number) for number in range(3)]
        assert [(receipt.stream, receipt.duplicate) for receipt in receipts] == [(kit.stream, False)] * 3
        delivered = sorted(message.metadata.sequence for message in await kit.read(subscription, 3))
        assert [receipt.sequence for receipt in receipts] == delivered
        assert len(set(delivered)) == 3

    @case("core.live", why="A consumer that was idle must not need a push to go on.")
    async def test_core_live(self, kit: Kit) -> None:
        """A message that is published while a receive waits arrives."""
        subscription = await kit.subscription()
        waiting = asyncio.ensure_future(kit.receive(subscription))
        await asyncio.sleep(0)
        await kit.publish(b"late")
        assert (await waiting).data == b"late"

    @case(
        "core.history",
        why="A service that is deployed after its producers must see what they sent.",
        needs={Capability.HISTORY},
    )
    async def test_core_history(self, kit: Kit) -> None:
        """A message that was published before the consumer existed arrives."""
        await kit.publish(b"early")
        assert (await kit.receive(await kit.subscription())).data == b"early"

    @case("core.no_loss_no_extra", why="Loss and invention are what a broker is there to prevent.")
    async def test_core_no_loss_no_extra(self, kit: Kit) -> None:
        """Two hundred messages arrive once each, then the sentinel."""
        subscription = await kit.subscription()
        wanted = [b"%d" % number for number in range(200)]
        await kit.publish(*wanted, b"sentinel")
        got = payloads(await kit.read(subscription, 201))
        assert sorted(got) == sorted([*wanted, b"sentinel"])

    @case(
        "core.publish_confirms",
        why="publish() is the moment at which the producer may forget the message.",
        needs={Capability.HISTORY},
    )
    async def test_core_publish_confirms(self, kit: Kit) -> None:
        """When publish returns, another connection finds the message stored, every time."""
        publisher, other = await kit.publisher(), await kit.connect()
        for number in range(1, 31):
            await publisher.publish(kit.subject("x"), b"%d" % number)
            info = await other.stream_info(kit.stream)
            assert info.messages == number, f"after {number} publishes the stream holds {info.messages}"
        kit.note("each of 30 messages was there when its publish returned")

    @case("core.buffer_snapshot", why="Producers reuse buffers; a message must not change after it was handed over.")
    async def test_core_buffer_snapshot(self, kit: Kit) -> None:
        """Changing a buffer after publish_soon returned does not change the message."""
        subscription = await kit.subscription()
        publisher, buffer = await kit.publisher(), bytearray(b"before")
        future = await publisher.publish_soon(kit.subject("x"), buffer)
        buffer[:] = b"after!"
        await future
        assert (await kit.receive(subscription)).data == b"before"

    @case("core.headers_snapshot", why="Producers reuse dictionaries too.", needs={Capability.HEADERS})
    async def test_core_headers_snapshot(self, kit: Kit) -> None:
        """Changing a header mapping after publish_soon returned does not change the message."""
        subscription = await kit.subscription()
        publisher, headers = await kit.publisher(), {"a": "before"}
        future = await publisher.publish_soon(kit.subject("x"), b"x", headers=headers)
        headers["a"] = "after"
        await future
        assert dict((await kit.receive(subscription)).headers) == {"a": "before"}

    @case(
        "core.subscribe_is_active",
        why="A request whose answer is published right after subscribing would be missed now and then.",
    )
    async def test_core_subscribe_is_active(self, kit: Kit) -> None:
        """What is published right after entering a subscription for new messages is received, twenty times over."""
        publisher = await kit.publisher()
        for number in range(20):
            subscription = await kit.subscription("", deliver_from="new")
            await publisher.publish(kit.subject("x"), b"%d" % number)
            assert (await kit.receive(subscription)).data == b"%d" % number
            await subscription.aclose()

    @case("core.streams_isolated", why="Streams are what keeps two applications on one broker apart.")
    async def test_core_streams_isolated(self, kit: Kit) -> None:
        """Consumers of the same name get nothing of each other's streams."""
        other = kit.another_stream("other")
        mine, theirs = await kit.subscription(), await kit.subscription(stream_name=other)
        publisher = await kit.publisher(stream_name=other)
        await publisher.publish(f"{other}.x", b"theirs")
        await kit.publish(b"mine")
        assert payloads(await kit.read(mine, 1)) == [b"mine"]
        await kit.publish(b"sentinel")
        assert payloads(await kit.read(mine, 1)) == [b"sentinel"]
        assert payloads(await kit.read(theirs, 1)) == [b"theirs"]

    @case("core.batch", why="publish_many is how large jobs are published; its order is the order of the file.")
    async def test_core_batch(self, kit: Kit) -> None:
        """publish_many stores in order, with a receipt for each message in its place."""
        subscription = await kit.subscription()
        publisher = await kit.publisher(window=10)
        wanted = [b"%d" % number for number in range(300)]
        receipts = await publisher.publish_many((kit.subject("x"), data) for data in wanted)
        got = {message.metadata.sequence: message.data for message in await kit.read(subscription, 300)}
        assert [got[receipt.sequence] for receipt in receipts] == wanted
        assert [got[sequence] for sequence in sorted(got)] == wanted

    @case("core.batch_large", why="More than a connection buffers at once takes another path through most clients.")
    async def test_core_batch_large(self, kit: Kit) -> None:
        """publish_many of more bytes than a connection buffers keeps order and content."""
        subscription = await kit.subscription(channel_buf_size=10)
        publisher = await kit.publisher()
        size = min(32_000, kit.backend.max_payload - 100)
        wanted = [b"%06d" % number + b"x" * size for number in range(300)]
        receipts = await publisher.publish_many((kit.subject("x"), data) for data in wanted)
        got = {message.metadata.sequence: message.data for message in await kit.read(subscription, 300)}
        assert [got[receipt.sequence] for receipt in receipts] == wanted

    @case("core.batch_failure", why="Whoever retries a batch must know which messages to leave out.")
    async def test_core_batch_failure(self, kit: Kit) -> None:
        """When one message of publish_many fails, the error says which were stored and which not, truly."""
        subscription = await kit.subscription()
        publisher = await kit.publisher()
        good, bad = (kit.subject("x"), b"good"), ("elsewhere.x", b"bad")
        with kit.raises(PublishBatchError) as caught:
            await publisher.publish_many([good, good, bad])
        assert list(caught[0].stored) == [0, 1]
        assert isinstance(caught[0].failed[2], NotFoundError)
        await kit.publish(b"sentinel")
        assert sorted(payloads(await kit.read(subscription, 3))) == [b"good", b"good", b"sentinel"]

    @case("core.publish_soon", why="Mixing the ways to publish must not change the order of one publisher.")
    async def test_core_publish_soon(self, kit: Kit) -> None:
        """The order of publish_soon and publish among each other is that of the calls."""
        subscription = await kit.subscription()
        publisher = await kit.publisher(window=5)
        futures = [await publisher.publish_soon(kit.subject("x"), b"%d" % number) for number in range(20)]
        last = await publisher.publish(kit.subject("x"), b"20")
        sequences = [(await future).sequence for future in futures] + [last.sequence]
        assert sequences == sorted(set(sequences))
        got = await kit.read(subscription, 21)
        assert sorted(payloads(got), key=int) == [b"%d" % number for number in range(21)]

    @case("core.flush", why="flush() is where a producer makes sure before it reports success.")
    async def test_core_flush(self, kit: Kit) -> None:
        """When flush returns, every message of publish_soon is stored and its future has the receipt."""
        publisher = await kit.publisher()
        futures = [await publisher.publish_soon(kit.subject("x"), b"%d" % number) for number in range(40)]
        await publisher.flush()
        assert all(future.done() for future in futures)
        assert (await kit.stream_info()).messages == 40

    @case(
        "core.many_async",
        why="Sources of large jobs are asynchronous.",
        needs={Capability.HEADERS, Capability.DEDUPLICATION},
    )
    async def test_core_many_async(self, kit: Kit) -> None:
        """publish_many takes an async iterable, with headers and message ids of their own."""
        subscription = await kit.subscription()

        async def source() -> AsyncIterator[OutgoingMessage]:
            for number in range(3):
                yield OutgoingMessage(kit.subject("x"), b"%d" % number, {"n": str(number)}, f"id-{number}")

        publisher = await kit.publisher()
        await publisher.publish_many(source())
        receipts = await publisher.publish_many(source())
        assert [receipt.duplicate for receipt in receipts] == [True] * 3
        messages = await kit.read(subscription, 3)
        assert sorted((message.data, message.headers["n"]) for message in messages) == [
            (b"0", "0"),
            (b"1", "1"),
            (b"2", "2"),
        ]

    @case(
        "core.dedup",
        why="A retry after a timeout is safe only when the broker stores an id once.",
        needs={Capability.DEDUPLICATION},
    )
    async def test_core_dedup(self, kit: Kit) -> None:
        """A message id is stored once; the repeat says so and names the first one's sequence."""
        subscription = await kit.subscription()
        publisher, other = await kit.publisher(), await kit.publisher()
        first = await publisher.publish(kit.subject("x"), b"1", message_id="one")
        again = await other.publish(kit.subject("x"), b"1", message_id="one")
        second = await publisher.publish(kit.subject("x"), b"2", message_id="two")
        assert (again.sequence, again.duplicate) == (first.sequence, True)
        assert not (first.duplicate or second.duplicate)
        messages = await kit.read(subscription, 2)
        ids = sorted((message.data, message.metadata.message_id) for message in messages)
        assert ids == [(b"1", "one"), (b"2", "two")]

    @case(
        "core.dedup_window",
        why="An id that is remembered for ever refuses a message that is new.",
        needs={Capability.DEDUPLICATION},
    )
    async def test_core_dedup_window(self, kit: Kit) -> None:
        """After the stream's duplicate_window an id may be stored again, and not before."""
        window = max(0.2, 2 * kit.short)
        subscription = await kit.subscription(
            stream_name="", stream=StreamOptions(name=kit.stream, duplicate_window=window)
        )
        publisher = await kit.publisher()
        loop = asyncio.get_running_loop()
        started = loop.time()
        await publisher.publish(kit.subject("x"), b"1", message_id="one")
        while (await publisher.publish(kit.subject("x"), b"1", message_id="one")).duplicate:
            assert loop.time() - started < kit.cap, "the id is remembered for ever"
            await asyncio.sleep(window / 20)
        assert loop.time() - started >= window * 0.9
        assert payloads(await kit.read(subscription, 2)) == [b"1", b"1"]

    @case(
        "core.unsupported_dedup",
        why="An id that is silently ignored makes a retry unsafe without anybody knowing.",
        absent={Capability.DEDUPLICATION},
    )
    async def test_core_unsupported_dedup(self, kit: Kit) -> None:
        """Without de-duplication a message id is refused, and nothing is stored."""
        publisher = await kit.publisher()
        with kit.raises(UnsupportedError, "deduplication"):
            await publisher.publish(kit.subject("x"), b"x", message_id="one")
        assert (await kit.stream_info()).messages == 0
