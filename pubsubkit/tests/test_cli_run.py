"""``pubsubkit run``: real processes with signals, reload and health, and what it says of a wrong target."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from commands import DEADLINE, running

from pubsubkit import ConsumerOptions, PublisherOptions, connect
from pubsubkit.cli.app import application
from pubsubkit_nats.testing import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals"),
    pytest.mark.usefixtures("command_line"),
]

PIPE = asyncio.subprocess.PIPE
SERVICE = """
import asyncio
from pubsubkit import Worker

worker = Worker()


@worker.handler(stream="s", durable="d", concurrency=2)
{kind} handle(text: str) -> None:
    print("begun", text, flush=True)
    {body}
    print("ended", text, flush=True)
"""
FILE_GATE = """
    while not __import__("os").path.exists("go"):
        await asyncio.sleep(0.01)
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The directory of a service whose handler waits for a file named go."""
    found = tmp_path / "service"
    found.mkdir()
    write(found, FILE_GATE.strip())
    return found


def write(folder: Path, body: str, kind: str = "async def") -> None:
    (folder / "service.py").write_text(SERVICE.format(kind=kind, body=body), encoding="utf-8")


async def publish(url: str, *data: str) -> None:
    async with connect(url) as backend, backend.publisher(PublisherOptions(stream_name="s")) as publisher:
        await publisher.publish_many(("s.x", each.encode()) for each in data)


async def left(url: str) -> tuple[int, int]:
    async with connect(url) as backend:
        info = await backend.consumer_info("s", "d")
    return info.num_pending, info.num_ack_pending


async def said(stream: asyncio.StreamReader | None, *words: str) -> str:
    """Read lines until one has all *words*."""
    assert stream is not None
    while line := (await stream.readline()).decode():
        if all(word in line for word in words):
            return line
    raise AssertionError(f"never said: {words}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_handlers_finish(server: NatsServer, folder: Path, number: signal.Signals) -> None:
    """At a signal running handlers finish and their acks count; the rest is left for others, and the exit code is 0."""
    await publish(server.url, "1", "2", "3", "4", "5")
    async with running(server.url, "run", "service:worker", cwd=folder) as process:
        for _ in range(2):
            await said(process.stdout, "begun")
        process.send_signal(number)
        await said(process.stderr, f"{number.name}: stopping")
        (folder / "go").touch()
        out, err = await process.communicate()
    assert process.returncode == 0
    assert sorted(out.decode().split()) == ["1", "2", "ended", "ended"]
    assert err == b""
    assert await left(server.url) == (3, 0)


@pytest.mark.parametrize(("number", "code", "kind"), [(signal.SIGTERM, 143, "async def"), (signal.SIGINT, 130, "def")])
async def test_a_second_signal_cuts_off(
    server: NatsServer, folder: Path, number: signal.Signals, code: int, kind: str
) -> None:
    """A second signal ends it at once, also when a thread hangs; what was being handled comes again at once."""
    if kind == "def":
        write(folder, "__import__('time').sleep(60)", kind)
    await publish(server.url, "1")
    async with running(server.url, "run", "service:worker", cwd=folder) as process:
        await said(process.stdout, "begun")
        process.send_signal(number)
        await said(process.stderr, f"{number.name}: stopping")
        process.send_signal(number)
        _, err = await process.communicate()
    assert process.returncode == code
    assert f"{number.name}: stopping at once" in err.decode()
    assert "Traceback" not in err.decode()
    async with connect(server.url) as backend, asyncio.timeout(DEADLINE):
        options = ConsumerOptions(stream_name="s", consumer_name="d")
        async with backend.consumer(options).subscribe() as messages:
            assert (await anext(messages)).metadata.num_delivered == 2


async def test_what_a_killed_worker_held_comes_again(server: NatsServer, folder: Path) -> None:
    """A worker that is killed loses nothing: another one gets what it held."""
    write(folder, "await asyncio.sleep(60)")
    text = (folder / "service.py").read_text(encoding="utf-8").replace("concurrency=2", "concurrency=2, ack_wait=0.5")
    (folder / "service.py").write_text(text, encoding="utf-8")
    await publish(server.url, "1", "2", "3")
    async with running(server.url, "run", "service:worker", cwd=folder) as process:
        for _ in range(2):
            await said(process.stdout, "begun")
        process.kill()
        await process.wait()
    (folder / "service.py").write_text(text.replace("await asyncio.sleep(60)", "pass"), encoding="utf-8")
    async with running(server.url, "run", "service:worker", cwd=folder) as process:
        for _ in range(3):
            await said(process.stdout, "ended")
        process.terminate()
        await process.wait()
    assert process.returncode == 0
    assert await left(server.url) == (0, 0)


async def test_health_while_it_runs(server: NatsServer, folder: Path) -> None:
    """--health-port serves the health over HTTP, and --url comes before the environment."""
    arguments = ("service:worker", "--url", server.url, "--health-port", "0", "--grace", "1s")
    async with running("nats://127.0.0.1:1", "run", *arguments, cwd=folder) as process:
        line = await said(process.stderr, "health is served on")
        port = int(line.partition("127.0.0.1:")[2].partition("/")[0])
        await said(process.stderr, "handler handle consumes s/d")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        process.terminate()
        await process.wait()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body)["state"] == "running"


async def test_logs_in_json(server: NatsServer, folder: Path) -> None:
    """With --json every line of the log is an object, and that about a message says which."""
    write(folder, "raise KeyError(text)")
    await publish(server.url, "1")
    async with running(server.url, "run", "service:worker", "--json", cwd=folder) as process:
        lines = [await said(process.stderr, "handler handle consumes"), await said(process.stderr, "KeyError")]
        process.terminate()
        lines += (await process.communicate())[1].decode().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["level"] for record in records[:2]] == ["INFO", "WARNING"]
    about = {name: records[1][name] for name in ("stream", "consumer", "subject", "num_delivered", "logger")}
    assert about == {
        "stream": "s",
        "consumer": "d",
        "subject": "s.x",
        "num_delivered": 1,
        "logger": "pubsubkit.worker",
    }
    assert "SIGTERM: stopping" in [record["message"] for record in records]


async def test_reload(server: NatsServer, folder: Path) -> None:
    """With --reload a changed file starts the worker anew, also after it had an error; a signal ends all."""
    write(folder, "pass")
    async with running(server.url, "run", "service:worker", "--reload", cwd=folder) as process:
        await said(process.stderr, "handler handle consumes s/d")
        write(folder, "this is no Python")
        await said(process.stderr, "cannot import service: SyntaxError")
        write(folder, "print('new', text, flush=True)")
        await said(process.stderr, "handler handle consumes s/d")
        await publish(server.url, "1")
        await said(process.stdout, "new 1")
        process.terminate()
        await said(process.stderr, "SIGTERM: stopping")
        await process.communicate()
    assert process.returncode == 0
    assert await left(server.url) == (0, 0)


@pytest.mark.parametrize(
    ("target", "source", "words"),
    [
        ("service", "", "'service': expected MODULE:WORKER"),
        ("nowhere:worker", "", "there is no module nowhere in "),
        ("service:nothing", "", "module service has no nothing"),
        ("service:worker", "worker = 5", "service:worker is no Worker but int"),
        ("service:worker", "import nowhere_at_all", "cannot import service: it needs nowhere_at_all, which is not"),
        (
            "service:worker",
            "1 / 0",
            "cannot import service: ZeroDivisionError: division by zero; --verbose shows where",
        ),
        (
            "service:worker",
            "from pubsubkit import Worker; worker = Worker(); worker.add(print)",
            "cannot import service: stream='': expected the name of a stream",
        ),
        (
            "service:worker",
            "from pubsubkit import Worker; worker = Worker(); worker.add(print, stream='s')",
            "environment variable PUBSUBKIT_URL (used as the URL) is not set",
        ),
    ],
)
def test_wrong_targets(folder: Path, monkeypatch: pytest.MonkeyPatch, target: str, source: str, words: str) -> None:
    """What cannot be run is one line that says why, and exit code 2."""
    (folder / "service.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "service", raising=False)
    monkeypatch.delenv("PUBSUBKIT_URL", raising=False)
    result = CliRunner().invoke(application, ["run", target], prog_name="pubsubkit")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("pubsubkit: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


async def test_reload_needs_watchfiles(folder: Path) -> None:
    """Without watchfiles --reload says what to install."""
    (folder / "watchfiles.py").write_text("raise ImportError('no watchfiles')", encoding="utf-8")
    async with running("", "run", "service:worker", "--reload", cwd=folder) as process:
        _, err = await process.communicate()
    assert process.returncode == 2
    assert err.decode() == "pubsubkit: --reload needs watchfiles; install it with: pip install 'pubsubkit[reload]'\n"
