"""The command line as processes of their own around a real nats-server: what one run stores, another one reads."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from pubsubkit import StreamOptions, connect
from pubsubkit_nats.testing import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DEADLINE = 40.0


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as running:
        yield running


async def run(url: str, *arguments: str, stdin: bytes = b"") -> Done:
    """Run the command to its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pubsubkit.cli", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PUBSUBKIT_URL": url},
    )
    try:
        async with asyncio.timeout(DEADLINE):
            out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Done(process.returncode, out, err.decode())


def lines(*subjects: str) -> bytes:
    return b"".join(
        json.dumps({"subject": subject, "data": {"n": n}}).encode() + b"\n" for n, subject in enumerate(subjects)
    )


async def test_what_is_published_is_printed(server: NatsServer) -> None:
    """A message published by one process is printed by another with subject, headers, time and payload."""
    before = datetime.now(UTC)
    stored = await run(
        server.url, "pub", "orders.created", '{"id": 1}', "-H", "By: me", "-H", "Über: x", "--retry", "2"
    )
    assert stored.code == 2  # a header's name is ASCII
    stored = await run(server.url, "pub", "orders.created", '{"id": 1}', "-H", "By: mé", "--retry", "2")
    assert (stored.code, stored.out) == (0, b"")
    assert "\npublished 1 message to stream orders in " in stored.err
    read = await run(server.url, "sub", "orders.>", "--count", "1")
    assert read.code == 0
    assert read.err.startswith("acknowledged 1 message from stream orders in ")
    assert read.err.count("\n") == 1
    (row,) = read.rows
    assert list(row) == ["subject", "sequence", "num_delivered", "timestamp", "headers", "data"]
    assert before <= datetime.fromisoformat(row.pop("timestamp")) <= datetime.now(UTC)
    assert row == {
        "subject": "orders.created",
        "sequence": 1,
        "num_delivered": 1,
        "headers": {"By": "mé"},
        "data": {"id": 1},
    }


@pytest.mark.parametrize(
    ("payload", "member", "shown"),
    [
        (b'{"a":[1,null,"\xc3\xa9"]}', "data", {"a": [1, None, "é"]}),
        (b"7", "data", 7),
        (b"", "text", ""),
        (b"hello\nworld", "text", "hello\nworld"),
        (b"NaN", "text", "NaN"),
        (b"1e999", "text", "1e999"),
        (b'"\\ud800"', "text", '"\\ud800"'),
        (b"[" * 100_000, "text", "[" * 100_000),
        (bytes(range(256)) * 100, "base64", base64.b64encode(bytes(range(256)) * 100).decode()),
    ],
)
async def test_payload_from_stdin(server: NatsServer, payload: bytes, member: str, shown: object) -> None:
    """All of stdin is the payload, byte for byte; it is printed as data, text or base64, whatever fits."""
    assert (await run(server.url, "pub", "files.a", "-", stdin=payload)).code == 0
    (row,) = (await run(server.url, "sub", "files.a", "--count", "1")).rows
    assert row[member] == shown
    assert {"data", "text", "base64"} & set(row) == {member}
    async with connect(server.url) as backend:
        assert (await backend.stream_info("files")).messages == 1


async def test_lines_from_a_file_and_back(server: NatsServer, tmp_path: Path) -> None:
    """What sub prints can be published again: subjects, payloads and headers are the same."""
    source = tmp_path / "events.jsonl"
    source.write_bytes(
        b'{"subject": "github.push", "data": {"a": "\xc3\xa9"}, "headers": {"A": "1"}, "message_id": "m1"}\n'
        b'{"subject": "github.issues.opened", "text": "as it is"}\n'
        b'{"subject": "github.star", "base64": "/w==", "message_id": "m1"}\n'
    )
    stored = await run(server.url, "pub", "--jsonl", str(source), "--storage", "file", "-H", "A: 0", "-H", "B: 2")
    assert stored.err.endswith(", 1 of them stored before under the same id\n")
    async with connect(server.url) as backend:
        info = await backend.stream_info("github")
        assert (info.options.storage, info.messages) == ("file", 2)
    first = await run(server.url, "sub", "github.>", "--idle", "300ms")
    assert [row["headers"] for row in first.rows] == [{"A": "1", "B": "2"}, {"A": "0", "B": "2"}]
    async with connect(server.url) as backend:
        await backend.delete_stream("github")
    assert (await run(server.url, "pub", "--jsonl", "-", stdin=first.out)).code == 0
    second = await run(server.url, "sub", "github.>", "--count", "2")
    kept = ("subject", "data", "text", "headers")
    assert [[row.get(name) for name in kept] for row in first.rows] == [
        [row.get(name) for name in kept] for row in second.rows
    ]


