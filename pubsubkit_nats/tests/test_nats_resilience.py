"""What nats-py by itself does not survive, or does not let go of."""

import asyncio
import fcntl
import os
import signal
from pathlib import Path

import nats
import pytest

from pubsubkit import (
    ConsumerOptions,
    PermissionDeniedError,
    Publisher,
    PublisherOptions,
    PubSubError,
    Storage,
    StreamOptions,
    connect,
)
from pubsubkit.driver import OutgoingMessage
from pubsubkit_nats import NatsBackend
from pubsubkit_nats.credentials import BadCredentialsError, Credentials
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
            while True:  # a process is not frozen at once
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


async def test_a_lifted_denial_is_forgotten(tmp_path: Path):
    """What the operator has allowed meanwhile is no reason to fail, when something else is refused later."""
    users = 'users: [ { user: a, password: b, permissions: { publish: { deny: ["s.x", "forbidden"] } } } ]'
    async with NatsServer(tmp_path, f"authorization {{ {users} }}") as server:
        url = server.url.replace("//", "//a:b@")
        async with asyncio.timeout(DEADLINE), connect(url) as backend:
            async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
                with pytest.raises(PermissionDeniedError):
                    await publisher.publish("s.x", b"refused")
                config = tmp_path / "server.conf"
                config.write_text(config.read_text().replace('"s.x", ', ""))
                server._signal(signal.SIGHUP)
                while not await stored(publisher):
                    await asyncio.sleep(0.02)
                server.pause()
                publishing = asyncio.ensure_future(publisher.publish("s.x", b"under way"))
                while not backend._driver._pipe._waiting:
                    await asyncio.sleep(0)
                backend._driver._link.denials.note(Exception('permissions violation for publish to "forbidden"'))
                server.resume()
                await publishing


async def stored(publisher: Publisher) -> bool:
    """Whether a publish is allowed by now."""
    try:
        await publisher.publish("s.x", b"allowed")
    except PermissionDeniedError:
        return False
    return True


async def test_pings_of_a_lost_connection_leave_no_tasks(server: NatsServer):
    """nats-py forgets them when it reconnects."""
    async with asyncio.timeout(DEADLINE), connect(f"{server.url}?reconnect_wait=10ms") as backend:
        before = len(asyncio.all_tasks())
        server.pause()
        asking = [asyncio.ensure_future(backend.health()) for _ in range(10)]
        await asyncio.sleep(0)
        while len(asyncio.all_tasks()) < before + 2 * len(asking):
            await asyncio.sleep(0.005)
        await server.stop(crash=True)
        await server.start()
        await asyncio.gather(*asking)
        while not (await backend.health()).connected:
            await asyncio.sleep(0.01)
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0.01)


async def test_peers_of_a_websocket_server_are_websocket_servers():
    """nats-py would try them by plain TCP, and from then on the first one, too."""
    client = DirectClient()
    client.options["dont_randomize"] = True
    client._setup_server_pool("ws://127.0.0.1:80")
    client._current_server = client._server_pool[0]
    await client._process_info({"connect_urls": ["127.0.0.2:80", "127.0.0.3:80"]}, initial_connection=True)
    assert [each.uri.scheme for each in client._server_pool] == ["ws"] * 3


def test_credentials_behind_a_closed_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder that may not be entered is an error of ours, which names the file."""

    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(BadCredentialsError, match="cannot be read: Permission denied"):
        Credentials(tmp_path / "me.creds").check()


async def test_a_server_that_does_not_start_is_gone(tmp_path: Path):
    """Entering that fails, or is cancelled, leaves no process."""
    server = NatsServer(tmp_path)
    entering = asyncio.ensure_future(server.__aenter__())
    while not server.running:
        await asyncio.sleep(0)
    process = server._process
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert process is not None
    assert process.returncode is not None


async def test_a_frozen_server_can_be_stopped(tmp_path: Path):
    """It is woken to end."""
    server = NatsServer(tmp_path)
    async with asyncio.timeout(DEADLINE):
        async with server:
            server.pause()
        assert not server.running


async def test_an_answer_that_makes_no_sense_is_an_error_and_no_silence(server: NatsServer, monkeypatch):
    """When asking anew fails in a way that nobody expected, the iteration raises; it does not wait for ever."""

    def senseless(*_: object) -> None:
        raise ValueError("no such answer")

    async with asyncio.timeout(DEADLINE), connect(server.url) as backend:
        async with backend.publisher(PublisherOptions(stream_name="s")):
            pass
        async with backend.consumer(READER).subscribe() as messages:
            waiting = asyncio.ensure_future(anext(messages))
            while not messages._inner._asked:  # it has begun to ask
                await asyncio.sleep(0)
            monkeypatch.setattr("pubsubkit_nats.codec.consumer_info", senseless)
            messages._inner._write_off()
            with pytest.raises(PubSubError, match="no such answer"):
                await waiting
