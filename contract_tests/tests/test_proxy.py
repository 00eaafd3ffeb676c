"""The proxy between a client and a broker, in front of a real echo server."""

import asyncio
import gc
import socket
import struct
import time
import warnings

import pytest

from pubsubkit_contract.proxy import Proxy
from pubsubkit_contract.relay import Relay

DEADLINE = 10


class Echo:
    """A server that sends back what it gets, and counts it; ``heard`` is set by every chunk."""

    def __init__(self):
        self.received = bytearray()
        self.heard = asyncio.Event()
        self.changed = asyncio.Event()
        self.open = 0
        self.accepted = 0
        self.writers = set()
        self.reading = asyncio.Event()
        self.reading.set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await self.down_to(0)

    async def serve(self, reader, writer):
        self.open += 1
        self.accepted += 1
        self.writers.add(writer)
        self.changed.set()
        try:
            await self.reading.wait()
            while chunk := await reader.read(65536):
                self.received += chunk
                self.heard.set()
                writer.write(chunk)
                await writer.drain()
            writer.write(b"bye")
        except OSError:
            pass
        finally:
            self.open -= 1
            self.changed.set()
            writer.close()

    def abort(self):
        """Reset every connection."""
        for writer in self.writers:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def down_to(self, count: int):
        """Wait until *count* connections are open."""
        async with asyncio.timeout(DEADLINE):
            while self.open != count:
                self.changed.clear()
                await self.changed.wait()

    async def until(self, data: bytes):
        """Wait until all of *data* has been received."""
        async with asyncio.timeout(DEADLINE):
            while data not in self.received:
                self.heard.clear()
                await self.heard.wait()


@pytest.fixture
async def echo():
    async with Echo() as server:
        yield server


@pytest.fixture
async def proxy(echo):
    async with asyncio.timeout(30), Proxy("127.0.0.1", echo.port) as made:
        yield made


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, data: bytes):
        self.writer.write(data)

    async def read(self, count: int) -> bytes:
        async with asyncio.timeout(DEADLINE):
            return await self.reader.readexactly(count)

    async def ask(self, data: bytes) -> bytes:
        self.send(data)
        return await self.read(len(data))

    async def hears_a_reset(self):
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(DEADLINE):
                await self.reader.read()


@pytest.fixture
async def connect(proxy):
    clients = []

    async def make() -> Client:
        client = Client(*await asyncio.open_connection(proxy.host, proxy.port))
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.writer.transport.abort()


async def silence(client: Client):
    """Nothing arrives in a short while."""
    pending = asyncio.create_task(client.reader.read(1))
    done, _ = await asyncio.wait([pending], timeout=0.05)
    pending.cancel()
    await asyncio.wait([pending])
    assert not done, pending


async def drained(proxy: Proxy):
    """Wait until no connection is open through the proxy."""
    async with asyncio.timeout(DEADLINE):
        while proxy.connections:
            await asyncio.sleep(0)


async def test_bytes_pass_both_ways(connect, proxy):
    """Without a knob turned the proxy is not there."""
    first, second = await connect(), await connect()
    assert await first.ask(b"one") == b"one"
    assert await second.ask(bytes(range(256)) * 4096) == bytes(range(256)) * 4096
    assert proxy.connections == 2


async def test_half_close(connect, proxy):
    """The end of what a client sends reaches the broker, whose answer still reaches the client."""
    client = await connect()
    client.send(b"last")
    client.writer.write_eof()
    async with asyncio.timeout(DEADLINE):
        assert await client.reader.read() == b"lastbye"
    await drained(proxy)


async def test_cut(connect, proxy, echo):
    """cut() resets what is open; a new connection works."""
    clients = [await connect() for _ in range(3)]
    for client in clients:
        await client.ask(b"x")
    await proxy.cut()
    assert proxy.connections == 0
    for client in clients:
        await client.hears_a_reset()
    assert await (await connect()).ask(b"again") == b"again"


async def test_cut_reaches_the_broker(connect, proxy, echo):
    """Both ends of a connection that is cut are closed."""
    await (await connect()).ask(b"x")
    await proxy.cut()
    await echo.down_to(0)


async def test_cut_in_a_flood(connect, proxy, echo):
    """A connection with full buffers can be cut."""
    client = await connect()
    echo.reading.clear()
    client.send(b"x" * 40_000_000)
    await proxy.cut()
    await client.hears_a_reset()
    echo.reading.set()


async def test_refuse_and_accept(connect, proxy):
    """While the proxy refuses there is no listener; afterwards the port is the same."""
    port, client = proxy.port, await connect()
    await client.ask(b"x")
    for _ in range(3):
        await proxy.refuse()
        for _ in range(20):
            with pytest.raises(ConnectionRefusedError):
                await connect()
        await proxy.accept()
        await proxy.accept()
        assert await (await connect()).ask(b"back") == b"back"
    await client.hears_a_reset()
    assert proxy.port == port


