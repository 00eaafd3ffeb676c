"""Dealing with dead letters on both backends: what is open, publishing again once, and putting away."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from pubsubkit import (
    Backend,
    ClosedError,
    ConflictError,
    ConsumerOptions,
    InvalidArgumentError,
    NotFoundError,
    OutgoingMessage,
    PublisherOptions,
    Storage,
    StreamOptions,
    TransientError,
    connect,
    dead_letters,
)
from pubsubkit.dead_letters import Replay, Selection
from pubsubkit.driver import Driver
from pubsubkit_memory import MemoryDriver
from pubsubkit_nats.testing import NatsServer

PREFIX = "Pubsubkit-Dead-Letter-"
DEAD = "s-dead"
ORIGIN = {"Subject": "s.a.b", "Stream": "s", "Consumer": "d", "Sequence": "7", "Deliveries": "3"}


async def die(backend: Backend, *reasons: str, subject: str = "s.a.b") -> None:
    """Make dead letters: publish a message for each reason, and terminate it with that."""
    async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
        await publisher.publish_many((subject, reason.encode(), {"Trace": "1"}) for reason in reasons)
    options = ConsumerOptions(stream_name="s", consumer_name="d", max_deliver=3, dead_letter=DEAD)
    async with backend.consumer(options).subscribe() as messages:
        for reason in reasons:
            await (await anext(messages)).term(reason)


async def store(backend: Backend, count: int = 1, subject: str = "s.a.b", **origin: str) -> None:
    """Store dead letters as they are, so many of one kind, beside the stream of their originals."""
    await backend.ensure_stream(StreamOptions(name="s"))
    headers = {PREFIX + name: text for name, text in {**ORIGIN, "Subject": subject, **origin}.items() if text}
    async with backend.publisher(PublisherOptions(stream_name=DEAD)) as publisher:
        await publisher.publish_many((f"{DEAD}.{subject}", b"%d" % number, headers) for number in range(count))


async def open_ones(backend: Backend, **selection: object) -> list[int]:
    return [each.sequence async for each in dead_letters.read(backend, DEAD, Selection(**selection))]


async def replay(backend: Backend, **selection: object) -> list[Replay]:
    return [each async for each in dead_letters.replay(backend, DEAD, Selection(**selection))]


async def stored(backend: Backend, stream: str = "s") -> int:
    return (await backend.stream_info(stream)).messages


async def contents(backend: Backend, stream: str = "s") -> list[bytes]:
    """The data of all messages of a stream."""
    count = await stored(backend, stream)
    async with backend.consumer(ConsumerOptions(stream_name=stream)).subscribe() as messages:
        return [(await anext(messages)).data for _ in range(count)]


async def test_a_dead_letter_says_all_of_it(backend: Backend):
    """What is read has the original's data, headers and place, and why it died."""
    await die(backend, "no such order: 17 €")
    (letter,) = [each async for each in dead_letters.read(backend, DEAD)]
    assert letter == await dead_letters.get(backend, DEAD, 1)
    assert (letter.sequence, letter.subject, letter.data) == (1, "s.a.b", "no such order: 17 €".encode())
    assert letter.headers == {"Trace": "1"}
    assert (letter.stream, letter.consumer, letter.original_sequence, letter.deliveries) == ("s", "d", 1, 1)
    assert (letter.reason, letter.error, letter.settled) == ("no such order: 17 €", "", None)


async def test_reading_changes_nothing(backend: Backend):
    """Two who read at the same time both see all of it, again and again, and leave nothing behind."""
    await store(backend, 100)
    for _ in range(2):
        one, two = await asyncio.gather(open_ones(backend), open_ones(backend))
        assert one == two == list(range(1, 101))
    with pytest.raises(NotFoundError):
        await backend.stream_info("s-dead-settled")


