"""What the command line tells of streams and consumers."""

import asyncio
import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from commands import running

from pubsubkit import ConsumerOptions, PublisherOptions, PubSubError, TransientError, UnsupportedError, connect
from pubsubkit.cli.app import application
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_nats.testing import NatsServer

pytestmark = pytest.mark.usefixtures("command_line")


@pytest.fixture
def url() -> str:
    """A broker with three messages, one consumer that has one of them done, and one that got one twice."""
    url = f"memory://{secrets.token_hex(4)}"

    async def fill() -> None:
        async with connect(url) as backend:
            async with backend.publisher(PublisherOptions(stream_name="orders")) as publisher:
                await publisher.publish_many(("orders.x", b"%d" % number) for number in range(3))
            for name in ("billing", "audit"):
                options = ConsumerOptions(stream_name="orders", consumer_name=name, channel_buf_size=1)
                async with backend.consumer(options).subscribe() as messages:
                    message = await anext(messages)
                    await (message.ack() if name == "billing" else message.nak())
                    if name == "audit":
                        await anext(messages)

    asyncio.run(fill())
    return url


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(application, ["--url", url, *arguments])


def columns(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def test_streams(url: str) -> None:
    """A line for each stream, and one of them with all that is known of it."""
    assert columns(run(url, "streams").stdout)[1] == ["orders", "3", "27", "B", "memory", "orders.>"]
    (row,) = json.loads(run(url, "streams", "--json").stdout)
    assert (row["name"], row["messages"], row["last_sequence"], row["subjects"]) == ("orders", 3, 3, ["orders.>"])
    assert ["duplicate_window", "120.0"] in columns(run(url, "streams", "orders").stdout)


def test_consumers(url: str) -> None:
    """A line for each consumer with its lag and what comes again."""
    rows = columns(run(url, "consumers").stdout)
    assert rows[1:] == [["orders", "audit", "2", "1", "1", ">"], ["orders", "billing", "2", "0", "0", ">"]]
    assert columns(run(url, "consumers", "orders").stdout) == rows
    shown = json.loads(run(url, "consumers", "orders", "audit", "--json").stdout)
    assert (shown["lag"], shown["in_flight"], shown["redelivered"], shown["deliveries"]) == (2, 1, 1, 2)


@pytest.mark.parametrize("arguments", [["streams", "x"], ["consumers", "x"], ["consumers", "orders", "x"]])
def test_what_is_not_there_is_one_line(url: str, arguments: list[str]) -> None:
    result = run(url, *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("pubsubkit: no ")
    assert result.stderr.count("\n") == 1


def test_an_empty_broker_says_so() -> None:
    url = f"memory://{secrets.token_hex(4)}"
    assert run(url, "streams").stdout == "no streams\n"
    assert run(url, "consumers").stdout == "no consumers\n"
    assert "no streams yet" in run(url, "top", "--count", "1", "--interval", "0.1").stdout


def test_a_backend_that_cannot_tell(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the broker and what it cannot do."""

    async def cannot(self: MemoryDriver) -> Any:
        raise UnsupportedError(f"{self.address} cannot tell which streams it has")

    monkeypatch.setattr(MemoryDriver, "list_streams", cannot)
    for command in ("streams", "consumers", "top"):
        result = run(url, command)
        assert result.exit_code == 1
        assert "cannot tell which streams it has" in result.stderr


def test_a_stream_that_is_deleted_meanwhile(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that goes between the two questions has no consumers, and is no error."""
    original = MemoryDriver.list_consumers

    async def late(self: MemoryDriver, stream: str) -> Any:
        await self.delete_stream(stream)
        return await original(self, stream)

    monkeypatch.setattr(MemoryDriver, "list_consumers", late)
    result = run(url, "consumers")
    assert (result.exit_code, result.stdout) == (0, "no consumers\n")


def test_top_without_a_terminal(url: str) -> None:
    """The table is printed each time, the consumers under their stream."""
    rows = columns(run(url, "top", "--count", "2", "--interval", "0.1").stdout)
    assert rows[2] == ["orders", "(27", "B)", "3", "0"]
    assert rows[3:5] == [["audit", "0", "2", "1", "1"], ["billing", "0", "2", "0", "0"]]
    assert len(rows) == 10


async def test_top_counts_what_happens(tmp_path) -> None:
    """The rates of a stream and a consumer are those of the time between two looks; Ctrl-C is a good end."""
    async with NatsServer(tmp_path) as server, connect(server.url) as backend:
        publisher = backend.publisher(PublisherOptions(stream_name="s"))
        options = ConsumerOptions(stream_name="s", consumer_name="d")
        async with publisher, backend.consumer(options).subscribe() as messages:
            async with running(server.url, "top", "--json", "--interval", "0.2") as process:
                assert process.stdout is not None
                await process.stdout.readline()
                for _ in range(50):
                    await publisher.publish("s.x", b"1")
                    await (await anext(messages)).ack()
                seen = [json.loads(await process.stdout.readline()) for _ in range(3)]
                process.send_signal(2)
                assert await process.wait() == 0
    assert sum(row["streams"][0]["stored_per_second"] for row in seen) > 0
    assert sum(row["consumers"][0]["delivered_per_second"] for row in seen) > 0


async def test_what_others_wrote_cannot_move_the_cursor(tmp_path) -> None:
    """A description with control characters is shown in one line, escaped."""
    async with NatsServer(tmp_path) as server, connect(server.url) as backend:
        js = backend.native.jetstream()  # type: ignore[attr-defined]
        await js.add_stream(name="s", subjects=["s"], description="one\ntwo\x1b[2J")
        async with running(server.url, "streams", "s") as process:
            shown, _ = await process.communicate()
    assert ["native", "description", '"one\\ntwo\\u001b[2J"'] in columns(shown.decode())


async def test_more_consumers_than_a_page_of_the_server(tmp_path) -> None:
    """The server gives out 256 consumers at a time; all are listed."""
    async with NatsServer(tmp_path) as server, connect(server.url) as backend:
        js = backend.native.jetstream()  # type: ignore[attr-defined]
        await js.add_stream(name="s", subjects=["s"], storage="memory")
        names = [f"c{number:03}" for number in range(260)]
        for name in names:
            await js.add_consumer("s", durable_name=name, ack_policy="explicit", mem_storage=True)
        assert [info.spec.name for info in await backend.list_consumers("s")] == names


async def test_more_streams_than_a_page_of_the_server(tmp_path) -> None:
    """The server gives out 256 streams at a time; all are listed, and those that pubsubkit could not make as well."""
    async with NatsServer(tmp_path) as server, connect(server.url) as backend:
        js = backend.native.jetstream()  # type: ignore[attr-defined]
        names = [f"s{number:03}" for number in range(260)]
        for name in names:
            await js.add_stream(name=name, subjects=[f"{name}.>"], storage="memory")
        await js.add_stream(name="mirror", mirror={"name": "s000"}, storage="memory")
        await js.add_stream(name="work", subjects=["work"], retention="workqueue", storage="memory")
        assert [info.options.name for info in await backend.list_streams()] == sorted([*names, "mirror", "work"])
        await js.add_consumer("s001", name="pushed", deliver_subject="elsewhere", ack_policy="none")
        (pushed,) = await backend.list_consumers("s001")
        assert (pushed.spec.name, pushed.spec.durable) == ("pushed", False)


def test_top_outlives_a_broker_that_is_away(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that fails in passing is told, and the next one is shown; a number of looks ends with it."""
    original, looks = MemoryDriver.list_streams, iter([])

    async def sometimes(self: MemoryDriver) -> Any:
        if error := next(looks):
            raise error
        return await original(self)

    monkeypatch.setattr(MemoryDriver, "list_streams", sometimes)
    away = TransientError("no answer in time")
    looks = iter([None, away, None, PubSubError("it is gone")])
    result = run(url, "top", "--interval", "0.1")
    assert result.exit_code == 1
    assert result.stderr == "no answer in time\npubsubkit: it is gone\n"
    assert columns(result.stdout)[2] == ["orders", "(27", "B)", "3", "0"]
    looks = iter([None, away])
    result = run(url, "top", "--count", "1", "--interval", "0.1")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "pubsubkit: no answer in time\n")


def test_outcomes_are_told_through_a_pipe_that_fills(tmp_path: Path) -> None:
    """What was stored and what was not is told whole, also of a run that has failed, and the exit code says so."""
    lines = [json.dumps({"subject": "s.x" if number != 300 else "other", "data": number}) for number in range(5000)]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    command = [sys.executable, "-m", "pubsubkit.cli", "--url", "memory://", "pub", "--jsonl", "events.jsonl", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert "does not hold the subject" in rows[300]["error"]
    stored = sum("sequence" in row for row in rows)
    assert f"{stored} stored, 1 failed, {5000 - len(rows)} not attempted" in done.stderr


@pytest.mark.parametrize(
    "command", ["top --json --interval 0.1", "top --interval 0.1", "pub --jsonl events.jsonl --json"], ids=str.split
)
def test_a_reader_that_goes_away_is_no_failure(tmp_path: Path, command: str) -> None:
    """``| head -1`` ends it well, and what was published is told of."""
    lines = [json.dumps({"subject": "s.x", "data": number}) for number in range(20_000)]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    shell = f"{sys.executable} -m pubsubkit.cli --url memory:// {command} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True, timeout=40, check=False)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert done.stderr == "" if command.startswith("top") else "\npublished 20000 messages" in done.stderr
