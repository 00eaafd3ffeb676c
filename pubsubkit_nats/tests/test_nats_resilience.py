"""What nats-py by itself does not survive, or does not let go of."""

import asyncio
import fcntl
import os
from pathlib import Path

import nats
import pytest

from pubsubkit import ConsumerOptions, PermissionDeniedError, PublisherOptions, Storage, StreamOptions, connect
from pubsubkit.driver import OutgoingMessage
from pubsubkit_nats import NatsBackend
from pubsubkit_nats.direct import DirectClient
from pubsubkit_nats.embedded.store import _is_free
from pubsubkit_nats.testing import NatsServer

DEADLINE = 15
READER = ConsumerOptions(stream_name="s", consumer_name="d")
POISON = {
    "subject": b"PUB s.\xff\xfe 2\r\nhi\r\n",
    "no headers": b"HPUB s.x 4 6\r\nabcdhi\r\n",
    "half a header": b"HPUB s.x 8 10\r\nNATS/1.0hi\r\n",
    "large": b"HPUB s.x 8 100010\r\nNATS/1.0hi" + b"x" * 100_000 + b"\r\n",
}


async def publish_raw(server: NatsServer, command: bytes) -> None:
    """Publish as a client that sends what it likes."""
    reader, writer = await asyncio.open_connection(*server.address.split(":"))
    await reader.readline()
    writer.write(b'CONNECT {"headers":true,"verbose":false}\r\n' + command + b"PING\r\n")
    assert await reader.readline() == b"PONG\r\n"
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("kind", POISON)
async def test_a_message_that_is_no_text_does_no_harm(server: NatsServer, kind: str):
    """Any client may store it; it is delivered as far as it can be read, and the next ones are."""
    async with asyncio.timeout(DEADLINE), connect(server.url) as backend:
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publish_raw(server, POISON[kind])
            await publisher.publish("s.x", b"good")
        async with backend.consumer(READER).subscribe() as messages:
            assert (await anext(messages)).data[:2] == b"hi"
            assert (await anext(messages)).data == b"good"
        assert backend.native.stats["reconnects"] == 0


async def test_a_frozen_server_with_a_full_socket_is_left_for_another(tmp_path: Path):
    """Nobody waits until it has taken what was written."""
    async with NatsServer(tmp_path / "a") as one, NatsServer(tmp_path / "b") as two:
        url = f"nats://{one.address},{two.address}?ping_interval=200ms&reconnect_wait=50ms"
        async with asyncio.timeout(DEADLINE), connect(url) as backend:
            client = backend.native
            frozen, other = (one, two) if client.connected_url.netloc == one.address else (two, one)
            frozen.pause()
            try:
                while not client._transport._io_writer.transport.get_write_buffer_size():
                    await backend._driver.send([OutgoingMessage("x", bytes(900_000))], 0.02)
                while not (client.is_connected and client.connected_url.netloc == other.address):
                    await asyncio.sleep(0.01)
                await backend.ensure_stream(StreamOptions(name="s"))
            finally:
                frozen.resume()


async def test_a_read_loop_that_ended_is_noticed(server: NatsServer):
    """nats-py ends it at a PONG that comes late, and takes itself for connected."""
    async with asyncio.timeout(DEADLINE), connect(f"{server.url}?reconnect_wait=10ms") as backend:
        client = backend.native
        server.pause()
        with pytest.raises(nats.errors.FlushTimeoutError):
            await client.flush(0.1)
        server.resume()
        while not client.stats["reconnects"]:
            await asyncio.sleep(0.01)
        await backend.ensure_stream(StreamOptions(name="s"))


async def test_nothing_is_left_when_the_server_is_gone(server: NatsServer):
    """Closing with an ack that could not be sent leaves no task, no subscription and no socket."""
    before = asyncio.all_tasks()
    async with asyncio.timeout(DEADLINE), connect(server.url) as backend:
        async with backend.publisher(PublisherOptions(stream_name="s", storage=Storage.FILE)) as publisher:
            await publisher.publish("s.x", b"1")
        async with backend.consumer(READER).subscribe() as messages:
            message = await anext(messages)
            client = backend.native
            await server.stop(crash=True)
            while client.is_connected:
                await asyncio.sleep(0.01)
            await client.publish(message.delivery._reply, b"+ACK")
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert not client._subs


async def test_a_cancelled_publish_on_the_callers_client_ends_at_once(tmp_path: Path):
    """nats-py swallows the cancellation while it waits for room in its buffer."""

    async def quiet(_: Exception) -> None:
        """Say nothing."""

    async with NatsServer(tmp_path, "max_payload: 8MB") as server:
        client = await nats.connect(server.url, error_cb=quiet)
        async with NatsBackend(client) as backend, backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish("s.x", b"first")
            server.pause()
            try:
                started = asyncio.get_running_loop().time()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await publisher.publish("s.x", bytes(6_000_000))
                assert asyncio.get_running_loop().time() - started < 3
            finally:
                server.resume()
        await client.close()


async def test_what_was_read_of_the_old_connection_is_forgotten(server: NatsServer):
    """Half a message that is still there when the next connection begins would be taken for its beginning."""
    client = DirectClient()
    client.frames.buf += b"MSG a 1 5\r\nhe"
    await client.connect(server.url)
    try:
        assert not client.frames.buf
        await client.flush()
    finally:
        await client.close()


async def test_refused_acks_hold_up_no_close(tmp_path: Path):
    """A confirmed ack fails, and closing ends, when the server refuses, and not when their time is over."""
    rules = 'authorization { users: [ { user: a, password: b, permissions: { publish: { deny: "$JS.ACK.>" } } } ] }'
    async with NatsServer(tmp_path, rules) as server:
        async with asyncio.timeout(DEADLINE), connect(server.url.replace("//", "//a:b@")) as backend:
            async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
                await publisher.publish_many(("s.x", b"%d" % number) for number in range(10))
            started = asyncio.get_running_loop().time()
            async with backend.consumer(READER).subscribe() as messages:
                message = await anext(messages)
                with pytest.raises(PermissionDeniedError):
                    await message.ack(confirm=True)
            assert asyncio.get_running_loop().time() - started < 4


def test_looking_at_a_lock_leaves_none(tmp_path: Path):
    """Also where a child, forked at that moment, keeps the file open."""
    with (tmp_path / "lock").open("w") as lock, (tmp_path / "lock").open("w") as other:
        assert _is_free(lock)
        forked = os.dup(lock.fileno())
        try:
            lock.close()
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(forked)
