"""Outages that leave something behind: requests, inboxes, callers who wait."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from operators import Operator

from pubsubkit import (
    Backend,
    ConnectionState,
    ConsumerOptions,
    NotFoundError,
    PublisherOptions,
    Subscription,
    TransientError,
    connect,
)
from pubsubkit.driver import OutgoingMessage
from pubsubkit.hookspecs import hookimpl
from pubsubkit_contract import proxy as network
from pubsubkit_nats import NatsBackend
from pubsubkit_nats.testing import NatsServer

QUICK = "?reconnect_wait=20ms&heartbeat=200ms"
MEMORY = PublisherOptions(stream_name="s")
TEN = ConsumerOptions(stream_name="s", consumer_name="d", channel_buf_size=10, max_deliver=1)


class Proxy:
    """A TCP proxy whose connections can be cut."""

    def __init__(self, server: NatsServer) -> None:
        host, _, port = server.address.rpartition(":")
        self.target = host, int(port)
        self.writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection(*self.target)
        self.writers |= {writer, away}
        await asyncio.gather(self.pump(reader, away), self.pump(there, writer))

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()


@pytest.fixture
async def proxy(server: NatsServer) -> AsyncIterator[Proxy]:
    proxy = Proxy(server)
    async with await proxy.start():
        yield proxy
        proxy.cut()


async def until(condition, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def inner(subscription: Subscription):
    return subscription._inner


def native(backend: Backend) -> Client:
    client = backend.native
    assert isinstance(client, Client)
    return client


async def settled(backend: Backend) -> int:
    """The messages that the server has given to the consumer, once that number stays the same."""
    last, same = -1, 0
    while same < 5:
        now = (await backend.consumer_info("s", "d")).num_ack_pending
        same, last = (same + 1 if now == last else 0), now
        await asyncio.sleep(0.02)
    return last


async def waiting_member(backend: Backend) -> tuple[Subscription, asyncio.Future]:
    subscription = backend.consumer(TEN).subscribe()
    receiving = asyncio.ensure_future(anext(subscription))
    await until(lambda: inner(subscription) is not None and inner(subscription)._asked)
    return subscription, receiving


async def test_a_lost_connection_does_not_double_what_was_asked_for(server: NatsServer, proxy: Proxy):
    """After reconnects the server still gives a member no more than its buffer holds."""
    async with (
        connect(server.url) as admin,
        admin.publisher(MEMORY) as publisher,
        connect(proxy.url + QUICK) as backend,
    ):
        subscription, receiving = await waiting_member(backend)
        for count in range(1, 4):
            proxy.cut()
            await until(lambda count=count: native(backend).stats["reconnects"] == count)
        await until(lambda: subscription.consuming)
        await publisher.publish_many(("s.x", b"%d" % number) for number in range(50))
        await receiving
        assert await settled(admin) <= 10


async def test_a_blocked_event_loop_is_not_silence(server: NatsServer, caplog: pytest.LogCaptureFixture):
    """A handler that blocks the loop for longer than two heartbeats does not make the member ask twice."""
    async with connect(server.url + QUICK) as backend, backend.publisher(MEMORY) as publisher:
        _, receiving = await waiting_member(backend)
        for _ in range(2):
            time.sleep(0.5)  # noqa: ASYNC251 - the point
            await asyncio.sleep(0.1)
        await publisher.publish_many(("s.x", b"%d" % number) for number in range(50))
        await receiving
        assert await settled(backend) <= 10
    assert "no sign of life" not in caplog.text


async def test_a_silent_server_does_not_double_what_was_asked_for(server: NatsServer, caplog):
    """When a frozen server goes on, it serves what was asked for last, and only that."""
    async with connect(server.url + QUICK) as backend, backend.publisher(MEMORY) as publisher:
        subscription, receiving = await waiting_member(backend)
        server.pause()
        await until(lambda: "no sign of life" in caplog.text)
        server.resume()
        await until(lambda: subscription.consuming and inner(subscription)._asked)
        await publisher.publish_many(("s.x", b"%d" % number) for number in range(50))
        await receiving
        assert await settled(backend) <= 10


async def test_closed_while_down_is_closed(server: NatsServer, proxy: Proxy):
    """A subscription that was closed during an outage takes no message after it, and leaves no inbox behind."""
    async with (
        connect(server.url) as admin,
        admin.publisher(MEMORY) as publisher,
        connect(proxy.url + QUICK) as backend,
    ):
        before = len(native(backend)._subs)
        subscription, receiving = await waiting_member(backend)
        proxy.cut()
        await until(lambda: not inner(subscription)._link.up)
        await subscription.aclose()
        with pytest.raises(StopAsyncIteration):
            await receiving
        await until(lambda: native(backend).stats["reconnects"] == 1 and native(backend).is_connected)
        assert len(native(backend)._subs) <= before + 1  # nats-py's own for answers
        await publisher.publish("s.x", b"x")
        async with admin.consumer(TEN).subscribe() as other, asyncio.timeout(2):
            assert (await anext(other)).metadata.num_delivered == 1


async def test_close_that_times_out_is_closed(server: NatsServer, monkeypatch: pytest.MonkeyPatch):
    """When the server does not answer, the inbox is given up all the same."""
    monkeypatch.setattr("pubsubkit_nats.pull._STOP_SECONDS", 0.2)
    async with connect(server.url) as backend, backend.publisher(MEMORY):
        subscription, receiving = await waiting_member(backend)
        before = len(native(backend)._subs)
        server.pause()
        await subscription.aclose()
        with pytest.raises(StopAsyncIteration):
            await receiving
        assert len(native(backend)._subs) == before - 1
        server.resume()


async def test_lost_for_good(server: NatsServer):
    """When nats-py gives up, who waits gets the reason at once, and so does who comes later."""
    states: list[ConnectionState] = []

    class Watch:
        @hookimpl
        def pubsubkit_connection_changed(self, state: ConnectionState) -> None:
            states.append(state)

    async with connect(server.url, plugins=[Watch()]) as backend, backend.publisher(MEMORY) as publisher:
        await publisher.publish("s.x", b"x")
        subscription, receiving = await waiting_member(backend)
        await receiving
        receiving = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        await native(backend)._process_err("'maximum subscriptions exceeded'")
        async with asyncio.timeout(1):
            with pytest.raises(TransientError, match="maximum subscriptions"):
                await receiving
            with pytest.raises(TransientError, match="maximum subscriptions"):
                await publisher.publish("s.x", b"x")
            with pytest.raises(TransientError, match="maximum subscriptions"):
                await anext(subscription)
        assert states == [ConnectionState.CONNECTED, ConnectionState.CLOSED]


async def test_given_client_closed_by_the_caller(server: NatsServer):
    """When the caller closes the client under the backend, who waits gets an error soon."""
    client = await nats.connect(server.url)
    async with NatsBackend(client) as backend, backend.publisher(MEMORY) as publisher:
        _, receiving = await waiting_member(backend)
        await client.close()
        async with asyncio.timeout(2):
            with pytest.raises(TransientError, match="closed for good"):
                await publisher.publish("s.x", b"x")
            with pytest.raises(TransientError, match="closed for good"):
                await receiving


async def test_a_ping_in_flight_is_left_alone(server: NatsServer, proxy: Proxy):
    """Pings at the time of a loss end with an error, and the caller's connection goes on reading."""
    client = await nats.connect(proxy.url, reconnect_time_wait=0.01, error_cb=quiet)
    async with NatsBackend(client) as backend:
        link = backend._driver._link
        for count in range(1, 4):
            proxy.cut()
            await until(lambda count=count: client.stats["reconnects"] == count and client.is_connected)
            pings = [asyncio.ensure_future(link.ping()) for _ in range(3)]
            while len(client._pongs) < 3:
                await asyncio.sleep(0)
            link._lost()  # noticed only now, with the pings on the new connection
            results = await asyncio.gather(*pings, return_exceptions=True)
            assert all(isinstance(result, TransientError) for result in results)
            link._back()
            await client.flush(2)
            assert not client._reading_task.done()
    await client.close()


