"""What tests on both backends have in common; third_party is a distribution by itself, with tests of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pubsubkit import Backend, connect
from pubsubkit_nats.testing import NatsServer

collect_ignore = ["third_party"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A running server of the test's own."""
    async with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture(params=["memory", "nats"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """An open backend."""
    server = NatsServer(tmp_path / "nats")
    if request.param == "nats":
        await server.start()
    try:
        async with connect(server.url or "memory://") as opened:
            yield opened
    finally:
        await server.stop()
