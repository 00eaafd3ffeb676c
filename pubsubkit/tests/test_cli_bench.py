"""``pubsubkit bench``: what it measures, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from commands import DEADLINE, running

from pubsubkit import connect
from pubsubkit.cli.app import application
from pubsubkit.cli.measuring import Measured
from pubsubkit.registry import register_backend, unregister_backend
from pubsubkit_memory import MemoryDriver
from pubsubkit_nats.testing import NatsServer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("command_line")

WHAT = ["publish one by one", "publish many", "consume and ack", "publish to consumer"]


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(application, ["bench", *arguments], prog_name="pubsubkit")


def test_a_table() -> None:
    """It ends with a table of rates and latencies, where there are some."""
    result = bench("memory://", "--count", "20")
    assert (result.exit_code, result.stderr) == (0, "")
    title, _, heads, *rows = result.stdout.splitlines()
    assert title == "memory://, memory storage, payloads of 256 bytes"
    assert heads.split() == ["WHAT", "COUNT", "MSG/S", "MB/S", "P50", "MS", "P99", "MS"]
    assert [row.rsplit(maxsplit=5)[0] for row in rows] == WHAT
    assert [row.split()[-1] == "-" for row in rows] == [False, True, True, False]


def test_json() -> None:
    """As JSON it has the same in seconds, and the rates follow from messages, seconds and size."""
    document = json.loads(bench("memory://", "--count", "1200", "--size", "1KiB", "--json").stdout)
    results = document.pop("results")
    assert document == {"broker": "memory://", "storage": "memory", "payload_bytes": 1024}
    assert [(row["what"], row["messages"]) for row in results] == list(zip(WHAT, [1000, 1200, 1200, 1000], strict=True))
    for row in results:
        assert row["messages_per_second"] == pytest.approx(row["messages"] / row["seconds"])
        assert row["megabytes_per_second"] == pytest.approx(row["messages_per_second"] * 1024 / 1e6)
        if row["latency_p50"] is not None:
            assert 0 < row["latency_p50"] <= row["latency_p99"] <= row["seconds"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "no broker given"),
        (["memory://", "--count", "0"], "--count"),
        (["memory://", "--size", "big"], "expected a size such as"),
        (["memory://?max_payload=100", "--size", "101"], "more than the 100"),
        (["nast://"], "did you mean 'nats'?"),
    ],
)
def test_wrong_input(arguments: list[str], text: str) -> None:
    """Wrong input is one line and exit code 2."""
    result = bench(*arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert text in result.stderr


def test_quantiles() -> None:
    """p50 and p99 are latencies that occurred."""
    measured = Measured("x", 100, 1.0, [float(number) for number in range(1, 101)])
    assert (measured.quantile(0.5), measured.quantile(0.99)) == (51.0, 100.0)
    assert Measured("x", 1, 1.0, [3.0]).quantile(0.99) == 3.0


def test_an_ack_that_is_not_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consuming is not over, and is no success, as long as the broker has not got every ack."""

    class Deaf(MemoryDriver):
        async def consumer_info(self, stream: str, name: str) -> Any:
            from dataclasses import replace

            info = await super().consumer_info(stream, name)
            return info and replace(info, num_ack_pending=2)

    monkeypatch.setattr("pubsubkit.cli.measuring._CONFIRM_SECONDS", 0.05)
    register_backend("deaf", Deaf)
    try:
        result = bench("deaf://", "--count", "10")
    finally:
        unregister_backend("deaf")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "2 messages are without an ack" in result.stderr


async def streams(url: str) -> list[str]:
    async with connect(url) as backend:
        answer = await backend.native.request("$JS.API.STREAM.NAMES", b"")  # type: ignore[attr-defined]
        return json.loads(answer.data)["streams"] or []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM end it with their exit codes, and its stream is gone."""
    async with NatsServer(tmp_path / "nats") as server, running(server.url, "bench", "--count", "99999999") as process:
        async with asyncio.timeout(DEADLINE):
            while not await streams(server.url):
                await asyncio.sleep(0.01)
        process.send_signal(number)
        out, err = await process.communicate()
        left = await streams(server.url)
    assert (process.returncode, out, err.decode()) == (128 + number, b"", f"pubsubkit: stopped by {number.name}\n")
    assert left == []


@pytest.mark.parametrize("storage", ["memory", "file"])
async def test_a_real_server(storage: str, tmp_path: Path) -> None:
    """On NATS it measures either storage and leaves no stream behind."""
    arguments = ("bench", "--count", "500", "--storage", storage, "--json")
    async with NatsServer(tmp_path / "nats") as server, running(server.url, *arguments) as process:
        out, err = await process.communicate()
        left = await streams(server.url)
    assert (process.returncode, err, left) == (0, b"", [])
    assert [row["what"] for row in json.loads(out)["results"]] == WHAT
