"""A backend around a connection that the caller owns."""

import asyncio

import nats
import pytest
from nats.aio.client import Client

from pubsubkit import ConfigurationError, ConnectionState, ConsumerOptions, PublisherOptions, Storage
from pubsubkit.hookspecs import hookimpl
from pubsubkit_nats import NatsBackend
from pubsubkit_nats.testing import NatsServer

FILE = PublisherOptions(stream_name="s", storage=Storage.FILE, retry_attempts=30, timeout=1)
DURABLE = ConsumerOptions(stream_name="s", consumer_name="d", ack_wait=1)


async def quiet(_: Exception) -> None:
    """An error callback of the caller's."""


async def test_the_caller_keeps_the_connection(server: NatsServer):
    """Publishing and consuming work over the caller's client, and closing the backend leaves it connected."""
    client = await nats.connect(server.url)
    async with NatsBackend(client) as backend, backend.publisher(FILE) as publisher:
        await publisher.publish("s.x", b"x")
        async with backend.consumer(DURABLE).subscribe() as messages:
            message = await anext(messages)
            assert await message.ack(confirm=True)
        assert backend.native is client
    assert client.is_connected
    await client.close()


async def test_it_survives_a_restart(server: NatsServer):
    """A lost connection of the caller's client is noticed without its callbacks, and the subscription goes on."""
    states: list[ConnectionState] = []

    class Watch:
        @hookimpl
        def pubsubkit_connection_changed(self, state: ConnectionState) -> None:
            states.append(state)

    client = await nats.connect(server.url, reconnect_time_wait=0.02, error_cb=quiet)
    async with NatsBackend(client, plugins=[Watch()], heartbeat=0.3) as backend, backend.publisher(FILE) as publisher:
        async with backend.consumer(DURABLE).subscribe() as messages:
            waiting = asyncio.ensure_future(anext(messages))
            await asyncio.sleep(0)
            await server.restart()
            await publisher.publish("s.x", b"after")
            async with asyncio.timeout(10):
                assert (await waiting).data == b"after"
    await client.close()
    assert states[:3] == [ConnectionState.CONNECTED, ConnectionState.DISCONNECTED, ConnectionState.CONNECTED]


async def test_an_unconnected_client_is_refused():
    """A client that was never connected is a ConfigurationError that says what to do."""
    with pytest.raises(ConfigurationError, match=r"await client\.connect"):
        await NatsBackend(Client()).open()