async def test_wrong_line_stops_there(server: NatsServer) -> None:
    """Lines before a wrong one are stored, lines after it are not."""
    done = await run(server.url, "pub", "--jsonl", "-", stdin=lines("a.1", "a.2") + b"oops\n" + lines("a.3"))
    _, summary, error = done.err.splitlines()
    assert done.code == 2
    assert summary.startswith("published 2 messages to stream a in ")
    assert error == "pubsubkit: stdin:3: not JSON: Expecting value at column 1"
    assert [row["subject"] for row in (await run(server.url, "sub", "a.>", "--idle", "300ms")).rows] == ["a.1", "a.2"]


async def test_full_stream(server: NatsServer, tmp_path: Path) -> None:
    """When the broker refuses messages, the error says how many are stored, failed and left, and names the line."""
    async with connect(server.url) as backend:
        await backend.ensure_stream(StreamOptions(name="small", max_messages=3, discard="new"))
    source = tmp_path / "events.jsonl"
    source.write_bytes(lines(*["small.x"] * 2000))
    done = await run(server.url, "pub", "--jsonl", str(source))
    summary, error = done.err.splitlines()
    assert done.code == 1
    assert summary.startswith("published 3 messages to stream small in ")
    counts = error.removeprefix("pubsubkit: 3 stored, ").partition(";")[0].split()
    assert [counts[1], counts[3:]] == ["failed,", ["not", "attempted"]]
    assert 3 + int(counts[0]) + int(counts[2]) == 2000
    assert f"; the first failure is {source}:4: " in error


async def test_subject_outside_the_stream(server: NatsServer) -> None:
    """A line whose subject the stream does not hold fails with its place; the stream is left as it is."""
    done = await run(server.url, "pub", "--jsonl", "-", stdin=lines("a.1", "b.2"))
    assert done.code == 1
    assert "1 stored, 1 failed, the rest not attempted; the first failure is stdin:2: stream 'a'" in done.err


async def test_stream_of_another_name(server: NatsServer) -> None:
    """--stream uses an existing stream with the subjects it has, or makes one for the subject's first token."""
    async with connect(server.url) as backend:
        await backend.ensure_stream(StreamOptions(name="ORDERS", subjects=("orders.eu.>",)))
    assert (await run(server.url, "pub", "orders.eu.x", "1", "--stream", "ORDERS")).code == 0
    assert (await run(server.url, "pub", "bills.x", "2", "--stream", "BILLS")).code == 0
    assert [
        row["data"] for row in (await run(server.url, "sub", "bills.*", "--stream", "BILLS", "--count", "1")).rows
    ] == [2]
    assert [row["data"] for row in (await run(server.url, "sub", ">", "--stream", "ORDERS", "--count", "1")).rows] == [
        1
    ]
    clash = await run(server.url, "pub", "orders.eu.x", "1", "--stream", "ORDERS", "--storage", "file")
    assert clash.code == 1
    assert "storage: memory -> file" in clash.err


async def test_durable_goes_on_over_runs(server: NatsServer) -> None:
    """Runs with one --durable name share a position: each message is printed once, in order."""
    await run(server.url, "pub", "--jsonl", "-", stdin=lines(*[f"a.{n}" for n in range(10)]))
    found: list[int] = []
    for count in (1, 4):
        done = await run(server.url, "sub", "a.>", "--durable", "d", "--count", str(count))
        assert done.err.startswith(f"acknowledged {count} message")
        assert "from stream a, consumer d in " in done.err
        found += [row["sequence"] for row in done.rows]
    rest = await run(server.url, "sub", "a.>", "--durable", "d", "--idle", "500ms")
    assert found + sorted(row["sequence"] for row in rest.rows) == list(range(1, 11))
    assert (await run(server.url, "sub", "a.>", "--durable", "d", "--idle", "300ms")).rows == []


async def test_durable_made_by_an_application(server: NatsServer) -> None:
    """A durable consumer with settings of its own can be joined without repeating them; another filter is refused."""
    from pubsubkit import ConsumerOptions

    await run(server.url, "pub", "a.b", "1")
    options = ConsumerOptions(stream_name="a", consumer_name="app", filter_subject="a.>", ack_wait=7, max_deliver=3)
    async with connect(server.url) as backend, backend.consumer(options):
        pass
    assert len((await run(server.url, "sub", "a.>", "--durable", "app", "--count", "1")).rows) == 1
    clash = await run(server.url, "sub", "a.c", "--durable", "app")
    assert (clash.code, clash.err.count("\n")) == (1, 1)
    assert "exists with another configuration" in clash.err


