"""What is refused says which subject, stream, permission or credentials it was about."""

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from operators import Operator

from pubsubkit import (
    ConfigurationError,
    ConnectionState,
    ConsumerOptions,
    InvalidArgumentError,
    PermissionDeniedError,
    PublisherOptions,
    StreamFullError,
    StreamOptions,
    connect,
    open_backend,
)
from pubsubkit.hookspecs import hookimpl
from pubsubkit_nats.denials import Denials
from pubsubkit_nats.testing import NatsServer

MEMORY = PublisherOptions(stream_name="s")
DURABLE = ConsumerOptions(stream_name="s", consumer_name="d")


def denying(*subjects: str) -> str:
    user = f"{{ user: u, password: p, permissions: {{ publish: {{ deny: {json.dumps(subjects)} }} }} }}"
    return f"authorization {{ users: [ {user} ] }}"


async def test_a_full_stream(server: NatsServer):
    """A stream that takes no more is named, and so are the subject and the limit."""
    full = StreamOptions(name="s", max_messages=1, discard="new")
    async with connect(server.url) as backend, backend.publisher(PublisherOptions(stream=full)) as publisher:
        await publisher.publish("s.x", b"1")
        with pytest.raises(StreamFullError, match=r"'s\.x': stream 's' did not store .* maximum messages exceeded"):
            await publisher.publish("s.x", b"2")


async def test_a_large_message(tmp_path: Path):
    """A message above the server's max_payload is refused before it is sent, with its subject, size and the limit."""
    async with NatsServer(tmp_path, "max_payload: 1000") as server, connect(server.url) as backend:
        async with backend.publisher(MEMORY) as publisher:
            with pytest.raises(InvalidArgumentError, match=r"'s\.x': the message has 1001 bytes .* the 1000 that"):
                await publisher.publish("s.x", bytes(1001))
            await publisher.publish("s.x", bytes(1000))


async def test_an_account_without_jetstream(tmp_path: Path):
    """Where the server has JetStream and the account has not, the error says where to turn it on."""
    accounts = "accounts { A { users: [{user: u, password: p}] }, B { jetstream: enabled } }"
    async with NatsServer(tmp_path, accounts) as server:
        with pytest.raises(ConfigurationError, match="enable it for the account"):
            await open_backend(f"nats://u:p@{server.address}")


async def test_no_permission_for_the_api(tmp_path: Path):
    """Opening without a permission of the JetStream API names it."""
    async with NatsServer(tmp_path, denying("$JS.API.>")) as server, asyncio.timeout(2):
        async with connect(f"nats://u:p@{server.address}") as backend:
            with pytest.raises(PermissionDeniedError, match=r"publish to '\$JS\.API\.STREAM\.INFO\.s'"):
                await backend.publisher(MEMORY).__aenter__()


async def test_no_permission_to_ack(tmp_path: Path):
    """Acks that the server refuses end the subscription; else each message would come again for ever."""
    async with NatsServer(tmp_path, denying("$JS.ACK.>")) as server, asyncio.timeout(2):
        async with connect(f"nats://u:p@{server.address}") as backend, backend.publisher(MEMORY) as publisher:
            await publisher.publish("s.x", b"x")
            async with backend.consumer(DURABLE).subscribe() as messages:
                await (await anext(messages)).ack()
                with pytest.raises(
                    PermissionDeniedError, match=r"'\$JS\.ACK\.s\.d\.>', so no ack of consumer s/d counts"
                ):
                    await anext(messages)


def test_a_refused_verdict_of_a_domain():
    """The stream and consumer are found behind the domain and account, too; other consumers are not concerned."""
    denials = Denials()
    subject = "$js.ack.hub.acc.s.d.1.7.1.1700000000000000000.0.rnd"
    told: list[PermissionDeniedError | None] = []
    denials.listeners.add(lambda: told.extend(denials.of_verdicts("s", name) for name in ("d", "other")))
    assert denials.note(Exception(f'nats: permissions violation for publish to "{subject}"'))
    assert isinstance(told[0], PermissionDeniedError)
    assert told[1:] == [None]


