"""What is special about a file."""

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from pubsubkit import (
    ConfigurationError,
    ConsumerOptions,
    NotFoundError,
    PublisherOptions,
    TransientError,
    connect,
)
from pubsubkit_sqlite import consumers


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


async def cancel_a_call(messages):
    """Cancel a call while it takes a message; return what it leaves to the next one."""
    waiting = asyncio.ensure_future(anext(messages))
    while messages._inner._taking is None:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    return messages._inner._taking


async def test_what_a_cancelled_call_has_taken_is_not_handed_out_late(tmp_path: Path):
    """After a third of ``ack_wait`` the next call takes the message anew, and it counts as never delivered."""
    options = ConsumerOptions(stream_name="s", consumer_name="d", ack_wait=0.6)
    async with connect(f"sqlite://{tmp_path}/events.db") as backend:
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish("s.x", b"1")
        async with backend.consumer(options).subscribe() as messages:
            taking = await cancel_a_call(messages)
            await asyncio.wait([taking])
            taken = taking.result()
            messages._inner._taking = asyncio.get_running_loop().create_future()
            messages._inner._taking.set_result(taken._replace(due=taken.due - 0.3))  # as if half of it had passed
            async with asyncio.timeout(5):
                message = await anext(messages)
            assert message.delivery.row == taken.row
            assert message.delivery.row is not taken.row
            assert message.metadata.num_delivered == 1
            assert await message.ack()


async def test_the_last_delivery_of_a_cancelled_call_is_not_lost_to_who_looks(tmp_path: Path):
    """A lease that nobody has seen runs out, somebody asks for the consumer, and the next call gets the message."""
    options = ConsumerOptions(stream_name="s", consumer_name="d", ack_wait=0.1, max_deliver=1)
    async with connect(f"sqlite://{tmp_path}/events.db") as backend:
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish("s.x", b"1")
        async with backend.consumer(options).subscribe() as messages:
            taking = await cancel_a_call(messages)
            async with asyncio.timeout(5):
                while (await backend.consumer_info("s", "d")).num_ack_pending or not taking.done():
                    await asyncio.sleep(0.01)
                message = await anext(messages)
            assert (message.data, message.metadata.num_delivered) == (b"1", 1)
            assert await message.ack()
            assert (await backend.consumer_info("s", "d")).num_ack_pending == 0


async def leave_a_stale_call(messages):
    """Cancel a call that takes a message, and let the time pass in which the next one may hand it out."""
    taking = await cancel_a_call(messages)
    messages._inner._taking = asyncio.get_running_loop().create_future()
    messages._inner._taking.set_result((await taking)._replace(due=0.0))


@pytest.fixture
async def stale(tmp_path: Path):
    """A member of a consumer, and what a cancelled call has left to it too long ago: the last delivery of a message."""
    options = ConsumerOptions(stream_name="s", consumer_name="d", max_deliver=1)
    async with connect(f"sqlite://{tmp_path}/events.db?busy_timeout=50ms") as backend:
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish("s.x", b"1")
        async with backend.consumer(options).subscribe() as messages:
            await leave_a_stale_call(messages)
            yield messages


async def cancel_while_giving_back(messages):
    """Cancel a call when it has found that what was left to it is to be given back."""
    waiting = asyncio.ensure_future(anext(messages))
    while messages._inner._stale.row is None or messages._inner._taking is None:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])


async def assert_delivered(messages):
    """See that the message comes, as if it had never been delivered."""
    async with asyncio.timeout(5):
        message = await anext(messages)
    assert (message.data, message.metadata.num_delivered) == (b"1", 1)


async def test_a_call_that_gives_back_is_cancelled(stale):
    """The next call gets the message, whatever the file was busy with."""
    going = threading.Event()
    job = asyncio.ensure_future(stale._inner._broker.read(lambda file: going.wait(5)))
    await cancel_while_giving_back(stale)
    going.set()
    assert await job
    await assert_delivered(stale)


async def test_nothing_can_be_given_back_while_the_file_is_locked(stale, tmp_path: Path):
    """The call that tries it fails, and the next one gets the message."""
    other = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TransientError, match="locked"):
        await anext(stale)
    other.execute("ROLLBACK")
    other.close()
    await assert_delivered(stale)


