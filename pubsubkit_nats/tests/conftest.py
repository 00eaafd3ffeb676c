"""A real nats-server for each test that asks for one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pubsubkit_nats.testing import NatsServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A running server of the test's own."""
    async with NatsServer(tmp_path / "nats") as running:
        yield running
