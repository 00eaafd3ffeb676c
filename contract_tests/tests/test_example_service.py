"""The example in ``examples/github_events``, as it stands, on web hooks of GitHub.

It takes the file that ``PUBSUBKIT_EVENTS`` names, or else a small sample.

Its chat refuses some events and is broken for others, so that it is known which must end as dead letters.
"""

import asyncio
import importlib
import json
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
import uvicorn
from github_events import ROOT, Event, read_events

from pubsubkit import ConsumerOptions, connect
from pubsubkit_nats.testing import NatsServer

EXAMPLE = ROOT / "examples" / "github_events"
MODULES = ("everything", "receiver", "archive", "notify", "common")
DEADLINE = 45
REFUSED, BROKEN = "github.release.", "github.fork"
"""The kinds of events that the chat never takes."""


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A chat that listens."""
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.setattr(BaseHTTPRequestHandler, "log_message", lambda *_: None)
    with importlib.import_module("chat").Chat() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def environment(chat: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configure the example; return where its archive is."""
    archive = tmp_path / "events.sqlite"
    for name, value in {
        "CHAT": f"http://127.0.0.1:{chat.server_port}/",
        "ARCHIVE": str(archive),
        "ACK_WAIT": "1.5",
    }.items():
        monkeypatch.setenv(name, value)
    return archive


@pytest.fixture
def load(chat: object) -> Iterator[Any]:
    """Import a module of the example anew."""
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve *app* in this process; yield its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    running = asyncio.ensure_future(server.serve())
    await until(lambda: server.started or running.done())
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/webhooks"
    server.should_exit = True
    await running


async def until(condition: Any) -> None:
    """Wait for something that tells nobody."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.02)


async def deliver(session: aiohttp.ClientSession, url: str, number: int, event: Event) -> None:
    """Deliver a web hook until it is taken, as GitHub does on request."""
    subject, body = event
    headers = {"X-GitHub-Event": subject.split(".")[1], "X-GitHub-Delivery": str(number)}
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                async with session.post(url, data=body, headers=headers) as response:
                    if response.status == 202:
                        return
                    assert response.status == 503, await response.text()
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.1)


def archived(path: Path) -> dict[str, bytes]:
    """What the archive holds, by id."""
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path, timeout=10)) as database:
        try:
            return dict(database.execute("SELECT id, data FROM events"))
        except sqlite3.OperationalError:
            return {}


async def dead(url: str) -> dict[str, str]:
    """The ids of the dead letters, with their reasons."""
    found: dict[str, str] = {}
    async with (
        connect(url) as backend,
        backend.consumer(ConsumerOptions(stream_name="github-dead")).subscribe() as all_,
    ):
        for _ in range((await backend.stream_info("github-dead")).messages):
            message = await anext(all_)
            event = message.event().get_id()
            assert event not in found
            found[event] = message.headers["Pubsubkit-Dead-Letter-Reason"]
    return found


def numbered(events: list[Event], *kinds: str) -> set[str]:
    """The ids of the events of some kinds."""
    return {str(number) for number, (subject, _) in enumerate(events) if subject.startswith(kinds)}


async def check(url: str, events: list[Event], archive: Path, chat: Any) -> None:
    """Wait until all is done; nothing is lost, and the dead letters are those expected."""
    wrong = numbered(events, REFUSED, BROKEN)
    everything = {str(number): body for number, (_, body) in enumerate(events)}
    assert wrong
    await until(lambda: chat.told >= everything.keys() - wrong and archived(archive).keys() >= everything.keys())
    assert archived(archive) == everything
    async with connect(url) as backend, asyncio.timeout(DEADLINE):
        while (await backend.stream_info("github-dead")).messages < len(wrong):
            await asyncio.sleep(0.05)
        while (info := await backend.consumer_info("github", "notify")).num_pending + info.num_ack_pending:
            await asyncio.sleep(0.05)
    letters = await dead(url)
    assert letters.keys() == wrong
    assert chat.told == everything.keys() - wrong
    assert all("refuses" in letters[number] for number in numbered(events, REFUSED))


async def test_in_memory(environment: Path, chat: Any, load: Any, monkeypatch: pytest.MonkeyPatch):
    """Receiver and workers in one process, on memory://."""
    url = f"memory://{environment.parent.name.lower().replace('_', '-')}"
    monkeypatch.setenv("PUBSUBKIT_URL", url)
    events = read_events()
    async with connect(url), serving(load("everything").app) as hook, aiohttp.ClientSession() as session:
        for number, event in enumerate(events):
            await deliver(session, hook, number, event)
        await check(url, events, environment, chat)


class Program:
    """A process of the example."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        assert await self._process.wait() in {0, -signal.SIGTERM}

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *self._arguments, cwd=EXAMPLE, env={**os.environ, "PYTHONPATH": str(EXAMPLE)}
        )

    async def crash(self) -> None:
        """``kill -9``."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()


async def test_on_nats_with_crashes(
    environment: Path, chat: Any, tmp_path: Path, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
):
    """The same code as three processes on NATS; a worker and the server are killed in the middle."""
    events = read_events()
    monkeypatch.setenv("TRACES", str(tmp_path / "spans.jsonl"))
    async with NatsServer(tmp_path / "nats") as server:
        monkeypatch.setenv("PUBSUBKIT_URL", f"{server.url}?reconnect_wait=50ms")
        receiver = Program("uvicorn", "receiver:app", "--port", str(unused_tcp_port), "--log-level", "warning")
        notify = Program("pubsubkit.cli", "run", "notify:worker")
        archive = Program("pubsubkit.cli", "run", "archive:worker")
        hook = f"http://127.0.0.1:{unused_tcp_port}/webhooks"
        async with receiver, notify, archive, aiohttp.ClientSession() as session:
            third = len(events) // 3
            for number, event in enumerate(events):
                if number == third:
                    await until(lambda: chat.told)
                    await notify.crash()
                    await notify.start()
                if number == 2 * third:
                    await server.restart(crash=True)
                await deliver(session, hook, number, event)
            await check(server.url, events, environment, chat)
    check_traces(tmp_path / "spans.jsonl", "0")


def check_traces(path: Path, event: str) -> None:
    """One trace goes from the publish of an event to every time that a worker handled it."""
    spans = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    mine = [span for span in spans if span["attributes"].get("cloudevents.event_id") == event]
    (publish,) = (span for span in mine if span["kind"] == "SpanKind.PRODUCER")
    processed = [span for span in mine if span["kind"] == "SpanKind.CONSUMER"]
    assert {span["attributes"]["messaging.consumer.group.name"] for span in processed} == {"archive", "notify"}
    assert {span["context"]["trace_id"] for span in processed} == {publish["context"]["trace_id"]}
    assert {span["parent_id"] for span in processed} == {publish["context"]["span_id"]}