async def test_replay_publishes_the_original(backend: Backend):
    """The original is stored in its stream under its subject with its data and headers, and the letter is done."""
    await die(backend, "a", "b")
    outcomes = await replay(backend)
    assert [(each.letter.sequence, each.error) for each in outcomes] == [(1, None), (2, None)]
    assert [each.receipt.sequence for each in outcomes if each.receipt] == [3, 4]
    async with backend.consumer(ConsumerOptions(stream_name="s", deliver_from=3)).subscribe() as messages:
        again = [await anext(messages) for _ in range(2)]
    assert [(each.subject, each.data, each.headers) for each in again] == [
        ("s.a.b", b"a", {"Trace": "1"}),
        ("s.a.b", b"b", {"Trace": "1"}),
    ]
    assert await open_ones(backend) == []
    assert (await dead_letters.get(backend, DEAD, 1)).settled == "replayed"
    assert await replay(backend) == []
    assert await stored(backend) == 4


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        ({"sequences": (2, 4, 99)}, [2, 4]),
        ({"reason": "TIME"}, [1, 3]),
        ({"error": "ValueError"}, [3, 4]),
        ({"error": "shop.ValueError"}, [4]),
        ({"error": "Error"}, []),
        ({"subject": "s.*.b"}, [1, 2, 3]),
        ({"limit": 2}, [1, 2]),
        ({"subject": "s.>", "error": "ValueError", "reason": "timed", "limit": 5}, [3]),
    ],
)
async def test_selections(backend: Backend, selection: dict[str, object], taken: list[int]):
    """What is not selected stays open; what is selected is replayed or purged."""
    await store(backend, Reason="timed out")
    await store(backend, Reason="terminated", Error="KeyError")
    await store(backend, Reason="timed out", Error="ValueError")
    await store(backend, subject="s.x", Error="shop.ValueError")
    assert await open_ones(backend, **selection) == taken
    assert [each.letter.sequence for each in await replay(backend, **selection)] == taken
    left = [number for number in (1, 2, 3, 4) if number not in taken]
    assert await open_ones(backend) == left
    assert [each.sequence async for each in dead_letters.purge(backend, DEAD)] == left
    assert await stored(backend) == len(taken)


@pytest.mark.parametrize("selection", [{"subject": "a..b"}, {"limit": 0}, {"sequences": (0,)}, {"sequences": ("1",)}])
def test_bad_selections(selection: dict[str, object]):
    """What can select nothing is refused."""
    with pytest.raises(InvalidArgumentError):
        Selection(**selection)  # type: ignore[arg-type]


async def test_purge(backend: Backend):
    """What is purged is open no more and published nowhere, but stays stored."""
    await store(backend, 3)
    assert [each.sequence async for each in dead_letters.purge(backend, DEAD, Selection(sequences=(1, 3)))] == [1, 3]
    assert await open_ones(backend) == [2]
    assert (await dead_letters.get(backend, DEAD, 3)).settled == "purged"
    assert (await stored(backend), await stored(backend, DEAD)) == (0, 3)


async def test_what_does_not_exist(backend: Backend):
    """A stream or a number that does not exist is a NotFoundError; an empty stream has no dead letters."""
    with pytest.raises(NotFoundError):
        await open_ones(backend)
    with pytest.raises(NotFoundError):
        await replay(backend)
    await backend.ensure_stream(StreamOptions(name=DEAD))
    assert await open_ones(backend) == []
    with pytest.raises(NotFoundError, match="no dead letter 2"):
        await dead_letters.get(backend, DEAD, 2)
    await store(backend, 3)
    with pytest.raises(NotFoundError, match="no dead letter 4"):
        await dead_letters.get(backend, DEAD, 4)


async def test_what_cannot_be_replayed_stays(backend: Backend):
    """A letter whose stream is gone, or that does not say one, stays open; the others are replayed."""
    await store(backend, 2, Stream="gone")
    await store(backend, 1, Stream="")
    await store(backend, 1, subject="elsewhere.x")
    await store(backend, 1, Deliveries="many", Sequence="²")
    outcomes = await replay(backend)
    assert [type(each.error) for each in outcomes] == [NotFoundError] * 4 + [type(None)]
    assert "does not say which stream" in str(outcomes[2].error)
    assert await open_ones(backend) == [1, 2, 3, 4]
    assert (outcomes[4].letter.deliveries, outcomes[4].letter.original_sequence) == (None, None)
    assert await stored(backend) == 1


async def test_what_comes_meanwhile_is_left_for_the_next_run(backend: Backend):
    """A message that fails again while a run goes on is not replayed in it for ever."""
    await store(backend, 2)
    seen: list[int] = []
    async with aclosing(dead_letters.replay(backend, DEAD)) as outcomes:
        async for outcome in outcomes:
            seen.append(outcome.letter.sequence)
            await store(backend)
    assert seen == [1, 2]
    assert await open_ones(backend) == [3, 4]