async def quiet(_: Exception) -> None:
    """An error callback of the caller's."""


async def test_a_verdict_does_not_wait_for_ever(server: NatsServer):
    """With a full buffer and no server a verdict fails within the request timeout."""
    async with (
        connect(server.url + QUICK + "&request_timeout=200ms") as backend,
        backend.publisher(MEMORY) as publisher,
    ):
        await publisher.publish("s.x", b"x")
        subscription = backend.consumer(TEN).subscribe()
        message = await anext(subscription)
        await server.stop(crash=True)
        await until(lambda: not native(backend).is_connected)
        for _ in range(2):
            await native(backend).publish("other", bytes(600_000))
        async with asyncio.timeout(2):
            with pytest.raises(TransientError, match=r"0\.2 s"):
                await message.ack()


async def test_large_messages_keep_to_the_timeout(tmp_path: Path):
    """Larger than nats-py's buffer, and the server frozen: each publish ends in its time."""
    async with NatsServer(tmp_path, "max_payload: 8MB") as server:
        client = await nats.connect(server.url)
        async with NatsBackend(client) as backend, backend.publisher(MEMORY) as publisher:
            await publisher.publish("s.x", b"x")
            server.pause()
            large = [OutgoingMessage("s.x", bytes(6_000_000))] * 3
            async with asyncio.timeout(3):
                outcomes = await asyncio.gather(*(backend._driver.send(batch, 0.3) for batch in (large[:1], large)))
            server.resume()
            assert all(isinstance(outcome, TransientError) for batch in outcomes for outcome in batch)
        await client.close()


