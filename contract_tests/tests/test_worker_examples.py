"""The web service with its worker under a real uvicorn, and the page about workers, whose code runs."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from pubsubkit import NotFoundError, PublisherOptions, connect
from pubsubkit_nats.testing import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pubsubkit import Backend, Worker

DOCS = Path(__file__).parents[2] / "docs"
DEADLINE = 30.0


@asynccontextmanager
async def uvicorn(url: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, aiohttp.ClientSession]]:
    """The example under uvicorn, and a client of it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "shop:app", "--port", "0"),
        cwd=DOCS.parent / "examples",
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PUBSUBKIT_URL": url, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(DEADLINE):
            while b"running on" not in (line := await process.stderr.readline()):
                assert line
            address = line.decode().partition("running on ")[2].split()[0]
            async with aiohttp.ClientSession(address) as client:
                yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def get(client: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    async with client.get(path) as response:
        return response.status, await response.json()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
async def test_a_web_service_with_its_worker(tmp_path: Path):
    """Orders that come by HTTP are billed by the worker of the same process, which stops with it and leaves nothing."""
    async with NatsServer(tmp_path) as server:
        async with uvicorn(server.url) as (process, client):
            assert await get(client, "/ready") == (200, {"state": "running"})
            for number, amount in ((1, 5), (2, 0), (3, 7)):
                async with client.post("/orders", json={"id": number, "amount": amount}) as response:
                    assert response.status == 202
            while await get(client, "/bills") != (200, {"1": 5, "3": 7}):
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            await process.communicate()
        assert process.returncode in {0, -signal.SIGTERM}  # uvicorn stops gracefully, then ends by the signal it got
        async with connect(server.url) as backend:
            assert await info(backend, "billing") == (0, 0)
            assert (await backend.stream_info("orders-dead")).messages == 1


async def test_the_page_about_workers(capsys: pytest.CaptureFixture[str]):
    """The page's code runs as it stands, and its handlers do what the page says."""
    page = (DOCS / "how-to" / "worker.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "page"}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(code, names)
    worker: Worker = names["worker"]
    async with asyncio.timeout(DEADLINE), connect("memory://page") as backend:
        async with backend.publisher(PublisherOptions(stream_name="orders")) as publisher:
            for number, amount in enumerate((5, -1, 429, 503)):
                data = f'{{"id": {number}, "amount": {amount}}}'.encode()
                await publisher.publish(f"orders.{number}.created", data)
        running = asyncio.create_task(worker.run(url="memory://page"))
        while (await info(backend, "billing")) != (0, 0) or (await info(backend, "charging")) != (0, 2):
            await asyncio.sleep(0.01)
        worker.stop()
        assert await running == 0
        assert (await backend.stream_info("orders-dead")).messages == 1
    assert sorted(capsys.readouterr().out.splitlines()) == [f"billed {number}" for number in range(4)]


async def info(backend: Backend, durable: str) -> tuple[int, int]:
    with suppress(NotFoundError):
        found = await backend.consumer_info("orders", durable)
        return found.num_pending, found.num_ack_pending
    return -1, -1
