"""Frames as they come off the socket, cut anywhere, through our parser and nats-py's."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import pytest
from nats.aio.client import Client
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from pubsubkit_nats.direct import DirectClient

HEADERS = b"NATS/1.0\r\na: b\r\n\r\n"
FRAMES = (
    b"MSG s.x 1 $JS.ACK.s.d.1 5\r\nhello\r\n",
    b"MSG s.x 1 0\r\n\r\n",
    b"MSG\ts.x  1   5\r\n\r\nMSG\r\n",
    b"MSG other 2 reply 4\r\nPING\r\n",
    b"PING\r\n",
    b"+OK\r\n",
    b"HMSG s.x 1 $JS.ACK.s.d.2 %d %d\r\n%bdata\r\n" % (len(HEADERS), len(HEADERS) + 4, HEADERS),
    b"HMSG s.x 1 %d %d\r\n%b\r\n" % (len(HEADERS), len(HEADERS), HEADERS),
    b"HMSG other 2 %d %d\r\n%bdata\r\n" % (len(HEADERS), len(HEADERS) + 4, HEADERS),
    b"PONG\r\n",
    b"-ERR 'Permissions Violation for Publish to \"1 1\"'\r\n",
    b"MSG s.x 1 r 70000\r\n%b\r\n" % (b"MSG s.x 1 0\r\n\r\n" * 4667)[:70000],
    b"MSG s.x 1 r 3\r\nend\r\n",
)


class Recorder(DirectClient):
    """Writes down what the parser makes of the bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []

    def sink(self, subject: str, reply: str, data: bytes, headers: object) -> None:
        self.seen.append((subject, reply, data, headers))

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        parsed = await self._process_headers(headers)
        self.sink(subject.decode(), reply.decode(), data, parsed)

    async def _process_ping(self) -> None:
        self.seen.append("PING")

    async def _process_pong(self) -> None:
        self.seen.append("PONG")

    async def _process_err(self, err_msg: str) -> None:
        self.seen.append(err_msg)


async def parsed(parser: Callable[[Recorder], Parser], chunks: Iterator[bytes]) -> list[object]:
    """What comes of *chunks*."""
    recorder = Recorder()
    made = parser(recorder)
    for chunk in chunks:
        await made.parse(chunk)
    assert not made.buf
    return recorder.seen


def direct(recorder: Recorder) -> Parser:
    """Our parser, with a receiver for subscription 1."""
    recorder.frames.sinks[b"1"] = recorder.sink
    return recorder.frames


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16, 61, 1000, 32768, 100_000])
async def test_our_parser_sees_what_that_of_nats_py_sees(size: int):
    """Wherever the reads are cut, the same messages and commands come in the same order."""
    stream = b"".join(FRAMES) * 2
    chunks = [stream[start:end] for start, end in pairwise([*range(0, len(stream), size), len(stream)])]
    found = await parsed(direct, iter(chunks))
    assert found == await parsed(Parser, iter(chunks))
    assert len(found) == 2 * (len(FRAMES) - 1)


async def tapped(chunks: Iterable[bytes | bytearray], turns: int) -> list[object]:
    """What comes of *chunks* off a socket with a read loop behind it, and *turns* of the event loop between them."""
    recorder, reader = Recorder(), asyncio.StreamReader()
    direct(recorder)
    recorder.frames.tap(reader)

    async def read() -> None:
        while data := await reader.read(32768):
            await recorder.frames.parse(data)

    reading = asyncio.ensure_future(read())
    for chunk in chunks:
        for _ in range(turns):
            await asyncio.sleep(0)
        reader.feed_data(chunk)
    reader.feed_eof()
    async with asyncio.timeout(5):
        await reading
    assert not recorder.frames.buf
    return recorder.seen


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [5, 16, 61, 1000, 32768, 100_000, 1_000_000])
async def test_the_socket_and_the_read_loop_keep_the_order(size: int, turns: int):
    """Wherever the reads are cut and however often the read loop runs, nothing overtakes, and nothing is lost."""
    stream = b"".join(FRAMES) * 2
    chunks = [stream[start:end] for start, end in pairwise([*range(0, len(stream), size), len(stream)])]
    assert await tapped(chunks, turns) == await parsed(Parser, iter(chunks))


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_a_frame_overtakes_no_other(turns: int):
    """Frame by frame, as they come on a connection that is nearly idle."""
    assert await tapped(FRAMES * 2, turns) == await parsed(Parser, iter(FRAMES * 2))


async def test_the_socket_may_give_what_can_change():
    """As that of Windows does; messages are bytes all the same."""
    seen = await tapped(map(bytearray, FRAMES), 5)
    assert seen == await parsed(Parser, iter(FRAMES))
    assert all(type(each[2]) is bytes for each in seen if isinstance(each, tuple))


async def test_a_message_does_not_wait_for_the_read_loop():
    """It is handed over while it comes off the socket; behind what the read loop was woken up for it waits."""
    recorder, reader = Recorder(), asyncio.StreamReader()
    direct(recorder)
    recorder.frames.tap(reader)
    reading = asyncio.ensure_future(reader.read(100))
    await asyncio.sleep(0)
    reader.feed_data(FRAMES[0][:30])
    reader.feed_data(b"")
    assert recorder.seen == []
    await reading
    await recorder.frames.parse(reading.result())
    reading = asyncio.ensure_future(reader.read(100))
    await asyncio.sleep(0)
    reader.feed_data(FRAMES[0][30:] + FRAMES[1])
    assert [data for _, _, data, _ in recorder.seen] == [b"hello", b""]
    reader.feed_data(b"PING\r\n")
    reader.feed_data(FRAMES[0])
    assert len(recorder.seen) == 2
    assert await reading == b"PING\r\n" + FRAMES[0]


@pytest.mark.parametrize("frame", [b"MSG s.x 1 r five\r\nhello\r\n", b"NONSENSE\r\n", b"HMSG s.x 1 r x 5\r\nhello\r\n"])
async def test_what_is_no_protocol_is_an_error(frame: bytes):
    """As nats-py says it."""
    for make in (direct, Parser):
        with pytest.raises(ProtocolError):
            await make(Recorder()).parse(frame)


async def test_a_new_connection_begins_anew():
    """What was left of the old connection is forgotten when nats-py resets its parser."""
    recorder = Recorder()
    parser = direct(recorder)
    await parser.parse(b"MSG s.x 1 r 5\r\nhe")
    parser.reset()
    await parser.parse(FRAMES[0])
    assert recorder.seen == [("s.x", "$JS.ACK.s.d.1", b"hello", None)]


def test_nats_py_uses_the_parser():
    """The client's parser is ours, under the name by which its read loop calls it."""
    client = DirectClient()
    assert vars(client)["_ps"] is client.frames
    assert type(vars(Client())["_ps"]) is Parser