async def test_an_outage_is_logged_once(server: NatsServer, caplog: pytest.LogCaptureFixture):
    """The attempts to reconnect are a debugging matter after the first warning."""
    async with connect(server.url + QUICK) as backend:
        await server.stop()
        await until(lambda: native(backend).last_error is not None and not native(backend).is_connected)
        await asyncio.sleep(0.3)
    assert len([record for record in caplog.records if record.name == "pubsubkit.nats"]) <= 2


async def test_closing_a_client_that_never_connected():
    """A backend whose connect failed before anything was set up closes quietly."""
    backend = connect("nats://h")
    await backend._driver.aclose()


async def test_jetstream_away_for_a_moment_is_transient(server: NatsServer):
    """Only when opening is "no JetStream" a matter of configuration; later it is one of waiting."""
    async with connect(server.url) as backend:
        backend._driver._link.options.__dict__["domain"] = "elsewhere"
        with pytest.raises(TransientError, match="at the moment"):
            await backend.stream_info("s")


async def test_a_ping_into_a_connection_that_is_just_being_lost_is_no_sign_of_life(proxy: Proxy):
    """nats-py's flush returns at once, as if the server had answered, when its read loop has just ended."""
    async with connect(proxy.url + QUICK) as backend:
        for turns in range(20):
            proxy.cut()
            for _ in range(turns):
                await asyncio.sleep(0)
            assert not (await backend.health()).connected
            await until(lambda turns=turns: native(backend).stats["reconnects"] == turns + 1)


async def test_attempts_that_get_no_answer_leave_nothing_open(server: NatsServer):
    """While a server accepts connections and says nothing, the attempts to reconnect do not pile up."""
    seen: list[asyncio.StreamWriter] = []
    gone = 0

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal gone
        seen.append(writer)
        await reader.read()
        gone += 1
        writer.close()

    async with connect(server.url + QUICK + "&connect_timeout=50ms") as backend:
        await server.stop()
        host, _, port = server.address.rpartition(":")
        async with await asyncio.start_server(silence, host, int(port)):
            await until(lambda: len(seen) > 10)
            assert gone >= len(seen) - 2
            for writer in seen:
                writer.close()
        await server.start()
        await until(lambda: native(backend).is_connected)


async def test_a_consumer_deleted_as_a_pull_arrives(server: NatsServer):
    """The server says nothing to some pulls that come into a deletion; then the missing heartbeats tell."""
    async with connect(server.url + QUICK) as backend, backend.publisher(MEMORY), AsyncExitStack() as stack:

        async def lose(name: str) -> None:
            options = ConsumerOptions(stream_name="s", consumer_name=name)
            member = await stack.enter_async_context(backend.consumer(options).subscribe())
            await native(backend).publish(f"$JS.API.CONSUMER.DELETE.s.{name}", b"", "nobody")
            with pytest.raises(NotFoundError, match=f"s/{name} was deleted"):
                await anext(member)

        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            for number in range(200):
                group.create_task(lose(f"d{number}"))
        assert not (await backend.health()).consuming


async def test_a_fifth_of_a_second_each_way(server: NatsServer):
    """With the default settings latency costs time, but no connection, no second delivery, no round trip a message."""
    host, _, port = server.address.rpartition(":")
    options = ConsumerOptions(stream_name="s", consumer_name="d", ack_wait=1)
    async with network.Proxy(host, int(port)) as line, connect(f"nats://{line.host}:{line.port}") as backend:
        async with backend.publisher(MEMORY) as publisher, backend.consumer(options).subscribe() as messages:
            line.delay(0.2)
            async with asyncio.timeout(10):
                receipts = await publisher.publish_many(("s.x", b"%d" % number) for number in range(200))
                got = [await anext(messages) for _ in receipts]
                for message in got[:-1]:
                    await message.ack()
                assert await got[-1].ack(confirm=True)
            assert (await backend.health()).consuming
            line.delay(0)
        info = await backend.consumer_info("s", "d")
        assert [int(message.data) for message in got] == list(range(200))
        assert {message.metadata.num_delivered for message in got} == {1}
        assert (info.num_pending, info.num_ack_pending, len(receipts)) == (0, 0, 200)
        assert native(backend).stats["reconnects"] == 0


@pytest.mark.parametrize("share", [0, 0.1, 0.9])
async def test_credentials_that_are_being_written(tmp_path: Path, operator: Operator, share: float):
    """A reconnect that finds half of a credentials file tries again, and then takes the renewed one."""
    file = operator.credentials()
    renewed = operator.credentials().read_text()
    async with NatsServer(tmp_path / "nats", operator.config) as server:
        async with connect(f"{server.url}{QUICK}&creds={file}") as backend:
            await server.stop()
            file.write_text(renewed[: int(len(renewed) * share)])
            await server.start()
            await until(lambda: "it has no user" in str(native(backend).last_error))
            assert "it has no user" in (await backend.health()).error
            file.write_text(renewed)
            async with asyncio.timeout(5):
                while not (await backend.health()).connected:
                    await asyncio.sleep(0.005)
