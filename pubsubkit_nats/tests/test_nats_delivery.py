"""Leases, limits and permissions: what is particular to JetStream."""

import asyncio
from pathlib import Path

import nats
import pytest
from nats.errors import NoRespondersError

from pubsubkit import (
    ConfigurationError,
    ConflictError,
    ConsumerOptions,
    NotFoundError,
    PermissionDeniedError,
    PublisherOptions,
    Storage,
    StreamOptions,
    UnsupportedError,
    connect,
)
from pubsubkit.driver import Settlement
from pubsubkit_nats.delivery import NatsDelivery
from pubsubkit_nats.testing import NatsServer

MEMORY = PublisherOptions(stream_name="s")


async def test_waiting_in_the_buffer_does_not_time_out(server: NatsServer):
    """A slow handler gets each message once, although they wait in the buffer longer than ack_wait."""
    options = ConsumerOptions(stream_name="s", consumer_name="d", ack_wait=0.3)
    async with connect(server.url) as backend, backend.publisher(MEMORY) as publisher:
        await publisher.publish_many(("s.x", b"%d" % number) for number in range(10))
        async with backend.consumer(options).subscribe() as messages:
            seen: list[tuple[bytes, int]] = []
            async with asyncio.timeout(20):
                while len(seen) < 10:
                    message = await anext(messages)
                    await asyncio.sleep(0.1)  # the handler's work
                    await message.ack()
                    seen.append((message.data, message.metadata.num_delivered))
    assert seen == [(b"%d" % number, 1) for number in range(10)]


@pytest.mark.parametrize("waited", [0.67, 0.7])
async def test_a_handler_keeps_what_has_waited_in_the_buffer(server: NatsServer, waited: float):
    """With max_lease a message comes once, although it was handed out late in the lease that it had in the buffer."""
    options = ConsumerOptions(stream_name="s", consumer_name="d", ack_wait=1.5, max_lease=60)
    async with connect(server.url, heartbeat=0.6) as backend, backend.publisher(MEMORY) as publisher:
        async with backend.consumer(options).subscribe() as messages:
            blocked = asyncio.ensure_future(anext(messages))
            await asyncio.sleep(1.36)  # so far are the clocks by which leases are extended
            await publisher.publish_many([("s.x", b"first"), ("s.x", b"second"), ("s.x", b"canary")])
            first = await blocked
            await asyncio.sleep(waited)  # the handler's work
            await first.ack()
            second = await anext(messages)
            await asyncio.sleep(1.3)
            assert await second.ack(confirm=True)
            async with asyncio.timeout(20):
                canary = await anext(messages)
                assert canary.data == b"canary"
                await canary.nak()
                again = await anext(messages)
    assert (again.data, again.metadata.num_delivered) == (b"canary", 2)


async def test_messages_of_other_clients_and_servers_headers(server: NatsServer):
    """Messages of a plain NATS client arrive; headers that the broker reserves are not shown."""
    async with connect(server.url) as backend:
        await backend.ensure_stream(StreamOptions(name="s"))
        client = await nats.connect(server.url)
        await client.jetstream().publish("s.x", b"plain", headers={"Nats-Msg-Id": "7", "Mine": "yes"})
        await client.close()
        async with backend.consumer(ConsumerOptions(stream_name="s")).subscribe() as messages:
            message = await anext(messages)
            assert (message.data, dict(message.headers)) == (b"plain", {"Mine": "yes"})
            assert message.metadata.message_id == "7"


async def test_settings_of_operators_survive(server: NatsServer):
    """Widening a stream keeps the settings that pubsubkit has no word for."""
    client = await nats.connect(server.url)
    await client.jetstream().add_stream(name="s", subjects=["s.>"], description="by hand", allow_direct=True)
    async with connect(server.url) as backend:
        await backend.ensure_stream(StreamOptions(name="s", subjects=("t.>",)), manage="update")
    config = (await client.jetstream().stream_info("s")).config
    assert (config.description, config.allow_direct) == ("by hand", True)
    assert set(config.subjects or ()) == {"s.>", "t.>"}
    await client.close()


async def test_overlapping_streams_conflict(server: NatsServer):
    """A stream whose subjects belong to another one is a ConflictError that names it."""
    async with connect(server.url) as backend:
        await backend.ensure_stream(StreamOptions(name="one"))
        with pytest.raises(ConflictError, match=r"'two' cannot hold 'one\.x': stream 'one' holds it"):
            await backend.ensure_stream(StreamOptions(name="two", subjects=("one.x",)))
        with pytest.raises(NotFoundError):
            await backend.stream_info("two")


async def test_replicas_need_a_cluster(server: NatsServer):
    """Replicas on a single server are UnsupportedError."""
    async with connect(server.url) as backend:
        with pytest.raises(UnsupportedError, match="replicas"):
            await backend.ensure_stream(StreamOptions(name="s", replicas=3))


async def test_stream_deleted_under_a_publisher(server: NatsServer):
    """When the stream is deleted under an open publisher, publishing is NotFoundError, not a retry for ever."""
    async with connect(server.url) as backend, backend.publisher(MEMORY) as publisher:
        await publisher.publish("s.x", b"x")
        await backend.delete_stream("s")
        with pytest.raises(NotFoundError, match="no stream holds"):
            await publisher.publish("s.x", b"x")


