"""What the tests of the command line share."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For commands in this process: no broker of the environment, and the test run's logging put back afterwards."""
    monkeypatch.delenv("PUBSUBKIT_URL", raising=False)
    loggers = [logging.getLogger(name) for name in ("", "pubsubkit", "pubsubkit.worker")]
    before = [(each, each.handlers[:], each.level) for each in loggers]
    yield
    for each, handlers, level in before:
        each.handlers[:] = handlers
        each.setLevel(level)
