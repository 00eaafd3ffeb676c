"""Dead letters on both backends: what is moved, when, and that it is moved once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from waiting import settled

from pubsubkit import (
    Backend,
    ConflictError,
    Consumer,
    ConsumerOptions,
    Message,
    NotFoundError,
    PublisherOptions,
    Storage,
    StreamOptions,
    TransientError,
    connect,
)
from pubsubkit.driver import Delivery
from pubsubkit_nats.testing import NatsServer

DEADLINE = 20.0
PREFIX = "Pubsubkit-Dead-Letter-"


def reader(backend: Backend, **options: object) -> Consumer:
    given = {"stream_name": "s", "consumer_name": "d", "ack_wait": 60, "max_deliver": 3, "dead_letter": "s-dead"}
    return backend.consumer(ConsumerOptions(**{**given, **options}))  # type: ignore[arg-type]


async def publish(backend: Backend, *data: bytes, headers: dict[str, str] | None = None) -> None:
    async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
        await publisher.publish_many(("s.a.b", each, headers) for each in data)


async def stored(backend: Backend) -> int:
    return (await backend.stream_info("s-dead")).messages


async def dead_letters(backend: Backend, count: int) -> list[Message]:
    """The dead letters, which must be *count*."""
    async with asyncio.timeout(DEADLINE):
        while await stored(backend) < count:
            await asyncio.sleep(0.01)
        async with backend.consumer(ConsumerOptions(stream_name="s-dead")).subscribe() as messages:
            found = [await anext(messages) for _ in range(count)]
    assert await stored(backend) == count
    return found


async def test_a_message_nak_ed_to_its_limit_is_moved(backend: Backend):
    """The nak of the last permitted delivery moves the message with its data, its headers and where it came from."""
    await publish(backend, b"\x00poison", headers={"Trace": "a=b; c", "Price": "3 €"})
    async with asyncio.timeout(DEADLINE), reader(backend).subscribe() as messages:
        for number in (1, 2, 3):
            message = await anext(messages)
            assert message.metadata.num_delivered == number
            assert await message.nak()
        await settled(backend, DEADLINE)
    (dead,) = await dead_letters(backend, 1)
    time = datetime.fromisoformat(dead.headers[PREFIX + "Time"])
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)
    assert dead.headers[PREFIX + "Time"].endswith("Z")
    assert (dead.subject, dead.data) == ("s-dead.s.a.b", b"\x00poison")
    assert {name: value for name, value in dead.headers.items() if name != PREFIX + "Time"} == {
        "Trace": "a=b; c",
        "Price": "3 €",
        PREFIX + "Subject": "s.a.b",
        PREFIX + "Stream": "s",
        PREFIX + "Consumer": "d",
        PREFIX + "Sequence": "1",
        PREFIX + "Deliveries": "3",
        PREFIX + "Reason": "max_deliver reached",
    }


async def test_others_go_on_beside_a_poison_message(backend: Backend):
    """Messages that can be handled are each acked once, in spite of one that fails every time."""
    await publish(backend, *(b"%d" % number for number in range(20)))
    acked: list[bytes] = []
    async with asyncio.timeout(DEADLINE), reader(backend, backoff=(0.01,)).subscribe() as messages:
        async for message in messages:
            if message.data == b"7":
                await message.nak()
            else:
                await message.ack()
                acked.append(message.data)
            if len(acked) == 19 and await stored(backend):
                break
    assert sorted(acked, key=int) == [b"%d" % number for number in range(20) if number != 7]
    assert [message.data for message in await dead_letters(backend, 1)] == [b"7"]
    await settled(backend, DEADLINE)


async def test_term_is_a_dead_letter(backend: Backend):
    """A message that is terminated is moved at once, with the reason of its handler as one line."""
    await publish(backend, b"1", b"2")
    async with asyncio.timeout(DEADLINE), reader(backend).subscribe() as messages:
        assert await (await anext(messages)).term("  no such\n order: 17 € ")
        assert await (await anext(messages)).term()
    named, plain = await dead_letters(backend, 2)
    assert (named.headers[PREFIX + "Reason"], named.headers[PREFIX + "Deliveries"]) == ("no such order: 17 €", "1")
    assert plain.headers[PREFIX + "Reason"] == "terminated"
    await settled(backend, DEADLINE)


async def test_deliveries_without_a_verdict_count(backend: Backend):
    """A message whose ack_wait ran out at each permitted delivery is moved when it comes again, and not handed out."""
    await publish(backend, b"slow", b"fine")
    handed_out: list[tuple[bytes, int]] = []
    async with asyncio.timeout(DEADLINE), reader(backend, ack_wait=0.2, max_deliver=2).subscribe() as messages:
        reading = asyncio.ensure_future(_read(messages, handed_out))
        (dead,) = await dead_letters(backend, 1)
        await settled(backend, DEADLINE)
        reading.cancel()
        await asyncio.wait([reading])
    assert sorted(handed_out) == [(b"fine", 1), (b"slow", 1), (b"slow", 2)]
    assert (dead.data, dead.headers[PREFIX + "Deliveries"]) == (b"slow", "2")
    assert dead.headers[PREFIX + "Reason"] == "max_deliver reached"


async def _read(messages: AsyncIterator[Message], handed_out: list[tuple[bytes, int]]) -> None:
    async for message in messages:
        handed_out.append((message.data, message.metadata.num_delivered))
        if message.data == b"fine":
            await message.ack()


async def test_what_is_given_back_at_its_limit_is_moved_by_the_next_member(backend: Backend):
    """Closing with a message on its last permitted delivery loses nothing: the next member moves it."""
    await publish(backend, b"1")
    for stop in ("aclose", "drain"):
        subscription = reader(backend, max_deliver=2).subscribe()
        async with asyncio.timeout(DEADLINE):
            await anext(subscription)
            await (subscription.aclose() if stop == "aclose" else subscription.drain(0))
    async with asyncio.timeout(DEADLINE), reader(backend, max_deliver=2).subscribe() as messages:
        waiting = asyncio.ensure_future(anext(messages, None))
        assert [message.data for message in await dead_letters(backend, 1)] == [b"1"]
        await settled(backend, DEADLINE)
        await publish(backend, b"2")
        assert (await waiting).data == b"2"


async def test_unread_messages_are_not_counted(backend: Backend):
    """However often members stop, a message that no handler has seen is not moved: nothing is fetched ahead."""
    await publish(backend, *(b"%d" % number for number in range(20)))
    async with asyncio.timeout(DEADLINE):
        for stop in ("aclose", "drain", "aclose", "drain", "aclose"):
            subscription = reader(backend, max_deliver=5).subscribe()
            assert (await anext(subscription)).data == b"0"
            await (subscription.aclose() if stop == "aclose" else subscription.drain(0))
        async with reader(backend, max_deliver=5).subscribe() as messages:
            left = [await anext(messages) for _ in range(19)]
    assert [(message.data, message.metadata.num_delivered) for message in left] == [
        (b"%d" % number, 1) for number in range(1, 20)
    ]
    assert [message.data for message in await dead_letters(backend, 1)] == [b"0"]


async def test_competing_members_move_a_message_once(backend: Backend):
    """Many members with many failing messages leave one dead letter for each message."""
    numbers = [b"%d" % number for number in range(50)]
    await publish(backend, *numbers)
    members = [reader(backend, max_deliver=2, channel_buf_size=5).subscribe() for _ in range(3)]

    async def work(member: AsyncIterator[Message]) -> None:
        async for message in member:
            await message.nak()

    await asyncio.gather(*(member.__aenter__() for member in members))
    workers = [asyncio.ensure_future(work(member)) for member in members]
    found = await dead_letters(backend, 50)
    await settled(backend, DEADLINE)
    await asyncio.gather(*(member.aclose() for member in members))
    await asyncio.gather(*workers)
    assert sorted((message.data for message in found), key=int) == numbers


async def test_a_message_moved_twice_is_stored_once(backend: Backend, monkeypatch: pytest.MonkeyPatch):
    """When the term after the move is lost, the message comes again, is moved again, and is stored once."""
    await publish(backend, b"1")
    terms: list[str] = []
    async with asyncio.timeout(DEADLINE), reader(backend, ack_wait=0.3, max_deliver=1).subscribe() as messages:
        message = await anext(messages)
        delivery, settle = message.delivery, type(message.delivery).settle

        async def lose(self, settlement):
            if settlement.verdict == "term" and not terms:
                terms.append("lost")
                raise TransientError("not sent")
            if settlement.verdict == "term":
                terms.append("sent")
            await settle(self, settlement)

        monkeypatch.setattr(type(delivery), "settle", lose)
        monkeypatch.setattr(type(delivery), "settle_now", Delivery.settle_now)
        with pytest.raises(TransientError):
            await message.term("broken")
        waiting = asyncio.ensure_future(anext(messages, None))
        await settled(backend, DEADLINE)
        while len(terms) < 2:
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
    assert terms == ["lost", "sent"]
    assert await stored(backend) == 1


async def test_the_stream_of_dead_letters(backend: Backend):
    """It is made on opening, in the storage of the consumer's stream, and without a limit on the broker's consumer."""
    await backend.ensure_stream(StreamOptions(name="s", storage=Storage.FILE))
    async with reader(backend):
        found = (await backend.stream_info("s-dead")).options
        spec = (await backend.consumer_info("s", "d")).spec
    assert (found.subjects, found.storage) == (("s-dead.>",), Storage.FILE)
    assert spec.max_deliver is None


async def test_dead_letters_without_managing(backend: Backend):
    """With manage='none' a missing stream is a NotFoundError, and a broker that stops before us a ConflictError."""
    async with reader(backend, dead_letter=""):
        pass
    with pytest.raises(NotFoundError, match="s-dead"):
        await reader(backend, manage="none").__aenter__()
    await backend.ensure_stream(StreamOptions(name="s-dead"))
    with pytest.raises(ConflictError, match="max_deliver"):
        await reader(backend, manage="none").__aenter__()
    async with reader(backend, manage="none", max_deliver=2), reader(backend, manage="update"):
        assert (await backend.consumer_info("s", "d")).spec.max_deliver is None


async def test_the_first_use_without_entering_makes_the_stream(backend: Backend):
    """A subscription of a consumer that was not entered makes the stream of dead letters too."""
    async with reader(backend).subscribe():
        assert await stored(backend) == 0


async def test_a_message_as_large_as_the_broker_takes(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Where our headers do not fit, the copy has all of the original and the log has the rest."""
    async with NatsServer(tmp_path, "max_payload: 4096") as server:
        for url in (server.url, "memory://?max_payload=4096"):
            async with connect(url) as backend:
                size = 4096 - len("NATS/1.0\r\nMine: yes\r\n\r\n")
                await publish(backend, b"x" * size, headers={"Mine": "yes"})
                async with asyncio.timeout(DEADLINE), reader(backend).subscribe() as messages:
                    assert await (await anext(messages)).term("too odd")
                (dead,) = await dead_letters(backend, 1)
                assert (len(dead.data), dict(dead.headers)) == (size, {"Mine": "yes"})
                assert "too odd" in caplog.text
                caplog.clear()


