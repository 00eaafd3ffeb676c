"""What is special about a file."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from pubsubkit import ConfigurationError, ConsumerOptions, PublisherOptions, TransientError, connect


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://host/events.db", "sqlite://user@/events.db"])
async def test_a_url_without_a_path_says_what_is_expected(url):
    with pytest.raises(ConfigurationError, match=r"sqlite:///path/events\.db"):
        async with connect(url):
            pass


@pytest.mark.parametrize("query", ["synchronous=maybe", "poll=0"])
async def test_a_bad_parameter_is_named(tmp_path: Path, query):
    with pytest.raises(ConfigurationError, match=query.partition("=")[0]):
        async with connect(f"sqlite://{tmp_path}/events.db?{query}"):
            pass


async def test_a_folder_that_does_not_exist_is_not_made(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="create it"):
        async with connect(f"sqlite://{tmp_path}/missing/events.db"):
            pass
    assert not (tmp_path / "missing").exists()


async def test_a_file_that_was_moved_away_takes_no_messages(tmp_path: Path):
    path = tmp_path / "events.db"
    async with connect(f"sqlite://{path}") as backend:
        publisher = backend.publisher(PublisherOptions(stream_name="s", timeout=0.2))
        await publisher.publish("s.x", b"1")
        path.rename(tmp_path / "away.db")
        with pytest.raises(TransientError):
            await publisher.publish("s.x", b"2")
        assert not (await backend.health()).connected
        assert not path.exists()
        (tmp_path / "away.db").rename(path)
        assert (await publisher.publish("s.x", b"3")).sequence == 2


async def test_another_connection_brings_a_message_at_once(tmp_path: Path):
    url = f"sqlite://{tmp_path}/events.db"
    async with connect(url) as reading, connect(url) as writing:
        publisher = writing.publisher(PublisherOptions(stream_name="s"))
        async with (
            publisher,
            reading.consumer(ConsumerOptions(stream_name="s", consumer_name="d")).subscribe() as messages,
        ):
            waiting = asyncio.ensure_future(anext(messages))
            await publisher.publish("s.x", b"1")
            async with asyncio.timeout(5):
                assert (await waiting).data == b"1"


async def test_a_writer_that_takes_too_long_is_a_transient_error(tmp_path: Path):
    path = tmp_path / "events.db"
    async with connect(f"sqlite://{path}?busy_timeout=50ms") as backend:
        publisher = backend.publisher(PublisherOptions(stream_name="s"))
        await publisher.publish("s.x", b"1")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError, match="locked"):
            await publisher.publish("s.x", b"2")
        other.execute("ROLLBACK")
        other.close()
        assert (await publisher.publish("s.x", b"3")).sequence == 2
