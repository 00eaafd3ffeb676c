"""The example of the how-to page about configuration runs as it stands."""

import subprocess
import sys
from pathlib import Path

import pytest

from pubsubkit import connect
from pubsubkit_nats.testing import NatsServer

ROOT = Path(__file__).parents[2]


def orders(monkeypatch: pytest.MonkeyPatch, url: str) -> list[str]:
    """What the example prints when the environment is changed by one variable."""
    monkeypatch.setenv("PUBSUBKIT_URL", url)
    command = [sys.executable, str(ROOT / "examples" / "orders.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


async def test_the_environment_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The example does the same on memory:// and on a real NATS server, and only a variable is different."""
    in_memory = orders(monkeypatch, "memory://")
    async with NatsServer(tmp_path) as server:
        on_nats = orders(monkeypatch, server.url)
        async with connect(server.url) as backend:
            stream, consumer = await backend.stream_info("shop"), await backend.consumer_info("shop", "billing")
    assert in_memory[0] == "on memory://"
    assert on_nats[0] == f"on {server.url}"
    assert (
        in_memory[1:]
        == on_nats[1:]
        == ["billed 12.50 for order 1", "billed 3.99 for order 2", "billed 70.00 for order 3"]
    )
    assert (stream.messages, consumer.num_pending, consumer.num_ack_pending) == (3, 0, 0)
