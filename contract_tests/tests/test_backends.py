"""The contract on the project's own backends; NATS is a real server."""

import asyncio
from collections.abc import Iterator

import pytest

from pubsubkit_contract import ContractSuite
from pubsubkit_nats.testing import NatsServer


class TestMemory(ContractSuite):
    url = "memory://"


@pytest.fixture(scope="class")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for all cases; each case has streams of its own."""
    with asyncio.Runner() as runner:
        server = NatsServer(tmp_path_factory.mktemp("nats"))
        runner.run(server.start())
        yield server.url
        runner.run(server.stop())


class TestNats(ContractSuite):
    def contract_url(self, request: pytest.FixtureRequest) -> str:
        return request.getfixturevalue("nats_url")
