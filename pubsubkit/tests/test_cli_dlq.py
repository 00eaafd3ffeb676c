"""``pubsubkit dlq``: on memory:// in this process, and as processes around a real nats-server."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pubsubkit import Backend, PublisherOptions, StreamOptions, connect, dead_letters
from pubsubkit.cli.app import application
from pubsubkit.dead_letters.reading import read_stored
from pubsubkit_nats.testing import NatsServer

pytestmark = pytest.mark.usefixtures("command_line")

DEAD = "orders-dead"
DEADLINE = 40.0
PREFIX = "Pubsubkit-Dead-Letter-"
ORIGIN = {"Stream": "orders", "Consumer": "billing", "Sequence": "7", "Deliveries": "5"}


@pytest.fixture
def url() -> str:
    """A broker in this process with three dead letters."""
    url = f"memory://dlq-{secrets.token_hex(4)}"

    async def fill() -> None:
        async with connect(url) as backend:
            await store(backend, b'{"id": 1}', Reason="timed out", Error="TimeoutError")
            await store(backend, b"\x00\x1b[31m", Reason="no such \x1b[31morder", Error="shop.NotFound")
            await store(backend, "drei €\n".encode(), subject="orders.closed", Reason="timed out", Deliveries="")

    asyncio.run(fill())
    return url


async def store(backend: Backend, *payloads: bytes, subject: str = "orders.created", **origin: str) -> None:
    await backend.ensure_stream(StreamOptions(name="orders"))
    named = {PREFIX + name: text for name, text in {**ORIGIN, "Subject": subject, **origin}.items() if text}
    async with backend.publisher(PublisherOptions(stream_name=DEAD)) as publisher:
        given = {"Trace": "1", **named}
        await publisher.publish_many((f"{DEAD}.{subject}", payload, given) for payload in payloads)


def run(url: str | None, *arguments: str, stdin: str | None = None) -> Result:
    given = ("--url", url) if url else ()
    return CliRunner().invoke(application, [*given, "dlq", *arguments], input=stdin, prog_name="pubsubkit")


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def contents(url: str) -> list[bytes]:
    """What was published again."""

    async def read() -> list[bytes]:
        async with connect(url) as backend:
            return [message.data async for message in read_stored(backend, "orders")]

    return asyncio.run(read())


def assert_one_line(result: Result, code: int, text: str) -> None:
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert result.stderr.startswith("pubsubkit: ")
    assert result.stderr.count("\n") == 1
    assert text in result.stderr


@pytest.mark.parametrize("command", [[], ["list"], ["show"], ["replay"], ["purge"]])
def test_help_teaches_by_example(command: list[str]) -> None:
    """Every command has help with a command line to copy."""
    result = run(None, *command, "--help")
    assert result.exit_code == 0
    assert f"\n    pubsubkit dlq {command[0] if command else 'list'} orders-dead" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["list"], "Missing argument 'STREAM'"),
        (["list", DEAD], "no broker given: use --url"),
        (["show", DEAD], "Missing argument 'SEQUENCE'"),
        (["show", DEAD, "0"], "SEQUENCE"),
        (["show", DEAD, "1", "--raw", "--json"], "give --raw or --json, not both"),
        (["replay", DEAD, "x"], "SEQUENCE"),
        (["replay", DEAD, "--limit", "0"], "--limit"),
        (["list", DEAD, "--subject", "a..b"], "invalid filter 'a..b'"),
        (["purge", DEAD, "--url", "memory://"], "nobody can be asked here whether to purge: give --yes"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], text: str) -> None:
    """What is wrong with a command line is said in one line, and the exit code is 2."""
    assert_one_line(run(None, *arguments), 2, text)


@pytest.mark.parametrize("command", [["list"], ["show", "1"], ["replay"], ["purge", "--yes"]])
def test_a_stream_that_does_not_exist(command: list[str]) -> None:
    """A stream that does not exist is an error in one line, and none is made."""
    assert_one_line(run("memory://", command[0], DEAD, *command[1:]), 1, f"no stream '{DEAD}'")


def test_list(url: str) -> None:
    """The table has a line for each open dead letter, and nothing in it acts on the terminal."""
    result = run(url, "list", DEAD)
    heads, first, second, third = result.stdout.splitlines()
    assert heads.split() == ["SEQUENCE", "TIME", "SUBJECT", "DELIVERIES", "ERROR", "REASON"]
    assert first.split()[3:] == ["orders.created", "5", "TimeoutError", "timed", "out"]
    assert "\x1b" not in second
    assert second.endswith("no such ?[31morder")
    assert third.split()[3:] == ["orders.closed", "-", "-", "timed", "out"]
    assert (result.exit_code, result.stderr) == (0, "")


def test_list_as_json(url: str) -> None:
    """--json prints a line for each with all that is known, and filters select."""
    (row,) = rows(run(url, "list", DEAD, "--json", "--error", "NotFound", "--subject", "orders.>"))
    assert row.pop("timestamp").endswith("+00:00")
    assert row == {
        "sequence": 2,
        "subject": "orders.created",
        "stream": "orders",
        "consumer": "billing",
        "original_sequence": 7,
        "deliveries": 5,
        "reason": "no such \x1b[31morder",
        "error": "shop.NotFound",
        "bytes": 6,
    }
    assert [row["sequence"] for row in rows(run(url, "list", DEAD, "--json", "--reason", "TIMED", "--limit", "2"))] == [
        1,
        3,
    ]


def test_nothing_is_open(url: str) -> None:
    """An empty list is said on stderr, and is no error."""
    result = run(url, "list", DEAD, "--error", "KeyError", "--json")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"no open dead letters in stream {DEAD}\n"


def test_show(url: str) -> None:
    """One dead letter is shown with where it comes from, its headers and its payload, as text or as a hex dump."""
    text = run(url, "show", DEAD, "3").stdout
    assert "\nfrom        stream orders, consumer billing, sequence 7\n" in text
    assert "\nheader      Trace: 1\n" in text
    assert text.endswith("\n\ndrei €\n")
    binary = run(url, "show", DEAD, "2").stdout
    assert "00000000  00 1b 5b 33 31 6d" in binary
    assert binary.endswith(" ..[31m\n")
    assert "\x1b" not in binary


def test_show_as_it_is(url: str) -> None:
    """--raw prints the payload alone, and --json everything."""
    assert run(url, "show", DEAD, "2", "--raw").stdout_bytes == b"\x00\x1b[31m"
    (row,) = rows(run(url, "show", DEAD, "1", "--json"))
    assert (row["data"], row["headers"], row["settled"], row["error"]) == (
        {"id": 1},
        {"Trace": "1"},
        None,
        "TimeoutError",
    )
    assert_one_line(run(url, "show", DEAD, "4"), 1, "no dead letter 4 in stream 'orders-dead'")


def test_show_without_an_origin(url: str) -> None:
    """A dead letter that had no room for its origin, and whose payload is binary, is shown all the same."""

    async def fill() -> None:
        async with connect(url) as backend, backend.publisher(PublisherOptions(stream_name=DEAD)) as publisher:
            await publisher.publish(f"{DEAD}.orders.big", b"\xff")

    asyncio.run(fill())
    text = run(url, "show", DEAD, "4").stdout
    assert "\nfrom        not known\n" in text
    assert "00000000  ff " in text


def test_replay(url: str) -> None:
    """What is selected is published again and listed no more; show says what became of it."""
    result = run(url, "replay", DEAD, "1", "3")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"replayed 2 dead letters of stream {DEAD}\n"
    assert contents(url) == [b'{"id": 1}', "drei €\n".encode()]
    assert [row["sequence"] for row in rows(run(url, "list", DEAD, "--json"))] == [2]
    assert "\nstate       replayed\n" in run(url, "show", DEAD, "1").stdout


def test_replay_as_json(url: str) -> None:
    """--json tells of each where it is stored now."""
    result = run(url, "replay", DEAD, "--limit", "1", "--json")
    assert rows(result) == [
        {
            "sequence": 1,
            "subject": "orders.created",
            "stream": "orders",
            "stored_as": 1,
            "duplicate": False,
            "error": None,
        }
    ]


def test_replay_of_what_is_not_open(url: str) -> None:
    """A number that was replayed before or does not exist is an error, and the others are replayed."""
    assert run(url, "replay", DEAD, "1").exit_code == 0
    result = run(url, "replay", DEAD, "1", "2", "9")
    assert result.exit_code == 1
    assert result.stderr == (
        f"replayed 1 dead letter of stream {DEAD}\n"
        f"pubsubkit: no open dead letter 1, 9 in stream {DEAD}, or a filter leaves it out\n"
    )
    assert len(contents(url)) == 2


def test_replay_that_fails(url: str) -> None:
    """What cannot be published stays open, and the line on stderr says why."""

    async def fill() -> None:
        async with connect(url) as backend:
            await store(backend, b"4", Stream="gone")

    asyncio.run(fill())
    result = run(url, "replay", DEAD)
    assert result.exit_code == 1
    summary, error = result.stderr.splitlines()
    assert summary == f"replayed 3 dead letters of stream {DEAD}"
    assert error.startswith("pubsubkit: 1 dead letter could not be replayed and stay open; the first is 4: no stream ")
    assert [row["sequence"] for row in rows(run(url, "list", DEAD, "--json"))] == [4]


def test_purge(url: str) -> None:
    """What is purged is listed and replayed no more."""
    result = run(url, "purge", DEAD, "--subject", "orders.created", "--yes")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"purged 2 dead letters of stream {DEAD}\n"
    assert [row["sequence"] for row in rows(run(url, "list", DEAD, "--json"))] == [3]
    assert contents(url) == []


def test_purge_as_json(url: str) -> None:
    """--json tells of each what was put away."""
    result = run(url, "purge", DEAD, "--subject", "orders.created", "--yes", "--json")
    assert [(row["sequence"], row["subject"]) for row in rows(result)] == [(1, "orders.created"), (2, "orders.created")]


def test_purge_onto_a_full_disk(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was put away is counted also when it cannot be listed."""
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr("pubsubkit.cli.dlq.standard_stream", lambda _: full)
        result = run(url, "purge", DEAD, "--yes", "--json")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"purged 3 dead letters of stream {DEAD}\npubsubkit: cannot write to stdout: ")


