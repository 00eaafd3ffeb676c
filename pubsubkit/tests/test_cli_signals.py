"""How the command line ends before its work does: signals, a reader that went away, and what a terminal sees."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from commands import DEADLINE, running

from pubsubkit import ConsumerOptions, NotFoundError, connect
from pubsubkit_nats.testing import NatsServer

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals, pipes and terminals")

PIPE = asyncio.subprocess.PIPE
BOTH = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as running:
        yield running


async def publish(url: str, count: int) -> None:
    async with running(url, "pub", "--jsonl", "-") as process:
        await process.communicate(line() * count)
        assert process.returncode == 0


def line() -> bytes:
    return b'{"subject": "a.b", "data": 1}\n'


async def stored(url: str, at_least: int = 0) -> int:
    """Return how many messages the stream has, once it has enough."""
    async with asyncio.timeout(DEADLINE), connect(url) as backend:
        while True:
            with suppress(NotFoundError):
                found = (await backend.stream_info("a")).messages
                if found >= at_least:
                    return found
            await asyncio.sleep(0.01)


async def read_row(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    row: dict[str, Any] = json.loads(await process.stdout.readline())
    return row


@BOTH
async def test_pub_stops_at_a_signal(server: NatsServer, number: signal.Signals, code: int) -> None:
    """A signal ends an endless publish: it takes no more lines, and counts exactly what is stored."""
    async with running(server.url, "pub", "--jsonl", "-") as process:
        assert process.stdin is not None
        feeding = asyncio.create_task(feed(process.stdin))
        await stored(server.url, 1000)
        process.send_signal(number)
        err = await process.stderr.read()  # type: ignore[union-attr]
        assert await process.wait() == code
        await feeding
    text = err.decode().partition("\n")[2]
    assert text.startswith(f"published {await stored(server.url)} messages to stream a in ")
    assert text.endswith(f"; stopped by {number.name}\n")
    assert text.count("\n") == 1


async def feed(stdin: asyncio.StreamWriter) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):
        while True:
            stdin.write(line() * 100)
            await stdin.drain()


@BOTH
@pytest.mark.parametrize("arguments", [["--jsonl", "-"], ["a.b"]])
async def test_pub_stops_while_it_waits_for_input(
    server: NatsServer, number: signal.Signals, code: int, arguments: list[str]
) -> None:
    """A signal ends a publish that waits for a silent pipe, at once."""
    async with running(server.url, "--verbose", "pub", *arguments) as process:
        assert process.stdin is not None
        if "--jsonl" in arguments:
            process.stdin.write(line())
            await stored(server.url, 1)
        else:
            await connected(process)
        process.send_signal(number)
        err = await process.stderr.read()  # type: ignore[union-attr]
        assert await process.wait() == code
    summary = err.decode().splitlines()[-1]
    assert summary.startswith("published 1 message " if "--jsonl" in arguments else "published 0 messages; ")
    assert summary.endswith(f"; stopped by {number.name}")


async def connected(process: Process) -> None:
    """Wait until a command that was started with --verbose has connected."""
    assert process.stderr is not None
    while b"is connected" not in await process.stderr.readline():
        pass


@BOTH
async def test_sub_stops_at_a_signal(server: NatsServer, number: signal.Signals, code: int) -> None:
    """A signal ends sub with success and a summary; what it had not printed is there for the next run."""
    await publish(server.url, 3)
    async with running(server.url, "sub", "a.>", "--durable", "d") as process:
        assert [(await read_row(process))["sequence"] for _ in range(3)] == [1, 2, 3]
        process.send_signal(number)
        out, err = await process.communicate()
        assert (process.returncode, out) == (0, b"")
    assert err.decode().startswith("acknowledged 3 messages from stream a, consumer d in ")
    assert err.decode().endswith(f"; stopped by {number.name}\n")
    assert await left_over(server.url) == 0


async def left_over(url: str) -> int:
    async with connect(url) as backend:
        info = await backend.consumer_info("a", "d")
    return info.num_pending + info.num_ack_pending


async def test_sub_stops_while_its_reader_is_stuck(server: NatsServer) -> None:
    """A signal ends sub also when nobody empties the pipe it writes to; nothing of that is lost."""
    await publish(server.url, 5000)
    async with running(server.url, "sub", "a.>", "--durable", "d") as process:
        first = await read_row(process)
        assert first["sequence"] == 1
        await settled(server.url)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        err = (await process.stderr.read()).decode()
        assert process.stdout is not None
        rest = await process.stdout.read()
        assert await process.wait() == 0
    acknowledged = int(err.split()[1])
    whole = rest.count(b"\n") + 1
    assert acknowledged <= whole <= acknowledged + 1
    assert await left_over(server.url) == 5000 - acknowledged


async def settled(url: str) -> None:
    """Wait until the consumer's position has not moved for a while."""
    async with connect(url) as backend:
        before, same = -1, 0
        while same < 10:
            info = await backend.consumer_info("a", "d")
            now = info.num_pending
            same = same + 1 if now == before else 0
            before = now
            await asyncio.sleep(0.03)