async def test_a_process_that_dies_with_its_message(server: NatsServer):
    """The deliveries of connections that died without a verdict count, and only those that a handler had."""
    async with connect(server.url) as backend:
        await publish(backend, b"deadly")
        for number in (1, 2):
            dying = await connect(server.url).open()
            message = await anext(reader(dying, ack_wait=0.3, max_deliver=2).subscribe())
            assert (message.data, message.metadata.num_delivered) == (b"deadly", number)
            if number == 2:
                await publish(backend, b"fine")
            await dying.native.close()  # type: ignore[attr-defined]
            await dying.aclose()
        async with asyncio.timeout(DEADLINE), reader(backend, ack_wait=0.3, max_deliver=2).subscribe() as messages:
            other = await anext(messages)
            assert (other.data, other.metadata.num_delivered, await other.ack()) == (b"fine", 1, True)
            waiting = asyncio.ensure_future(anext(messages, None))
            assert [message.data for message in await dead_letters(backend, 1)] == [b"deadly"]
            await settled(backend, DEADLINE)
        assert await waiting is None


async def test_dead_letters_survive_a_restart_between_deliveries(server: NatsServer):
    """In file storage the count of deliveries and the dead letter outlive a restart of the server."""
    async with connect(f"{server.url}?reconnect_wait=20ms") as backend:
        await backend.ensure_stream(StreamOptions(name="s", storage=Storage.FILE))
        await publish(backend, b"1")
        async with asyncio.timeout(DEADLINE), reader(backend, max_deliver=2, ack_wait=2).subscribe() as messages:
            await (await anext(messages)).nak_with_delay(0.1)
            last = await anext(messages)
            await server.restart()
            while not (await backend.health()).connected:
                await asyncio.sleep(0.01)
            assert last.metadata.num_delivered == 2
            await last.nak()
        await server.restart()
        assert [message.data for message in await dead_letters(backend, 1)] == [b"1"]