@pytest.mark.parametrize(
    ("answer", "said", "left"), [("n\n", "nothing was purged", 3), ("y\n", "purged 3 dead letters", 0)]
)
def test_purge_asks_on_a_terminal(url: str, monkeypatch: pytest.MonkeyPatch, answer: str, said: str, left: int) -> None:
    """On a terminal purge says how many it is about and does nothing unless it is told to."""
    monkeypatch.setattr("pubsubkit.cli.dlq.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    result = run(url, "purge", DEAD, stdin=answer)
    assert result.exit_code == 0
    assert f"Purge 3 dead letters of stream {DEAD}? [y/N]" in result.stderr
    assert said in result.stderr
    assert len(rows(run(url, "list", DEAD, "--json"))) == left
    if not left:
        assert run(url, "purge", DEAD).stderr == f"no open dead letters in stream {DEAD}\n"


def test_a_stream_that_has_no_dead_letters(url: str) -> None:
    """That its messages do not say where they come from is told: it may be the wrong stream."""

    async def fill() -> None:
        async with connect(url) as backend, backend.publisher(PublisherOptions(stream_name="plain")) as publisher:
            await publisher.publish("plain.x", b"1")

    asyncio.run(fill())
    assert "is plain the stream of dead_letter=?" in run(url, "list", "plain").stderr
    assert run(url, "list", DEAD).stderr == ""


@pytest.mark.parametrize(("verb", "done"), [("replay", "replayed"), ("purge --yes", "purged")])
async def test_a_reader_that_goes_away(tmp_path: Path, verb: str, done: str) -> None:
    """``| head -1`` keeps nothing from being done, and the count is told."""
    number = 1500
    async with asyncio.timeout(DEADLINE), NatsServer(tmp_path) as server, connect(server.url) as backend:
        await store(backend, *(b"%d" % each for each in range(number)))
        shell = f"{sys.executable} -m pubsubkit.cli dlq {verb} {DEAD} --json | head -1; exit ${{PIPESTATUS[0]}}"
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", shell), stdout=pipe, stderr=pipe, env={**os.environ, "PUBSUBKIT_URL": server.url}
        )
        out, err = await process.communicate()
        assert (process.returncode, out.count(b"\n")) == (0, 1)
        assert err.decode() == f"{done} {number} dead letters of stream {DEAD}\n"
        assert (await backend.stream_info(f"{DEAD}-settled")).messages == number


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
async def test_a_run_that_is_stopped(tmp_path: Path) -> None:
    """A signal ends a replay after the batch at hand; the count is exact, and the next run does the rest."""
    pipe, number = asyncio.subprocess.PIPE, 1500
    async with asyncio.timeout(DEADLINE), NatsServer(tmp_path) as server, connect(server.url) as backend:
        await store(backend, *(b"%d" % each for each in range(number)))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pubsubkit.cli", "dlq", "replay", DEAD, "--json"),
            stdout=pipe,
            stderr=pipe,
            env={**os.environ, "PUBSUBKIT_URL": server.url},
        )
        assert process.stdout is not None
        await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, err = await process.communicate()
        settled = (await backend.stream_info(f"{DEAD}-settled")).messages
        assert process.returncode == 130
        assert err.decode() == f"replayed {settled} dead letters of stream {DEAD}; stopped by SIGINT\n"
        assert rest.count(b"\n") + 1 == settled < number
        assert len([outcome async for outcome in dead_letters.replay(backend, DEAD)]) == number - settled
        assert (await backend.stream_info("orders")).messages == number