async def test_stopping_half_way_loses_nothing(backend: Backend):
    """A run that is left after some outcomes has settled those of whole batches; the next one does the rest."""
    await store(backend, 150)
    async with aclosing(dead_letters.replay(backend, DEAD)) as outcomes:
        async for outcome in outcomes:
            if outcome.letter.sequence == 70:
                break
    assert await open_ones(backend) == list(range(129, 151))
    assert len(await replay(backend)) == 22
    assert sorted(await contents(backend), key=int) == [b"%d" % number for number in range(150)]


async def test_several_operators_at_once(backend: Backend):
    """Runs at the same time store each original once and leave nothing open."""
    await store(backend, 300)
    await asyncio.gather(*(replay(backend) for _ in range(3)))
    assert await open_ones(backend) == []
    assert sorted(await contents(backend), key=int) == [b"%d" % number for number in range(300)]


async def test_notes_of_another_run_count(backend: Backend):
    """What another run settled since this one began is left alone, also when the duplicate window is over."""
    await store(backend, 100)
    await backend.delete_stream("s")
    await backend.ensure_stream(StreamOptions(name="s", duplicate_window=0.1))
    async with aclosing(dead_letters.replay(backend, DEAD)) as outcomes:
        async for outcome in outcomes:
            if outcome.letter.sequence == 64:
                await replay(backend)
                await asyncio.sleep(0.2)  # the duplicate window of the original's stream
            assert outcome.letter.sequence <= 64
    assert await stored(backend) == 100


async def test_a_repeat_after_a_crash_is_stored_once(backend: Backend, monkeypatch: pytest.MonkeyPatch):
    """When originals were stored and the notes were not, the next run finds them there and notes it."""
    await store(backend, 3)

    async def lose(*_: object) -> None:
        raise TransientError("not sent")

    with monkeypatch.context() as patched, pytest.raises(TransientError, match="not sent"):
        patched.setattr("pubsubkit.dead_letters.run.Notes.add", lose)
        await replay(backend)
    assert await stored(backend) == 3
    assert await open_ones(backend) == [1, 2, 3]
    outcomes = await replay(backend)
    assert [each.receipt and each.receipt.duplicate for each in outcomes] == [True] * 3
    assert (await stored(backend), await open_ones(backend)) == (3, [])


@pytest.mark.parametrize("part", ["s.a.b", "s-dead-settled.replayed"])
async def test_a_broker_that_does_not_confirm(monkeypatch: pytest.MonkeyPatch, part: str):
    """When originals or notes are not confirmed the run ends with that error, and the rest stays open."""
    monkeypatch.setattr("pubsubkit.dead_letters.run.RETRIES", 0)
    monkeypatch.setattr("pubsubkit.dead_letters.notes.RETRIES", 0)
    async with connect("memory://") as backend:
        await store(backend, 100)
        send = MemoryDriver.send
        sent: list[str] = []

        async def fail(self: MemoryDriver, messages: Sequence[OutgoingMessage], timeout: float) -> Sequence[object]:
            sent.extend(message.subject for message in messages)
            if sent.count(part) < 10:
                return await send(self, messages, timeout)
            return [TransientError("no answer") for _ in messages]

        with monkeypatch.context() as patched, pytest.raises(TransientError, match="no answer"):
            patched.setattr(MemoryDriver, "send", fail)
            patched.setattr(MemoryDriver, "send_now", Driver.send_now)
            await replay(backend)
        assert len(await open_ones(backend)) == 100
        assert {each.error for each in await replay(backend)} == {None}
        assert await stored(backend) == 100


async def test_a_stream_made_anew_starts_anew(backend: Backend):
    """Notes are about letters and not about numbers: those of a stream that was deleted do not hide new letters."""
    await store(backend, 2)
    await replay(backend)
    await backend.delete_stream(DEAD)
    await store(backend, 2)
    assert await open_ones(backend) == [1, 2]
    assert [each.receipt and each.receipt.duplicate for each in await replay(backend)] == [False, False]