async def test_expired_credentials(tmp_path: Path, operator: Operator):
    """Credentials that have expired are refused, and the error says when they did."""
    expired = operator.credentials(exp=1_700_000_000)
    async with NatsServer(tmp_path / "nats", operator.config) as server:
        with pytest.raises(PermissionDeniedError, match=r"expired at 2023-11-14 22:13:20 UTC"):
            await open_backend(f"{server.url}?creds={expired}")
        await (await open_backend(f"{server.url}?creds={operator.credentials(exp=int(time.time()) + 600)}")).aclose()


async def test_credentials_expire_in_use(tmp_path: Path, operator: Operator):
    """When the server ends a connection whose credentials expire, who waits and who comes later learn why."""
    states: list[ConnectionState] = []

    class Watch:
        @hookimpl
        def pubsubkit_connection_changed(self, state: ConnectionState) -> None:
            states.append(state)

    async with NatsServer(tmp_path / "nats", operator.config) as server, asyncio.timeout(5):
        url = f"{server.url}?creds={operator.credentials(exp=int(time.time()) + 2)}"
        async with connect(url, plugins=[Watch()]) as backend, backend.publisher(MEMORY) as publisher:
            async with backend.consumer(DURABLE).subscribe() as messages:
                with pytest.raises(PermissionDeniedError, match="authentication expired; renew the credentials"):
                    await anext(messages)
            with pytest.raises(PermissionDeniedError, match="authentication expired; renew the credentials"):
                await publisher.publish("s.x", b"x")
            health = await backend.health()
            assert not health.connected
            assert "expired" in health.error
        assert states == [ConnectionState.CONNECTED, ConnectionState.CLOSED]


async def test_a_slow_consumer_is_not_cut_off(tmp_path: Path):
    """What is asked for in bytes stays far below what a server sends ahead before it cuts a slow client off."""
    async with NatsServer(tmp_path, "max_pending: 20MB") as server, connect(server.url) as backend:
        async with backend.publisher(MEMORY) as publisher:
            await publisher.publish_many(("s.x", b"%d" % number + bytes(900_000)) for number in range(60))
        async with backend.consumer(DURABLE).subscribe() as messages, asyncio.timeout(10):
            got = [await anext(messages)]
            time.sleep(0.5)  # noqa: ASYNC251 - the point
            while len(got) < 60:
                got.append(await anext(messages))
        assert {int(message.data.rstrip(b"\0")) for message in got} == set(range(60))
        assert {message.metadata.num_delivered for message in got} == {1}
        assert backend.native.stats["reconnects"] == 0  # type: ignore[attr-defined]


async def test_a_slow_consumer_that_is_cut_off_comes_back(tmp_path: Path):
    """When the server gives up on a client that reads nothing, it reconnects by itself and misses no message."""
    async with NatsServer(tmp_path, "write_deadline: 200ms") as server:
        async with connect(f"{server.url}?reconnect_wait=20ms") as backend:
            async with backend.publisher(MEMORY) as publisher:
                await publisher.publish_many(("s.x", b"%d" % number + bytes(900_000)) for number in range(40))
            got: set[int] = set()
            async with backend.consumer(replace(DURABLE, ack_wait=1)).subscribe() as messages, asyncio.timeout(20):
                message = await anext(messages)
                time.sleep(1)  # noqa: ASYNC251 - the point
                while True:
                    got.add(int(message.data.rstrip(b"\0")))
                    await message.ack()
                    if len(got) == 40:
                        break
                    message = await anext(messages)
            assert backend.native.stats["reconnects"] >= 1  # type: ignore[attr-defined]
    assert "Slow Consumer Detected" in (tmp_path / "server.log").read_text()