async def test_nothing_can_be_given_back_while_the_file_is_away(stale, tmp_path: Path):
    """The call that tries it gets the message when the file is back, and waits for that without trying all the time."""
    path = tmp_path / "events.db"
    path.rename(tmp_path / "away.db")
    waiting = asyncio.ensure_future(assert_delivered(stale))
    tries = stale._inner._broker.changes
    await asyncio.sleep(0.2)
    assert stale._inner._broker.changes - tries < 20
    (tmp_path / "away.db").rename(path)
    await waiting


async def test_what_could_not_be_given_back_is_given_back_at_the_end(stale, tmp_path: Path):
    """A member that leaves after that gives the message to the next one."""
    path = tmp_path / "events.db"
    path.rename(tmp_path / "away.db")
    await cancel_while_giving_back(stale)
    (tmp_path / "away.db").rename(path)
    await stale.aclose()
    async with stale._consumer.subscribe() as messages:
        await assert_delivered(messages)


async def test_a_late_ack_settles_what_a_cancelled_call_gives_back(tmp_path: Path):
    """A message whose last delivery nobody has seen is settled by the handle of the one before, and stays so."""
    options = ConsumerOptions(stream_name="s", consumer_name="d", max_deliver=2)
    async with connect(f"sqlite://{tmp_path}/events.db") as backend:
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish("s.x", b"1")
        async with backend.consumer(options).subscribe() as first:
            message = await anext(first)
            end = "UPDATE deliveries SET due = 0"
            await first._inner._broker.read(lambda file: file.execute(end).rowcount)
            async with backend.consumer(options).subscribe() as second:
                taking = await cancel_a_call(second)
                assert (await taking).row.delivered == 2
                assert await message.ack()
            assert (await backend.consumer_info("s", "d")).num_ack_pending == 0


async def test_ack_wait_is_lowered_beside_a_member(tmp_path: Path):
    """A member that has joined before hands out what it takes, with the lease that holds now."""
    async with connect(f"sqlite://{tmp_path}/events.db") as backend:
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            before = ConsumerOptions(stream_name="s", consumer_name="d", ack_wait=30)
            async with backend.consumer(before).subscribe() as messages:
                after = ConsumerOptions(stream_name="s", consumer_name="d", ack_wait=1, manage="update")
                async with backend.consumer(after):
                    pass
                await publisher.publish("s.x", b"1")
                async with asyncio.timeout(5):
                    assert (await anext(messages)).data == b"1"


async def test_a_lease_that_ends_while_another_is_looked_for_respects_max_deliver(tmp_path: Path, monkeypatch):
    """What was delivered as often as it may be is not taken because the clock has moved on in between."""
    options = ConsumerOptions(stream_name="s", consumer_name="d", max_deliver=1, ack_wait=30)
    async with connect(f"sqlite://{tmp_path}/events.db") as backend:
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish("s.x", b"1")
        async with backend.consumer(options).subscribe() as messages:
            inner = messages._inner
            monkeypatch.setattr(consumers.time, "time", lambda: 100.0)
            taken = await inner._broker.read(lambda file: consumers.take(file, inner._number))
            assert taken.row.delivered == 1
            later = iter([129.9, *[130.1] * 9])
            monkeypatch.setattr(consumers.time, "time", lambda: next(later))
            again = await inner._broker.read(lambda file: consumers.take(file, inner._number))
            monkeypatch.undo()
            assert again.row is None


async def test_a_member_of_a_file_that_was_replaced_gets_nothing_of_the_new_one(tmp_path: Path):
    """Its consumer is gone with the old file, whatever the new file holds."""
    path = tmp_path / "events.db"
    for name in ("new.db", "events.db"):
        async with connect(f"sqlite://{tmp_path / name}") as backend:
            async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
                await publisher.publish("s.x", name.encode())
            async with backend.consumer(ConsumerOptions(stream_name="s", consumer_name=name[:3])):
                pass
    async with connect(f"sqlite://{path}") as backend:
        messages = backend.consumer(ConsumerOptions(stream_name="s", consumer_name="eve")).subscribe()
        async with messages:
            path.unlink()
            (tmp_path / "new.db").rename(path)
            async with asyncio.timeout(5):
                with pytest.raises(NotFoundError):
                    await anext(messages)