async def test_notes_are_as_durable_as_the_dead_letters(backend: Backend):
    """The stream of notes has the storage and the age of that of the letters; one that forgets earlier is refused."""
    await backend.ensure_stream(StreamOptions(name=DEAD, storage=Storage.FILE, max_age=3600))
    await store(backend)
    await replay(backend)
    found = (await backend.stream_info("s-dead-settled")).options
    assert (found.storage, found.max_age) == (Storage.FILE, 3600)
    await backend.delete_stream(DEAD)
    await store(backend)
    with pytest.raises(ConflictError, match="forgets after 3600 seconds"):
        await replay(backend)


@pytest.mark.parametrize("when", ["at the start", "and others came", "after the first"])
async def test_letters_that_went_while_they_were_read(monkeypatch: pytest.MonkeyPatch, when: str):
    """Letters that their age takes away during a run are not waited for."""
    monkeypatch.setattr("pubsubkit.dead_letters.reading._QUIET_SECONDS", 0.01)
    async with connect("memory://") as backend:
        await backend.ensure_stream(StreamOptions(name=DEAD, max_age=60))
        await store(backend, 3)
        look_up = Backend.stream_info

        async def look_up_and_age(self: Backend, name: str) -> object:
            found = await look_up(self, name)
            self.native.advance(61)  # type: ignore[attr-defined]
            if when == "and others came":
                monkeypatch.setattr(Backend, "stream_info", look_up)
                await store(backend)
            return found

        if when != "after the first":
            monkeypatch.setattr(Backend, "stream_info", look_up_and_age)
            assert await open_ones(backend) == []
            return
        async with aclosing(dead_letters.read(backend, DEAD)) as letters:
            assert (await anext(letters)).sequence == 1
            backend.native.advance(61)  # type: ignore[attr-defined]
            assert [each async for each in letters] == []


async def test_a_backend_that_is_closed_meanwhile(backend: Backend):
    """A list that was not read to its end does not look like one that was."""
    await store(backend, 3)
    async with aclosing(dead_letters.read(backend, DEAD)) as letters:
        assert (await anext(letters)).sequence == 1
        await backend.aclose()
        with pytest.raises(ClosedError):
            [each async for each in letters]


async def test_a_letter_as_large_as_the_broker_takes(tmp_path: Path):
    """A message that has no room for an id is published without one."""
    async with NatsServer(tmp_path, "max_payload: 4096") as server:
        for url in (server.url, "memory://?max_payload=4096"):
            async with connect(url) as backend:
                size = 4096 - len("NATS/1.0\r\nMine: yes\r\n\r\n")
                async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
                    await publisher.publish("s.x", b"x" * size, headers={"Mine": "yes"})
                options = ConsumerOptions(stream_name="s", consumer_name="d", max_deliver=1, dead_letter=DEAD)
                async with backend.consumer(options).subscribe() as messages:
                    await (await anext(messages)).term()
                (letter,) = [each async for each in dead_letters.read(backend, DEAD)]
                assert (letter.subject, letter.stream, letter.reason) == ("s.x", "", "")
                await store(backend, 1)
                run = dead_letters.Run(backend, DEAD)
                assert run._message_id(letter) is None


KILLED = """
import asyncio, os, signal, sys
from pubsubkit import connect, dead_letters
from pubsubkit.hookspecs import hookimpl

class Killer:
    left = int(sys.argv[3])

    @hookimpl
    def pubsubkit_published(self, stream):
        self.left -= stream == sys.argv[2]
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with connect(sys.argv[1], plugins=[Killer()]) as backend:
        async for _ in dead_letters.replay(backend, "s-dead"):
            pass

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(("stream", "open_still"), [("s", 36), ("s-dead-settled", 0)])
async def test_kill_9(server: NatsServer, stream: str, open_still: int):
    """A run that is killed between an original and its note, or amid the notes, loses nothing; the next one stores
    nothing twice.
    """
    async with connect(server.url) as backend:
        await store(backend, 100)
        arguments = (sys.executable, "-c", KILLED, server.url, stream, "80")
        process = await asyncio.create_subprocess_exec(*arguments)
        assert await process.wait() == -signal.SIGKILL
        assert len(await open_ones(backend)) >= open_still
        outcomes = await replay(backend)
        assert len(outcomes) >= open_still
        assert all(each.receipt for each in outcomes)
        assert sum(each.receipt.duplicate for each in outcomes if each.receipt) >= (16 if stream == "s" else 0)
        assert await open_ones(backend) == []
        assert sorted(await contents(backend), key=int) == [b"%d" % number for number in range(100)]