async def test_sub_stops_on_a_broken_pipe(server: NatsServer) -> None:
    """When the reader goes away, sub ends quietly; the message that could not be printed stays unacknowledged."""
    await publish(server.url, 1)
    reading, writing = os.pipe()
    async with running(server.url, "sub", "a.>", "--durable", "d", stdout=writing) as process:
        os.close(writing)
        assert (await asyncio.to_thread(os.read, reading, 65536)).count(b"\n") == 1
        os.close(reading)
        await publish(server.url, 1)
        _, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
    async with running(server.url, "sub", "a.>", "--durable", "d", "--count", "1") as process:
        row = await read_row(process)
    assert (row["sequence"], row["num_delivered"]) == (2, 2)


async def test_sub_fails_when_its_consumer_is_deleted(server: NatsServer) -> None:
    """A consumer that is deleted under sub is an error in one line, not a quiet end."""
    await publish(server.url, 1)
    async with running(server.url, "sub", "a.>", "--durable", "d") as process:
        await read_row(process)
        async with connect(server.url) as backend:
            await backend.delete_consumer("a", "d")
        _, err = await process.communicate()
    assert process.returncode == 1
    assert err.decode().startswith("pubsubkit: ")
    assert err.count(b"\n") == 1


async def test_sub_waits_out_a_restart(server: NatsServer) -> None:
    """A broker that restarts does not end sub: it goes on with what is published afterwards."""
    async with connect(server.url) as backend:
        options = ConsumerOptions(stream_name="a", consumer_name="d", filter_subject="a.>", storage="file")  # type: ignore[arg-type]
        async with backend.consumer(options):
            pass
    await publish(server.url, 1)
    async with running(server.url, "sub", "a.>", "--durable", "d") as process:
        assert (await read_row(process))["sequence"] == 1
        await server.restart()
        await publish(server.url, 1)
        assert (await read_row(process))["sequence"] == 2
        process.send_signal(signal.SIGINT)
        await process.communicate()
        assert process.returncode == 0


@pytest.mark.parametrize("command", [["sub", "a.>"], ["pub", "a.b", "1"], ["demo"]])
async def test_stops_while_connecting(command: list[str]) -> None:
    """A signal ends a command that waits for a server which accepts the connection and says nothing."""
    accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    silent = await asyncio.start_server(lambda _reader, writer: accepted.set_result(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with running(f"nats://127.0.0.1:{port}?connect_timeout=60s", *command) as process:
        writer = await accepted
        process.send_signal(signal.SIGTERM)
        _, err = await process.communicate()
    writer.close()
    silent.close()
    assert process.returncode == (0 if command[0] == "sub" else 143)
    assert b"stopped by SIGTERM\n" in err
    assert err.count(b"\n") == 1


async def test_progress_on_a_terminal(server: NatsServer) -> None:
    """A long publish shows its count and rate when stderr is a terminal, and the summary at the end."""
    import pty

    ours, theirs = pty.openpty()
    try:
        async with running(server.url, "pub", "--jsonl", "-", stderr=theirs) as process:
            os.close(theirs)
            assert process.stdin is not None
            process.stdin.write(line() * 7)
            seen = b""
            while b"7 published, " not in seen:
                seen += await asyncio.to_thread(os.read, ours, 4096)
            process.stdin.close()
            while b"published 7 messages to stream a in " not in seen:
                seen += await asyncio.to_thread(os.read, ours, 4096)
            assert await process.wait() == 0
    finally:
        os.close(ours)
    assert b"/s, " in seen
    assert b"\r\x1b[K" in seen