@pytest.mark.parametrize("turns", range(6))
async def test_refuse_while_connecting(proxy, turns):
    """A connection that is being accepted when the proxy begins to refuse is closed, however far it got."""
    with socket.create_connection((proxy.host, proxy.port), timeout=DEADLINE) as client:
        for _ in range(turns):
            await asyncio.sleep(0)
        await proxy.refuse()
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(client.recv, 1)
    assert proxy.connections == 0


async def test_cut_when_a_connection_fails(connect, proxy, monkeypatch):
    """A connection that fails just when it is cut ends like any other, muted or not."""
    write = Relay._write

    async def fail(*arguments, **options):
        try:
            await write(*arguments, **options)
        except asyncio.CancelledError:
            raise ConnectionResetError from None

    monkeypatch.setattr(Relay, "_write", fail)
    client = await connect()
    await client.ask(b"x")
    proxy.mute()
    await asyncio.wait_for(proxy.cut(), DEADLINE)
    await client.hears_a_reset()


async def test_port_is_reserved_while_refusing(proxy):
    """Nobody else gets the port while it is refused."""
    await proxy.refuse()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((proxy.host, proxy.port))


async def test_blackhole_holds_and_delivers(connect, proxy, echo):
    """In a blackhole nothing passes either way; when it ends, everything does, once and in order."""
    client = await connect()
    await client.ask(b"before")
    proxy.blackhole()
    client.send(b"during")
    await silence(client)
    assert bytes(echo.received) == b"before"
    client.send(b" and more")
    proxy.flow()
    assert await client.read(15) == b"during and more"
    assert await client.ask(b"after") == b"after"
    assert bytes(echo.received) == b"beforeduring and moreafter"


async def test_blackhole_accepts_and_is_silent(connect, proxy, echo):
    """A new connection in a blackhole is open but hears nothing until it ends."""
    proxy.blackhole()
    client = await connect()
    client.send(b"hello")
    await silence(client)
    assert echo.accepted == 0
    proxy.flow()
    assert await client.read(5) == b"hello"


async def test_blackhole_hides_the_death_of_the_broker(connect, proxy, echo):
    """What happens behind a partition is not seen before it ends."""
    client = await connect()
    await client.ask(b"x")
    proxy.blackhole()
    client.send(b"y")
    echo.server.close()
    stranger = await connect()
    await silence(client)
    await silence(stranger)
    proxy.flow()
    await stranger.hears_a_reset()


async def test_blackhole_hides_a_failed_write(connect, proxy, echo):
    """A write to the broker that fails behind a partition is not seen before it ends."""
    client = await connect()
    echo.reading.clear()
    client.send(bytes(48 << 20))
    await echo.down_to(1)
    await silence(client)
    proxy.blackhole()
    echo.abort()
    echo.reading.set()
    await silence(client)
    proxy.flow()
    await client.hears_a_reset()


async def test_blackhole_can_be_cut(connect, proxy):
    """cut() works on silent connections too."""
    client = await connect()
    await client.ask(b"x")
    proxy.blackhole()
    stranger = await connect()
    client.send(b"lost")
    stranger.send(b"lost")
    async with asyncio.timeout(DEADLINE):
        while proxy.connections < 2:
            await asyncio.sleep(0)
    await proxy.cut()
    await client.hears_a_reset()
    await stranger.hears_a_reset()


async def test_mute(connect, proxy, echo):
    """A muted client still reaches the broker; what the broker says is lost, and flow() resets the connection."""
    client, idle = await connect(), await connect()
    await client.ask(b"before")
    await idle.ask(b"idle")
    proxy.mute()
    client.send(b"during")
    await echo.until(b"during")
    await silence(client)
    proxy.flow()
    await client.hears_a_reset()
    assert await idle.ask(b"not lossy") == b"not lossy"
    assert await (await connect()).ask(b"again") == b"again"


async def test_mute_hides_the_end(connect, proxy, echo):
    """The end of what the broker says is swallowed too."""
    client = await connect()
    await client.ask(b"x")
    proxy.mute()
    client.send(b"last")
    client.writer.write_eof()
    await echo.down_to(0)
    await silence(client)
    proxy.flow()
    await client.hears_a_reset()


async def test_mute_hides_the_death_of_the_broker(connect, proxy, echo):
    """Nor does a muted client hear that the broker is gone, when it says something."""
    client = await connect()
    await client.ask(b"x")
    proxy.mute()
    echo.abort()
    await echo.down_to(0)
    for _ in range(3):
        client.send(b"anyone?")
        await silence(client)
    proxy.flow()
    await client.hears_a_reset()


