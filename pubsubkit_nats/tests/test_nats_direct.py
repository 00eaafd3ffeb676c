"""The shortcuts through nats-py, and the way without them."""

import asyncio
import logging
from collections.abc import Sequence

import pytest
from nats.aio.client import Client

from pubsubkit import ConsumerOptions, PublisherOptions, Storage, connect
from pubsubkit.driver import OutgoingMessage
from pubsubkit_nats.direct import DirectClient, new_client, subscribe
from pubsubkit_nats.pipe import PublishPipe
from pubsubkit_nats.testing import NatsServer

MESSAGES = 300


def test_the_private_parts_are_there():
    """The installed nats-py has what the shortcuts build on; without it everything is slower."""
    assert type(new_client()) is DirectClient


async def another_shape(self: Client, sid: int, message: bytes) -> None:
    """As a future nats-py may have it."""


@pytest.fixture(params=["direct", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    """The class of client that a backend gets."""
    if request.param == "direct":
        return DirectClient
    monkeypatch.setattr("pubsubkit_nats.connection.new_client", Client)
    return Client


async def test_both_ways_carry_messages(server: NatsServer, way: type[Client]):
    """With and without the shortcuts a stream of messages is confirmed, delivered in order and acked."""
    options = ConsumerOptions(stream_name="s", consumer_name="d", channel_buf_size=50)
    async with asyncio.timeout(10), connect(server.url) as backend:
        assert type(backend.native) is way
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            receipts = await publisher.publish_many(("s.x", b"%d" % number, {"a": "b"}) for number in range(MESSAGES))
            receipts += await publisher.publish_many(("s.x", b"%d" % number) for number in range(MESSAGES))
        assert [receipt.sequence for receipt in receipts] == list(range(1, 2 * MESSAGES + 1))
        async with backend.consumer(options).subscribe() as messages:
            for number in range(2 * MESSAGES):
                message = await anext(messages)
                assert message.data == b"%d" % (number % MESSAGES)
                assert message.headers == ({"a": "b"} if number < MESSAGES else {})
                await message.ack()
        info = await backend.consumer_info("s", "d")
    assert (info.num_pending, info.num_ack_pending) == (0, 0)


def test_an_unknown_nats_py_gets_a_plain_client(monkeypatch: pytest.MonkeyPatch):
    """Where nats-py takes a message in another way there are no shortcuts."""
    monkeypatch.setattr(Client, "_process_msg", another_shape)
    assert type(new_client()) is Client


async def test_a_failing_receiver_does_not_end_the_connection(server: NatsServer, caplog: pytest.LogCaptureFixture):
    """What a receiver raises is logged; the next messages and requests are served."""
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    def receive(subject: str, reply: str, data: bytes, headers: object) -> None:
        if data == b"bad":
            raise ValueError("no")
        seen.put_nowait(data)

    client = new_client()
    await client.connect(server.url)
    await subscribe(client, "a", receive)
    with caplog.at_level(logging.ERROR, "pubsubkit.nats"):
        await client.publish("a", b"bad")
        await client.publish("a", b"good")
        async with asyncio.timeout(5):
            assert await seen.get() == b"good"
            await client.flush()
    assert "not understood" in caplog.text
    await client.close()


async def test_a_shortcut_minds_the_largest_payload(server: NatsServer):
    """What is too large for the server joins no flush: the server would end the connection for it."""
    client = DirectClient()
    await client.connect(server.url)
    try:
        await client.publish("s.x", b"makes a flush due")
        assert not client.join_flush("s.x", bytes(client.max_payload + 1), "")
        assert client.join_flush("s.x", b"small", "")
    finally:
        await client.close()


async def test_one_message_alone_is_written_at_once(server: NatsServer):
    """Nothing waits before it: it goes past the flusher; behind something that waits it does not, to keep the order."""
    client = DirectClient()
    await client.connect(server.url)
    seen: asyncio.Queue[bytes] = asyncio.Queue()
    try:
        await subscribe(client, "a", lambda _subject, _reply, data, _headers: seen.put_nowait(data))
        assert not client.write_alone("a", b"before SUB", "")
        await client.flush()
        assert client.write_alone("a", b"1", "")
        await client.publish("a", b"2")
        assert not client.write_alone("a", b"overtakes", "")
        assert not client.write_alone("a", bytes(client.max_payload + 1), "")
        async with asyncio.timeout(5):
            assert [await seen.get(), await seen.get()] == [b"1", b"2"]
    finally:
        await client.close()
    assert not client.write_alone("a", b"closed", "")


async def test_a_publish_that_is_alone_goes_the_short_way(server: NatsServer, monkeypatch: pytest.MonkeyPatch):
    """One that is not alone goes by ``send``; one that is cancelled leaves nothing behind."""
    sent: list[int] = []
    send = PublishPipe.send

    async def spied(self: PublishPipe, messages: Sequence[OutgoingMessage], timeout: float) -> object:
        sent.append(len(messages))
        return await send(self, messages, timeout)

    async with asyncio.timeout(10), connect(server.url) as backend:
        pipe = backend._connection.driver._pipe
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish("s.x", b"1")
            monkeypatch.setattr(PublishPipe, "send", spied)
            assert (await publisher.publish("s.x", b"2")).sequence == 2
            assert not sent
            receipts = await asyncio.gather(*(publisher.publish("s.x", data) for data in (b"3", b"4", b"5")))
            assert [receipt.sequence for receipt in receipts] == [3, 4, 5]
            assert sent == [1, 1]
            publishing = asyncio.ensure_future(publisher.publish("s.x", b"6"))
            await asyncio.sleep(0)
            assert pipe._waiting
            publishing.cancel()
            await asyncio.wait([publishing])
            assert not pipe._waiting
            assert (await publisher.publish("s.x", b"7")).sequence == 7


async def test_a_publish_overtakes_none_whose_turn_it_is(server: NatsServer):
    """The turn is free for a moment between the one who had it and the one who waits for it."""
    async with asyncio.timeout(10), connect(server.url) as backend:
        pipe = backend._connection.driver._pipe
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish("s.x", b"1")
            await pipe._turn.acquire()
            waits = asyncio.ensure_future(pipe.send([OutgoingMessage("s.x", b"2")] * 2, 5))
            await asyncio.sleep(0)
            later = asyncio.ensure_future(publisher.publish("s.x", b"3"))
            pipe._turn.release()
            assert [receipt.sequence for receipt in await waits] == [2, 3]
            assert (await later).sequence == 4
            await pipe._turn.acquire()
            given_up = asyncio.ensure_future(publisher.publish_many([("s.x", b"4"), ("s.x", b"5")]))
            late = await pipe.send([OutgoingMessage("s.x", b"6")] * 2, 0.01)
            assert all("nothing was sent" in str(outcome) for outcome in late)
            given_up.cancel()
            await asyncio.wait([given_up])
            pipe._turn.release()
        assert not pipe._in_line


async def test_what_is_written_after_a_loss_is_confirmed(server: NatsServer, monkeypatch: pytest.MonkeyPatch):
    """A batch that waited for room when the connection was lost is sent when it is back, and hears of it."""
    async with asyncio.timeout(10), connect(server.url) as backend:
        pipe = backend._connection.driver._pipe
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish("s.x", b"1")
            room = asyncio.Event()
            monkeypatch.setattr(type(pipe._link), "ready", False)
            monkeypatch.setattr(pipe._link, "wait_ready", room.wait)
            waits = asyncio.ensure_future(pipe.send([OutgoingMessage("s.x", b"2", {"a": "b"})] * 2, 2))
            await asyncio.sleep(0)
            assert pipe._turn.locked()
            pipe._on_change(False)
            room.set()
            assert [getattr(outcome, "sequence", outcome) for outcome in await waits] == [2, 3]


async def test_an_unforeseen_error_does_not_end_the_attempts_to_reconnect(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """nats-py would stay disconnected for ever, and silent; here it tries again."""
    begin, failures = Client._process_connect_init, [KeyError("odd"), AssertionError()]

    async def fails_at_first(self: Client) -> None:
        if failures:
            raise failures.pop()
        await begin(self)

    async with asyncio.timeout(15), connect(f"{server.url}?reconnect_wait=10ms") as backend:
        async with backend.publisher(PublisherOptions(stream_name="s", storage=Storage.FILE)) as publisher:
            monkeypatch.setattr(Client, "_process_connect_init", fails_at_first)
            with caplog.at_level(logging.DEBUG, "pubsubkit.nats"):
                await server.restart()
                await publisher.publish("s.x", b"after")
    assert not failures
    assert caplog.text.count("could not be greeted") == 2


async def test_the_socket_is_tapped_again_after_a_reconnect(server: NatsServer):
    """A message is handed over by the event loop itself, not by a task that it had to wake up for it."""
    tasks: list[asyncio.Task[object] | None] = []
    arrived = asyncio.Event()

    def sink(*_: object) -> None:
        tasks.append(asyncio.current_task())
        arrived.set()

    async def ignore(_: Exception) -> None:
        """It is lost on purpose."""

    client = new_client()
    await client.connect(server.url, reconnect_time_wait=0.01, error_cb=ignore)
    await subscribe(client, "a", sink)
    async with asyncio.timeout(10):
        for count in (1, 2):
            await client.flush()  # nothing else is on its way then
            await client.publish("a", b"")
            await arrived.wait()
            assert tasks == [None] * count
            arrived.clear()
            if count == 1:
                await server.restart(crash=True)
                while not client.is_connected or client.stats["reconnects"] < 1:
                    await asyncio.sleep(0.01)
    await client.close()