async def test_permissions(tmp_path: Path):
    """A subject that the account may not publish to is PermissionDeniedError that names it."""
    config = """authorization { users: [
        { user: all, password: p }
        { user: some, password: p, permissions: { publish: { allow: ["$JS.>", "_INBOX.>", "s.ok"] } } }
    ] }"""
    async with NatsServer(tmp_path, config) as server:
        url = f"nats://some:p@{server.address}?request_timeout=500ms"
        options = PublisherOptions(stream_name="s", timeout=0.5)
        async with connect(url) as backend, backend.publisher(options) as publisher:
            await publisher.publish("s.ok", b"x")
            with pytest.raises(PermissionDeniedError, match=r"s\.no"):
                await publisher.publish("s.no", b"x")
            await publisher.publish("s.ok", b"x")


async def test_no_permission_for_the_api(tmp_path: Path):
    """An account that may not use the JetStream API gets PermissionDeniedError that names what it may not do."""
    config = """authorization { users: [
        { user: some, password: p, permissions: { publish: { allow: ["_INBOX.>"] } } }
    ] }"""
    async with NatsServer(tmp_path, config) as server:
        url = f"nats://some:p@{server.address}?request_timeout=300ms"
        async with connect(url) as backend:
            with pytest.raises(PermissionDeniedError, match=r"STREAM\.INFO\.s"):
                await backend.stream_info("s")


async def test_jetstream_domain(tmp_path: Path):
    """A JetStream domain is reached by ?domain=; a wrong one is a ConfigurationError."""
    async with NatsServer(tmp_path, "jetstream { domain: hub }") as server:
        async with connect(server.url, domain="hub") as backend, backend.publisher(MEMORY) as publisher:
            await publisher.publish("s.x", b"x")
            async with backend.consumer(ConsumerOptions(stream_name="s")).subscribe() as messages:
                message = await anext(messages)
                assert (message.metadata.stream, message.metadata.sequence) == ("s", 1)
                assert await message.ack(confirm=True)
        with pytest.raises(ConfigurationError, match="domain"):
            await connect(server.url, domain="elsewhere").open()


async def test_storage_of_a_stream(server: NatsServer):
    """The storage option reaches the server: memory by default, file when asked for."""
    async with connect(server.url) as backend:
        for name, storage in (("m", Storage.MEMORY), ("f", Storage.FILE)):
            async with backend.publisher(PublisherOptions(stream_name=name, storage=storage)):
                assert (await backend.stream_info(name)).options.storage is storage
        async with backend.consumer(ConsumerOptions(stream_name="c", storage=Storage.FILE)):
            assert (await backend.stream_info("c")).options.storage is Storage.FILE


async def test_large_backlog_stays_on_the_server(server: NatsServer):
    """Of a backlog of large messages a member fetches no more than its buffer."""
    async with connect(server.url) as backend, backend.publisher(MEMORY) as publisher:
        await publisher.publish_many(("s.x", b"x" * 500_000) for _ in range(60))
        options = ConsumerOptions(stream_name="s", consumer_name="d", channel_buf_size=4)
        async with backend.consumer(options).subscribe() as messages:
            await anext(messages)
            info = await backend.consumer_info("s", "d")
            assert info.num_ack_pending <= 4
            assert info.num_pending >= 56


@pytest.mark.parametrize("how", ["aclose", "drain"])
async def test_a_stop_ends_behind_the_last_verdict(server: NatsServer, monkeypatch: pytest.MonkeyPatch, how: str):
    """What the server has been asked last is whether it has dealt with every verdict."""
    seen: list[str] = []
    wait, settle = NatsDelivery.wait_for_verdicts, NatsDelivery._frame

    async def waiting(self: NatsDelivery) -> None:
        await wait(self)
        seen.append("dealt with")

    def settling(self: NatsDelivery, settlement: Settlement) -> bytes:
        seen.append(settlement.verdict)
        return settle(self, settlement)

    monkeypatch.setattr(NatsDelivery, "wait_for_verdicts", waiting)
    monkeypatch.setattr(NatsDelivery, "_frame", settling)
    async with asyncio.timeout(10), connect(server.url) as backend, backend.publisher(MEMORY) as publisher:
        await publisher.publish("s.x", b"")
        subscription = backend.consumer(ConsumerOptions(stream_name="s", consumer_name="d")).subscribe()
        message = await anext(subscription)
        if how == "drain":
            stopping = asyncio.ensure_future(subscription.drain())
            while "dealt with" not in seen:
                await asyncio.sleep(0.01)
            await message.ack()
            await stopping
        else:
            await message.ack()
            await subscription.aclose()
        assert seen[-2:] == ["ack", "dealt with"]
        assert (await backend.consumer_info("s", "d")).num_ack_pending == 0


@pytest.mark.parametrize("gone", [True, False], ids=["deleted", "without a leader"])
async def test_a_stop_where_nobody_takes_verdicts(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, gone: bool
):
    """A consumer that was deleted has nothing to record; one without a leader may have lost some: a warning."""

    async def nobody(_: NatsDelivery) -> None:
        raise NoRespondersError

    async with asyncio.timeout(10), connect(server.url) as backend, backend.publisher(MEMORY) as publisher:
        await publisher.publish("s.x", b"")
        subscription = backend.consumer(ConsumerOptions(stream_name="s", consumer_name="d")).subscribe()
        message = await anext(subscription)
        stopping = asyncio.ensure_future(subscription.drain())
        while subscription.consuming:
            await asyncio.sleep(0.01)
        await asyncio.wait([subscription._stopping])  # type: ignore[list-item]
        if gone:
            await backend.delete_consumer("s", "d")
        else:
            monkeypatch.setattr(NatsDelivery, "wait_for_verdicts", nobody)
        await message.ack()
        await stopping
    assert ("has no leader" in caplog.text) is not gone
    assert ("without the broker" in caplog.text) is not gone
