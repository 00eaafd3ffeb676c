"""The health of a worker, and the little HTTP server that tells it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from pubsubkit import Backend, ConfigurationError, Worker, WorkerHealth, WorkerState, connect
from pubsubkit.worker.endpoint import serve_health
from pubsubkit.worker.state import HandlerHealth

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEADLINE = 5.0
GOOD = WorkerHealth(state=WorkerState.RUNNING, live=True, ready=True)
POOR = WorkerHealth(state=WorkerState.DEGRADED, live=True, ready=False)
BAD = WorkerHealth(state=WorkerState.DEGRADED, live=False, ready=False)


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with connect("memory://") as opened:
        yield opened


async def ask(port: int, request: bytes) -> tuple[str, bytes]:
    """Return the status line and the body that a request gets."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0].decode(), body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: kube-probe\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("health", "live", "ready"),
    [(GOOD, "200 OK", "200 OK"), (POOR, "200 OK", "503 Service Unavailable"), (BAD, *["503 Service Unavailable"] * 2)],
)
async def test_what_it_answers(health: WorkerHealth, live: str, ready: str):
    """/live and /ready answer 200 or 503, each with the whole health as JSON."""
    async with serve_health(lambda: health, "127.0.0.1", 0) as port:
        for path, status in (("/live", live), ("/ready", ready), ("/ready?verbose=1", ready)):
            line, body = await ask(port, get(path))
            assert line == f"HTTP/1.1 {status}"
            assert json.loads(body) == {
                "state": health.state,
                "live": health.live,
                "ready": health.ready,
                "handlers": [],
            }
        assert await ask(port, get("/live").replace(b"GET", b"HEAD")) == (f"HTTP/1.1 {live}", b"")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/"), "404 Not Found"),
        (get("/liver"), "404 Not Found"),
        (b"POST /live HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (b"\x16\x03\x01\x00\xff\r\n\r\n", "400 Bad Request"),
        (b"\r\n\r\n", "400 Bad Request"),
        (b"GET /live HTTP/2\r\n\r\n", "400 Bad Request"),
        (b"GET /live HTTP/1.1\r\nX: " + b"x" * 100_000, "431 Request Header Fields Too Large"),
    ],
)
async def test_what_it_does_not_answer(request_: bytes, status: str):
    """Whatever comes, it says what is wrong, and serves on."""
    async with serve_health(lambda: GOOD, "127.0.0.1", 0) as port:
        with suppress(ConnectionError):  # what is not read is reset
            assert (await ask(port, request_))[0] == f"HTTP/1.1 {status}"
        assert (await ask(port, get("/live")))[0] == "HTTP/1.1 200 OK"


async def test_slow_clients(monkeypatch: pytest.MonkeyPatch):
    """A client that says nothing, or half of a request, is hung up on; it holds neither others nor the end."""
    monkeypatch.setattr("pubsubkit.worker.endpoint._CLIENT_SECONDS", 0.05)
    async with serve_health(lambda: GOOD, "127.0.0.1", 0) as port:
        for sent in (b"", b"GET /live HT"):
            assert await ask(port, sent) == ("", b"")
    monkeypatch.setattr("pubsubkit.worker.endpoint._CLIENT_SECONDS", 60)
    async with asyncio.timeout(DEADLINE):
        async with serve_health(lambda: GOOD, "127.0.0.1", 0) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert (await ask(port, get("/live")))[0] == "HTTP/1.1 200 OK"
        assert await reader.read() == b""
        writer.close()


async def test_a_client_that_hangs_up():
    """A client that goes away in the middle of its request is forgotten."""
    async with serve_health(lambda: GOOD, "127.0.0.1", 0) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET")
        writer.close()
        await writer.wait_closed()
        assert (await ask(port, get("/live")))[0] == "HTTP/1.1 200 OK"


async def test_too_many_clients(monkeypatch: pytest.MonkeyPatch):
    """Beyond a number of clients at the same time more are turned away."""
    monkeypatch.setattr("pubsubkit.worker.endpoint._MOST_CLIENTS", 1)
    async with serve_health(lambda: GOOD, "127.0.0.1", 0) as port:
        _, first = await asyncio.open_connection("127.0.0.1", port)
        reader, second = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(DEADLINE):
            assert await reader.read() == b""
        for writer in (first, second):
            writer.close()
            await writer.wait_closed()


async def test_a_port_that_is_taken(backend: Backend):
    """A port that is taken, or is none, is an error of the set-up, raised at the start."""
    async with serve_health(lambda: GOOD, "127.0.0.1", 0) as port:
        for wrong in (port, 70000):
            worker = Worker(backend, health_port=wrong)
            worker.add(print, stream="s")
            with pytest.raises(ConfigurationError, match=f"cannot serve health on 127.0.0.1:{wrong}: "):
                await worker.run()


async def test_the_health_of_a_worker(backend: Backend):
    """A worker serves its health while it runs; it tells of each handler what it does."""
    worker = Worker(backend, health_port=0)
    worker.add(print, stream="s", durable="d")
    assert worker.health() == WorkerHealth(state=WorkerState.STOPPED, live=False, ready=False)
    async with worker:
        assert worker.served_port
        line, body = await ask(worker.served_port, get("/ready"))
        handler = HandlerHealth(name="print", stream="s", consumer="d", consuming=True, held=0, error="")
        assert line == "HTTP/1.1 200 OK"
        assert json.loads(body)["handlers"] == [vars(handler)]
        assert worker.health() == WorkerHealth(state=WorkerState.RUNNING, live=True, ready=True, handlers=(handler,))
    assert worker.served_port is None


async def test_not_live_when_it_does_not_consume_for_long(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """A worker whose broker has been away for long is not live, and is again when it consumes."""
    worker = Worker("nats://127.0.0.1:1")
    worker.add(print, stream="s", durable="d")
    async with worker:
        assert (worker.state, worker.health().live) == (WorkerState.DEGRADED, True)
        monkeypatch.setattr("pubsubkit.worker.running._LIVE_SECONDS", 0.0)
        assert not worker.health().live
        worker.stop()
        assert worker.health().live