async def test_nak_brings_a_message_back(server: NatsServer) -> None:
    """A message that was given back comes again, with its deliveries counted; an acknowledged one does not."""
    await run(server.url, "pub", "a.b", "1")
    given_back = await run(server.url, "sub", "a.>", "--durable", "d", "--nak", "--count", "2")
    assert [row["num_delivered"] for row in given_back.rows] == [1, 2]
    assert given_back.err.startswith("given back 2 messages ")
    kept = await run(server.url, "sub", "a.>", "--durable", "d", "--count", "1")
    assert [row["num_delivered"] for row in kept.rows] == [3]
    assert (await run(server.url, "sub", "a.>", "--durable", "d", "--idle", "300ms")).rows == []


async def test_term_is_final(server: NatsServer) -> None:
    """A terminated message never comes again."""
    await run(server.url, "pub", "a.b", "1")
    ended = await run(server.url, "sub", "a.>", "--durable", "d", "--term", "--count", "1")
    assert ended.err.startswith("terminated 1 message ")
    assert (await run(server.url, "sub", "a.>", "--durable", "d", "--idle", "300ms")).rows == []


@pytest.mark.parametrize(("start", "expected"), [("all", [1, 2, 3]), ("2", [2, 3]), ("last", [3]), ("new", [])])
async def test_start(server: NatsServer, start: str, expected: list[int]) -> None:
    """--from says where a new consumer starts."""
    await run(server.url, "pub", "--jsonl", "-", stdin=lines("a.1", "a.2", "a.3"))
    done = await run(server.url, "sub", "a.>", "--from", start, "--idle", "300ms")
    assert [row["sequence"] for row in done.rows] == expected


async def test_start_at_a_time(server: NatsServer) -> None:
    """--from takes a time with a zone: what was stored at it or later comes."""
    await run(server.url, "pub", "a.1", "1")
    moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    await run(server.url, "pub", "a.2", "2")
    done = await run(server.url, "sub", "a.>", "--from", moment, "--idle", "300ms")
    assert [row["sequence"] for row in done.rows] == [2]


async def test_ephemeral_runs_leave_nothing_behind(server: NatsServer) -> None:
    """Without --durable every run sees everything, and no consumer stays on the broker."""
    await run(server.url, "pub", "a.b", "1")
    for _ in range(2):
        assert len((await run(server.url, "sub", "a.>", "--count", "1")).rows) == 1
    async with connect(server.url) as backend:
        answer = await backend.native.request("$JS.API.CONSUMER.NAMES.a", b"")  # type: ignore[attr-defined]
    assert json.loads(answer.data)["total"] == 0


async def test_wrong_password(tmp_path: Path) -> None:
    """A refused password is one line with exit code 1 that does not show it."""
    async with NatsServer(tmp_path / "nats", "authorization { user: u, password: right }") as server:
        done = await run(f"nats://u:hunter2@{server.address}", "pub", "a.b", "c")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "hunter2" not in done.err


async def test_no_jetstream(tmp_path: Path) -> None:
    """A server without JetStream is a set-up that must be changed: one line and exit code 2."""
    async with NatsServer(tmp_path / "nats", jetstream=False) as server:
        done = await run(server.url, "sub", "a.>")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "nats-server -js" in done.err


async def test_demo_on_a_broker_in_use(server: NatsServer) -> None:
    """The demo works beside a stream of the same subjects and leaves the broker as it was."""
    await run(server.url, "pub", "github.push", "{}")
    done = await run(server.url, "demo")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(b"\nok\n")
    async with connect(server.url) as backend:
        assert (await backend.stream_info("github")).messages == 1
        answer = await backend.native.request("$JS.API.STREAM.NAMES", b"")  # type: ignore[attr-defined]
    assert json.loads(answer.data)["streams"] == ["github"]


async def test_all_of_a_long_input_arrives(server: NatsServer) -> None:
    """A long input goes through whole and in order, without progress on stderr when that is no terminal."""
    done = await run(server.url, "pub", "--jsonl", "-", stdin=lines(*["a.b"] * 3000))
    assert "\npublished 3000 messages to stream a in " in done.err
    assert done.err.count("\n") == 2
    read = await run(server.url, "sub", "a.>", "--durable", "d", "--count", "3000")
    assert [row["data"]["n"] for row in read.rows] == list(range(3000))


async def test_an_embedded_server_serves_one_command_after_the_other(tmp_path: Path) -> None:
    """By nats+embedded:// no server need run: each command brings it, and a file stream is there for the next."""
    url = f"nats+embedded://{tmp_path}/store"
    shown = await run(url, "demo")
    assert (shown.code, shown.out.splitlines()[-1]) == (0, b"ok"), shown.err
    stored = await run(url, "pub", "orders.created", "1", "--storage", "file")
    assert stored.code == 0, stored.err
    read = await run(url, "sub", "orders.>", "--count", "1")
    assert [row["subject"] for row in read.rows] == ["orders.created"]