async def test_never_a_byte_behind_a_hole(connect, proxy, echo):
    """A client that lost bytes gets none of those that followed, whenever the knob is turned back."""
    client, got = await connect(), bytearray()
    await client.ask(b"before")

    async def listen():
        with pytest.raises(ConnectionResetError):
            while chunk := await client.reader.read(1024):
                got.extend(chunk)

    listening = asyncio.create_task(listen())
    for number in range(200):
        client.send(b"%d," % number)
        if number == 50:
            proxy.mute()
            await echo.until(b"50,")
        if number == 100:
            proxy.blackhole()
        if number == 150:
            proxy.flow()
        await asyncio.sleep(0)
    await asyncio.wait_for(listening, DEADLINE)
    assert bytes(echo.received[len(b"before") :]).startswith(got)
    assert b"50," not in got


async def test_reset_of_the_broker(connect, proxy, echo):
    """A connection that the broker resets is reset."""
    client = await connect()
    await client.ask(b"x")
    echo.abort()
    await client.hears_a_reset()
    await drained(proxy)


async def test_reset_of_a_client(connect, proxy, echo):
    """A client that goes is gone for the broker too, behind a blackhole not before it ends."""
    first, second = await connect(), await connect()
    await first.ask(b"x")
    await second.ask(b"x")
    first.writer.transport.abort()
    await echo.down_to(1)
    proxy.blackhole()
    second.writer.transport.abort()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await echo.down_to(0)
    proxy.flow()
    await echo.down_to(0)
    await drained(proxy)


async def test_delay(connect, proxy, monkeypatch):
    """Each direction takes at least the delay; order is kept when the delay shrinks."""
    client, put, held = await connect(), asyncio.Queue.put, asyncio.Event()
    await client.ask(b"x")

    async def spy(queue, item):
        await put(queue, item)
        held.set()

    monkeypatch.setattr(asyncio.Queue, "put", spy)
    proxy.delay(0.05)
    start = time.monotonic()
    client.send(b"first ")
    await asyncio.wait_for(held.wait(), DEADLINE)
    proxy.delay(0)
    assert await client.ask(b"second") == b"first "
    assert await client.read(6) == b"second"
    assert time.monotonic() - start >= 0.049


async def test_delay_both_ways(connect, proxy):
    """A round trip takes twice the delay."""
    client = await connect()
    await client.ask(b"x")
    proxy.delay(0.03)
    start = time.monotonic()
    assert await client.ask(b"there and back") == b"there and back"
    assert time.monotonic() - start >= 0.059


async def test_delay_is_pipelined(connect, proxy):
    """Chunks travel at the same time: two MiB take one delay, not one for each chunk."""
    client, data = await connect(), bytes(range(256)) * 8192
    await client.ask(b"x")
    proxy.delay(0.2)
    assert await client.ask(data) == data


@pytest.mark.parametrize("late", [False, True])
async def test_back_pressure(connect, proxy, echo, late):
    """A sender whose bytes are held has to wait: the proxy holds a bounded number of them."""
    client, size = await connect(), 48 << 20
    if not late:
        await client.ask(b"x")
    proxy.blackhole()
    client.send(bytes(size))
    await silence(client)
    assert client.writer.transport.get_write_buffer_size() > size // 2
    proxy.flow()
    assert await client.read(size) == bytes(size)


async def test_back_pressure_of_a_slow_broker(connect, proxy, echo):
    """A sender waits for a broker that does not read."""
    client, size = await connect(), 48 << 20
    echo.reading.clear()
    client.send(bytes(size))
    await echo.down_to(1)
    await silence(client)
    assert client.writer.transport.get_write_buffer_size() > size // 2
    echo.reading.set()
    assert await client.read(size) == bytes(size)


async def test_broker_is_down(connect, proxy, echo):
    """A broker that refuses shows as a reset."""
    echo.server.close()
    await (await connect()).hears_a_reset()
    await drained(proxy)


@pytest.mark.parametrize("knob", ["flow", "blackhole", "mute", "delay", "refuse", "cut", "flood"])
def test_nothing_is_left(knob):
    """After the block no task, socket or warning is left, whatever was going on."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asyncio.run(left_over(knob), debug=True) == set()
        gc.collect()


async def left_over(knob: str) -> set:
    async with Echo() as echo:
        before = asyncio.all_tasks()
        writers = []
        async with Proxy("127.0.0.1", echo.port) as proxy:
            for _ in range(5):
                reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
                writers.append(writer)
                writer.write(b"x")
                await reader.read(1)
            await turn(knob, proxy, writers)
        for writer in writers:
            writer.transport.abort()
        await echo.down_to(0)
        assert proxy.connections == 0
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(proxy.host, proxy.port)
        return asyncio.all_tasks() - before


async def turn(knob: str, proxy: Proxy, writers: list):
    if knob == "flood":
        proxy.blackhole()
        writers[0].write(bytes(20_000_000))
    elif knob == "delay":
        proxy.delay(60)
    elif (turned := getattr(proxy, knob)()) is not None:
        await turned
    for writer in writers:
        writer.write(b"more")
    _, late = await asyncio.open_connection(proxy.host, proxy.port) if knob != "refuse" else (None, writers[0])
    writers.append(late)
