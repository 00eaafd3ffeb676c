"""The pytest plugin: ``--pubsubkit-contract=URL`` runs the contract on the backend of that URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["pytest_addoption", "pytest_configure"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--pubsubkit-contract``."""
    parser.getgroup("pubsubkit").addoption(
        "--pubsubkit-contract",
        metavar="URL",
        help="run the pubsubkit contract on the backend of this URL, e.g. memory:// or nats://localhost:4222",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect the suite when it was asked for, alone or beside the tests that were named."""
    url = config.getoption("--pubsubkit-contract")
    if url is not None:
        _check(url)
        suite = str(Path(__file__).with_name("on_url.py"))
        if config.args_source.name in ("INVOCATION_DIR", "TESTPATHS"):
            config.args[:] = [suite]
        else:
            config.args.append(suite)


def _check(url: str) -> None:
    """Refuse a URL that cannot be opened at once, in one line, instead of in every case."""
    import pytest

    from pubsubkit import ConfigurationError, connect

    try:
        connect(url)
    except ConfigurationError as error:
        raise pytest.UsageError(f"--pubsubkit-contract: {error}") from None
