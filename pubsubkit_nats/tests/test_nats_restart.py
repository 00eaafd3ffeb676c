"""Restarts, crashes and outages of the broker."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path

import pytest

from pubsubkit import (
    Backend,
    Backoff,
    ConnectionState,
    ConsumerOptions,
    PublisherOptions,
    Storage,
    Subscription,
    TransientError,
    connect,
)
from pubsubkit.hookspecs import hookimpl
from pubsubkit_nats.testing import NatsServer

QUICK = "?reconnect_wait=20ms&heartbeat=300ms"
FILE = PublisherOptions(stream_name="s", storage=Storage.FILE, retry_attempts=40, timeout=1)
DURABLE = ConsumerOptions(stream_name="s", consumer_name="d", ack_wait=1, storage=Storage.FILE)


async def take(subscription: Subscription, count: int) -> list[bytes]:
    """The data of the next *count* messages, acked and confirmed."""
    got: list[bytes] = []
    async with asyncio.timeout(20):
        while len(got) < count:
            message = await anext(subscription)
            got.append(message.data)
            await message.ack(confirm=True)
    return got


async def go_down(server: NatsServer, backend: Backend) -> None:
    """Stop the broker, which notes what it has delivered, and wait until *backend* has noticed."""
    await server.stop()
    async with asyncio.timeout(10):
        while (await backend.health()).connected:
            await asyncio.sleep(0.01)


async def while_away(closing: Coroutine[None, None, None], server: NatsServer | None) -> None:
    """Close without the broker; start *server*, if it is given, when that has had the time to end without it."""
    task = asyncio.ensure_future(closing)
    if server is not None:
        await asyncio.wait([task], timeout=0.2)
        await server.start()
    await task


@pytest.mark.parametrize("crash", [False, True], ids=["graceful", "kill -9"])
async def test_file_storage_survives(server: NatsServer, crash: bool):
    """Messages and the durable position in file storage outlive a restart and a crash of the broker."""
    wanted = [b"%d" % number for number in range(100)]
    async with connect(server.url + QUICK) as backend:
        async with backend.publisher(FILE) as publisher:
            await publisher.publish_many(("s.x", data) for data in wanted)
        async with backend.consumer(DURABLE).subscribe() as messages:
            first = await take(messages, 50)
    await asyncio.sleep(0.15)  # acks younger than this may come back after a crash (docs/explanation)
    await server.restart(crash=crash)
    async with connect(server.url + QUICK) as backend, backend.consumer(DURABLE).subscribe() as messages:
        assert first + await take(messages, 50) == wanted


async def test_memory_storage_does_not_survive(server: NatsServer):
    """A stream in memory storage is gone after a restart, and a new one can be made."""
    options = PublisherOptions(stream_name="s")
    async with connect(server.url + QUICK) as backend, backend.publisher(options) as publisher:
        await publisher.publish("s.x", b"x")
    await server.restart()
    async with connect(server.url + QUICK) as backend, backend.publisher(options) as publisher:
        assert (await publisher.publish("s.x", b"y")).sequence == 1


@pytest.mark.parametrize("crash", [False, True], ids=["graceful", "kill -9"])
async def test_open_publisher_and_subscription_live_through_a_restart(server: NatsServer, crash: bool):
    """A publisher that retries and an open subscription go on by themselves; every confirmed message arrives."""
    states: list[ConnectionState] = []

    class Watch:
        @hookimpl
        def pubsubkit_connection_changed(self, state: ConnectionState) -> None:
            states.append(state)

    confirmed: set[bytes] = set()
    got: set[bytes] = set()

    async with connect(server.url + QUICK, plugins=[Watch()]) as backend:
        publisher = backend.publisher(FILE)
        subscription = backend.consumer(DURABLE).subscribe()

        async def publish() -> None:
            for number in range(300):
                await publisher.publish("s.x", b"%d" % number)
                confirmed.add(b"%d" % number)
                if number == 150:
                    halfway.set()

        async def consume() -> None:
            async for message in subscription:
                got.add(message.data)
                await message.ack()
                if len(got) == 300:
                    return

        halfway = asyncio.Event()
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(publish())
            group.create_task(consume())
            await halfway.wait()
            await server.restart(crash=crash)
        info = await backend.stream_info("s")
    assert got == confirmed == {b"%d" % number for number in range(300)}
    assert info.messages == 300, "a retry stored a message twice"
    connected, lost, closed = ConnectionState.CONNECTED, ConnectionState.DISCONNECTED, ConnectionState.CLOSED
    assert states == [connected, lost, connected, closed]


async def test_publish_while_down(server: NatsServer):
    """While the broker is down a publish raises TransientError in time and health says so; then both recover."""
    options = PublisherOptions(stream_name="s", storage=Storage.FILE, timeout=0.3)
    async with connect(server.url + QUICK) as backend, backend.publisher(options) as publisher:
        await server.stop(crash=True)
        with pytest.raises(TransientError):
            await publisher.publish("s.x", b"x")
        health = await backend.health()
        assert not health.connected
        assert health.error
        await server.start()
        async with asyncio.timeout(10):
            while not (await backend.health()).connected:
                await asyncio.sleep(0.02)
        # 2 when the failed publish was stored after all: its outcome was unknown.
        assert (await publisher.publish("s.x", b"y")).sequence in (1, 2)


async def test_frozen_broker(server: NatsServer):
    """A broker that stops answering is a TransientError in time; the retry with the same id stores the message once."""
    tries: list[int] = []

    class Watch:
        @hookimpl
        def pubsubkit_retrying(self, attempt: int) -> None:
            tries.append(attempt)
            if attempt == 2:
                server.resume()

    options = PublisherOptions(
        stream_name="s", timeout=0.2, retry_attempts=20, retry_backoff=Backoff(initial=0.01, maximum=0.05)
    )
    async with connect(server.url, plugins=[Watch()]) as backend, backend.publisher(options) as publisher:
        server.pause()
        with pytest.raises(TimeoutError):
            while True:
                async with asyncio.timeout(0.1):
                    await backend.health()
        receipt = await publisher.publish("s.x", b"x")
        assert (receipt.sequence, tries[:2]) == (1, [1, 2])
        assert (await backend.stream_info("s")).messages == 1


async def test_waiting_subscription_is_served_after_an_outage(server: NatsServer):
    """A receive that blocks through an outage gets the next message; consuming tells the truth meanwhile."""
    async with connect(server.url + QUICK) as backend, backend.publisher(FILE) as publisher:
        async with backend.consumer(DURABLE).subscribe() as messages:
            waiting = asyncio.ensure_future(take(messages, 1))
            assert (await backend.health()).consuming is True
            await server.stop()
            async with asyncio.timeout(10):
                while (await backend.health()).consuming:
                    await asyncio.sleep(0.01)
            await server.start()
            await publisher.publish("s.x", b"after")
            assert await waiting == [b"after"]


async def test_close_while_down(server: NatsServer, caplog: pytest.LogCaptureFixture):
    """Closing with unsettled messages while the broker is down is quick and raises nothing."""
    async with connect(server.url + QUICK) as backend, backend.publisher(FILE) as publisher:
        await publisher.publish_many(("s.x", b"%d" % number) for number in range(10))
        subscription = backend.consumer(DURABLE).subscribe()
        await anext(subscription)
        await server.stop(crash=True)
        async with asyncio.timeout(5):
            await subscription.aclose()


@pytest.mark.parametrize("back", [True, False], ids=["back soon", "away"])
async def test_drain_while_down(
    server: NatsServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, back: bool
):
    """Verdicts that were given while the broker was down count when it comes back soon; else a drain says why not."""
    monkeypatch.setattr("pubsubkit_nats.pull._BACK_SECONDS", 4 if back else 0.1)
    async with connect(server.url + QUICK) as backend, backend.publisher(FILE) as publisher:
        await publisher.publish("s.x", b"1")
        subscription = backend.consumer(DURABLE).subscribe()
        message = await anext(subscription)
        await go_down(server, backend)
        async with asyncio.timeout(10):
            await message.ack()
            await while_away(subscription.drain(), server if back else None)
            if back:
                info = await backend.consumer_info("s", "d")
                assert (info.num_pending, info.num_ack_pending) == (0, 0)
    assert ("not connected" in caplog.text) is not back


@pytest.mark.parametrize("drain", [False, True], ids=["close", "drain"])
async def test_given_back_after_an_outage(
    server: NatsServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, drain: bool
):
    """What had no verdict at a close in an outage goes back, in order, to a broker that comes back soon."""
    monkeypatch.setattr("pubsubkit_nats.pull._BACK_SECONDS", 4)
    slow = replace(DURABLE, ack_wait=60)
    async with connect(server.url + QUICK) as backend, backend.publisher(FILE) as publisher:
        await publisher.publish_many(("s.x", b"%d" % number) for number in range(5))
        subscription = backend.consumer(slow).subscribe()
        held = await anext(subscription)
        async with asyncio.timeout(10):
            while len(subscription._inner._buffer) < 4:  # type: ignore[union-attr]
                await asyncio.sleep(0.005)
            await go_down(server, backend)
            await while_away(subscription.drain(release=[held]) if drain else subscription.aclose(), server)
            async with backend.consumer(slow).subscribe() as messages:
                assert await take(messages, 5) == [b"%d" % number for number in range(5)]
    assert "without the broker" not in caplog.text


async def test_consumer_lost_with_its_stream(server: NatsServer):
    """When the broker comes back without the stream the iteration raises, it never waits for ever."""
    async with connect(server.url + QUICK) as backend:
        async with backend.publisher(PublisherOptions(stream_name="s")):
            pass
        subscription = backend.consumer(DURABLE).subscribe()
        waiting = asyncio.ensure_future(take(subscription, 1))
        await asyncio.sleep(0.05)
        await server.restart()
        with pytest.raises(Exception, match="deleted"):
            await waiting


async def test_directory_of_a_server_is_its_store(tmp_path: Path):
    """Two servers one after the other on one directory share the store."""
    async with NatsServer(tmp_path) as one, connect(one.url) as backend, backend.publisher(FILE) as publisher:
        await publisher.publish("s.x", b"x")
    async with NatsServer(tmp_path) as two, connect(two.url) as backend:
        assert (await backend.stream_info("s")).messages == 1


async def test_given_back_just_before_a_restart(server: NatsServer):
    """What a close gave back is known to the server when it returns: a restart right then delays no message."""
    async with connect(server.url) as backend, backend.publisher(FILE) as publisher:
        await publisher.publish_many(("s.x", b"%d" % number) for number in range(900))
    many = replace(DURABLE, ack_wait=60, channel_buf_size=900)
    for _ in range(8):
        async with connect(server.url) as backend, backend.consumer(many).subscribe() as messages:
            async with asyncio.timeout(5):
                await anext(messages)
                while len(messages._inner._buffer) < 899:  # type: ignore[union-attr]
                    await asyncio.sleep(0.005)
        await server.restart()
