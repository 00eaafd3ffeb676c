"""Retries, the callback, the window and per-message outcomes, over a memory broker that fails when told to."""

import asyncio
import logging
import traceback
from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest

from pubsubkit import (
    Backend,
    Backoff,
    ClosedError,
    InvalidArgumentError,
    NotFoundError,
    OutgoingMessage,
    PublishBatchError,
    Publisher,
    PublisherOptions,
    PublishReceipt,
    PubSubError,
    TransientError,
)
from pubsubkit.driver import Capability
from pubsubkit_memory import MemoryDriver


class NativeTimeout(Exception):  # noqa: N818
    """What this driver's client library raises."""


class ScriptedDriver(MemoryDriver):
    """A memory driver whose next sends fail as scripted: an error for each attempt, None for success."""

    error_table: ClassVar = {NativeTimeout: TransientError}

    def __init__(self) -> None:
        super().__init__()
        self.script: list[Exception | None] = []
        self.sent: list[list[OutgoingMessage]] = []
        self.gate: asyncio.Event | None = None
        self.fails: Callable[[OutgoingMessage], Exception | None] = lambda _: None

    async def send(self, messages: Sequence[OutgoingMessage], timeout: float) -> Sequence[PublishReceipt | Exception]:
        self.sent.append(list(messages))
        if self.gate is not None:
            await self.gate.wait()
        error = self.script.pop(0) if self.script else None
        if error is not None:
            raise error
        outcomes: list[PublishReceipt | Exception] = []
        for message in messages:
            outcomes += [self.fails(message)] if self.fails(message) else await super().send([message], timeout)
        return outcomes


class Calls:
    """Fakes for the injected sleep and random, and the on_publish callback."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.published: list[tuple[str, BaseException | None, float]] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def on_publish(self, subject: str, error: BaseException | None, latency: float) -> None:
        self.published.append((subject, error, latency))

    @property
    def outcomes(self) -> list[tuple[str, type[BaseException] | None]]:
        return [(subject, type(error) if error else None) for subject, error, _ in self.published]


@pytest.fixture
def driver() -> ScriptedDriver:
    return ScriptedDriver()


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
async def make(driver: ScriptedDriver, calls: Calls):
    """Opens publishers into the stream s with the fakes injected."""
    async with Backend(driver) as backend:

        def publisher(**options: object) -> Publisher:
            backoff = Backoff(initial=0.1, maximum=0.3, jitter=0.5, sleep=calls.sleep, random=lambda: 1.0)
            options = {"stream_name": "s", "retry_backoff": backoff, "on_publish": calls.on_publish, **options}
            return backend.publisher(PublisherOptions(**options))  # type: ignore[arg-type]

        yield publisher


async def test_no_retry_by_default(make, driver: ScriptedDriver, calls: Calls):
    """With retry_attempts=0 the first transient error is raised, with the native one as cause and no message id."""
    driver.script = [native := NativeTimeout("slow")]
    with pytest.raises(TransientError, match=r"publish to 's\.x' on memory://: slow") as caught:
        await make().publish("s.x", b"x")
    assert caught.value.__cause__ is native
    assert (len(driver.sent), driver.sent[0][0].message_id, calls.slept) == (1, None, [])


async def test_no_id_without_deduplication(make, driver: ScriptedDriver):
    """A retried message gets no id where the backend would not know what to do with it."""
    driver.capabilities = driver.capabilities - {Capability.DEDUPLICATION}
    driver.script = [NativeTimeout(), None]
    await make(retry_attempts=1).publish("s.x", b"x")
    assert [batch[0].message_id for batch in driver.sent] == [None, None]


async def test_retries_with_backoff_and_one_id(make, driver: ScriptedDriver, calls: Calls):
    """Transient errors are tried again after growing waits, all attempts under one message id; one callback."""
    driver.script = [NativeTimeout(), TransientError("again"), NativeTimeout(), None]
    receipt = await make(retry_attempts=5).publish("s.x", b"x")
    assert (receipt.sequence, len(driver.sent)) == (1, 4)
    assert len({batch[0].message_id for batch in driver.sent}) == 1
    assert driver.sent[0][0].message_id
    assert calls.slept == pytest.approx([0.05, 0.1, 0.15])
    assert calls.outcomes == [("s.x", None)]
    assert calls.published[0][2] >= 0


async def test_retries_end(make, driver: ScriptedDriver, calls: Calls):
    """After the last attempt the last error is raised and reported once."""
    driver.script = [NativeTimeout("1"), NativeTimeout("2"), NativeTimeout("3")]
    with pytest.raises(TransientError, match="3"):
        await make(retry_attempts=2).publish("s.x", b"x")
    assert calls.outcomes == [("s.x", TransientError)]


@pytest.mark.parametrize("error", [NotFoundError("no"), PubSubError("odd"), RuntimeError("bug")])
async def test_other_errors_are_not_retried(make, driver: ScriptedDriver, calls: Calls, error: Exception):
    """Only transient errors are tried again; an unknown native error is a PubSubError with its cause."""
    driver.script = [error]
    with pytest.raises(PubSubError) as caught:
        await make(retry_attempts=5).publish("s.x", b"x")
    assert error in (caught.value, caught.value.__cause__)
    assert (len(driver.sent), calls.slept) == (1, [])


async def test_a_given_message_id_is_kept(make, driver: ScriptedDriver):
    """A message id of the caller's is used for all attempts; different publishes get different ids."""
    publisher = make(retry_attempts=1)
    driver.script = [NativeTimeout(), None]
    await publisher.publish("s.x", b"x", message_id="mine")
    await publisher.publish("s.x", b"x")
    await publisher.publish("s.x", b"x")
    ids = [batch[0].message_id for batch in driver.sent]
    assert ids[:2] == ["mine", "mine"]
    assert len(set(ids[2:])) == 2


async def test_only_the_failed_of_a_batch_are_sent_again(make, driver: ScriptedDriver):
    """Of a batch with one transient failure only that message is tried again."""

    def once(message: OutgoingMessage) -> Exception | None:
        return NativeTimeout() if message.data == b"1" and len(driver.sent) == 1 else None

    driver.fails = once
    receipts = await make(retry_attempts=1).publish_many(("s.x", b"%d" % number) for number in range(3))
    assert [[message.data for message in batch] for batch in driver.sent] == [[b"0", b"1", b"2"], [b"1"]]
    assert [receipt.sequence for receipt in receipts] == [1, 3, 2]


async def test_callback_for_every_outcome(make, driver: ScriptedDriver, calls: Calls):
    """on_publish hears once of each publish: stored, refused before sending, failed, cancelled, closed."""
    publisher = make(subject_prefix="s")
    await publisher.publish("ok", b"x")
    with pytest.raises(InvalidArgumentError):
        await publisher.publish("bad subject", b"x")
    with pytest.raises(InvalidArgumentError):
        await publisher.publish("ok", "text")
    driver.script = [NativeTimeout()]
    with pytest.raises(TransientError):
        await publisher.publish("failed", b"x")
    driver.gate = asyncio.Event()
    task = asyncio.ensure_future(publisher.publish("cancelled", b"x"))
    while len(driver.sent) < 3:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await publisher.aclose()
    with pytest.raises(ClosedError):
        await publisher.publish("closed", b"x")
    assert calls.outcomes == [
        ("s.ok", None),
        ("s.bad subject", InvalidArgumentError),
        ("s.ok", InvalidArgumentError),
        ("s.failed", TransientError),
        ("s.cancelled", asyncio.CancelledError),
        ("s.closed", ClosedError),
    ]


async def test_callback_for_batches(make, calls: Calls):
    """on_publish is called once per message of publish_many and publish_soon."""
    publisher = make()
    await publisher.publish_many([("s.a", b""), ("s.b", b"")])
    await (await publisher.publish_soon("s.c", b""))
    assert calls.outcomes == [("s.a", None), ("s.b", None), ("s.c", None)]


async def test_failing_callback(make, caplog: pytest.LogCaptureFixture):
    """What on_publish raises is logged and goes no further."""

    def broken(*_: object) -> None:
        raise RuntimeError("in the callback")

    await make(on_publish=broken).publish("s.x", b"x")
    assert "in the callback" in caplog.text
    assert caplog.records[0].name == "pubsubkit.publisher"


async def test_window_bounds_what_is_under_way(make, driver: ScriptedDriver):
    """publish_soon waits for room when the window is full, and goes on in order when there is some."""
    driver.gate = asyncio.Event()
    publisher = make(window=3, on_publish=None)
    futures = [await publisher.publish_soon("s.x", b"%d" % number) for number in range(3)]
    blocked = [asyncio.ensure_future(publisher.publish_soon("s.x", b"%d" % number)) for number in (3, 4)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in blocked)
    driver.gate.set()
    futures += [await task for task in blocked]
    assert [(await future).sequence for future in futures] == [1, 2, 3, 4, 5]


async def test_cancelled_wait_for_room_gives_it_back(make, driver: ScriptedDriver):
    """Cancelling publish_soon while it waits publishes nothing and leaves the window whole."""
    driver.gate = asyncio.Event()
    publisher = make(window=1)
    first = await publisher.publish_soon("s.x", b"0")
    waiting = [asyncio.ensure_future(publisher.publish_soon("s.x", b"cancelled")) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    driver.gate.set()
    await first
    waiting[1].cancel()  # it may hold the room already
    await asyncio.wait(waiting)
    await (await publisher.publish_soon("s.x", b"1"))
    stored = [message.data for batch in driver.sent for message in batch]
    assert stored in ([b"0", b"1"], [b"0", b"cancelled", b"1"])


async def test_unseen_failures_are_raised_by_flush_once(make, driver: ScriptedDriver):
    """Flush raises failures of publish_soon that nobody looked at, and close does not raise them again."""
    publisher = make()
    driver.script = [NativeTimeout()]
    await publisher.publish_soon("s.x", b"lost")
    with pytest.raises(PublishBatchError, match="1 of 1 messages"):
        await publisher.flush()
    await publisher.flush()
    await publisher.aclose()


async def test_seen_failures_are_not_repeated(make, driver: ScriptedDriver):
    """A failure that was awaited, gathered or looked at in its future is not raised again."""
    publisher = make()
    for look in (lambda f: f, asyncio.gather, lambda f: asyncio.wait([f])):
        driver.script = [NativeTimeout()]
        future = await publisher.publish_soon("s.x", b"x")
        try:
            await look(future)
            future.exception()
        except TransientError:
            pass
    await publisher.aclose()


async def test_close_raises_what_was_lost(make, driver: ScriptedDriver, caplog: pytest.LogCaptureFixture):
    """Leaving ``async with`` raises unseen failures, but never hides the block's own exception."""
    with pytest.raises(PublishBatchError):
        async with make() as publisher:
            driver.script = [NativeTimeout()]
            await publisher.publish_soon("s.x", b"x")
    with pytest.raises(KeyError):
        async with make() as publisher:
            driver.script = [NativeTimeout()]
            await publisher.publish_soon("s.x", b"x")
            raise KeyError
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_publish_does_not_overtake_publish_soon(make, driver: ScriptedDriver):
    """A publish right after publish_soon is stored after it, and batches stay in order."""
    publisher = make()
    soon = [await publisher.publish_soon("s.x", b"%d" % number) for number in range(100)]
    last = await publisher.publish("s.x", b"last")
    assert [(await future).sequence for future in soon] == list(range(1, 101))
    assert last.sequence == 101
    assert [len(batch) for batch in driver.sent] == [64, 37]


async def test_publish_many_stops_at_the_first_failure(make, driver: ScriptedDriver):
    """After a failure no more messages are taken; the error names the stored, the failed and by omission the rest."""
    driver.fails = lambda message: NotFoundError("gone") if message.data == b"3" else None
    taken: list[int] = []

    def source():
        for number in range(1000):
            taken.append(number)
            yield ("s.x", b"%d" % number)

    with pytest.raises(PublishBatchError, match="index 3: gone") as caught:
        await make().publish_many(source(), window=2)
    error = caught.value
    assert list(error.failed) == [3]
    assert list(error.stored)[:3] == [0, 1, 2]
    assert len(error.outcomes) == len(taken) < 10


@pytest.mark.parametrize("item", [("s.x",), 7, None, ("s.x", b"", {}, "id", "more")])
async def test_publish_many_items_of_another_shape(make, item: object):
    """Something that is no message is an InvalidArgumentError at its place."""
    with pytest.raises(PublishBatchError) as caught:
        await make().publish_many([("s.x", b"x"), item])
    assert isinstance(caught.value.failed[1], InvalidArgumentError)
    assert list(caught.value.stored) == [0]


async def test_publish_many_of_a_source_that_fails(make, driver: ScriptedDriver):
    """An exception of the iterable passes, and what was taken before is published."""

    async def source():
        yield ("s.x", b"x")
        raise LookupError("in the source")

    publisher = make()
    with pytest.raises(LookupError, match="in the source"):
        await publisher.publish_many(source())
    await publisher.flush()
    assert [message.data for batch in driver.sent for message in batch] == [b"x"]


async def test_close_while_waiting_for_room(make, driver: ScriptedDriver):
    """Closing refuses who waits for room, and waits for what is under way."""
    driver.gate = asyncio.Event()
    publisher = make(window=1)
    future = await publisher.publish_soon("s.x", b"x")
    waiting = asyncio.ensure_future(publisher.publish_soon("s.x", b"y"))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(publisher.aclose())
    with pytest.raises(ClosedError, match="waited for room"):
        await waiting
    driver.gate.set()
    await closing
    assert (await future).sequence == 1


async def test_close_stops_retrying(make, driver: ScriptedDriver, calls: Calls):
    """Closing lets the running attempt end and starts no further one."""
    publisher = make(retry_attempts=1000)
    driver.gate = asyncio.Event()
    driver.script = [NativeTimeout(), NativeTimeout()]
    future = await publisher.publish_soon("s.x", b"x")
    closing = asyncio.ensure_future(publisher.aclose())
    while not driver.sent:
        await asyncio.sleep(0)
    driver.gate.set()
    with pytest.raises(PublishBatchError):
        await closing
    assert isinstance(future.exception(), TransientError)
    assert calls.slept == []


async def test_stream_widened_after_opening(make, driver: ScriptedDriver):
    """A subject that the stream did not hold when the publisher opened is taken when it holds it now."""
    from pubsubkit import StreamOptions

    publisher = make()
    with pytest.raises(NotFoundError):
        await publisher.publish("t.x", b"x")
    await driver.update_stream(StreamOptions(name="s", subjects=("s.>", "t.>")))
    assert (await publisher.publish("t.x", b"x")).sequence == 1


async def test_very_many_subjects(make):
    """A publisher remembers a bounded number of subjects and stays correct beyond it."""
    publisher = make(on_publish=None)
    await publisher.publish_many((f"s.{number}", b"") for number in range(5000))
    assert (await publisher.publish("s.0", b"")).sequence == 5001


async def test_those_who_wait_for_an_opening_share_its_failure(driver: ScriptedDriver, make, monkeypatch):
    """Publishes that wait while the stream is looked up fail with that attempt, and the next one tries anew."""
    asked: list[str] = []
    gate = asyncio.Event()

    async def unanswered(name: str) -> None:
        asked.append(name)
        await gate.wait()
        raise NativeTimeout("no answer")

    publisher = make()
    with monkeypatch.context() as patched:
        patched.setattr(driver, "stream_info", unanswered)
        waiting = [asyncio.ensure_future(publisher.publish("s.x", b"x")) for _ in range(10)]
        await asyncio.sleep(0)
        waiting[3].cancel()
        gate.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {TransientError, asyncio.CancelledError}
        assert len(asked) == 1
        frames = traceback.extract_tb(next(filter(None, (getattr(each, "__traceback__", None) for each in outcomes))))
        assert len(frames) < 15  # not those of all ten
        with pytest.raises(TransientError):
            await publisher.publish("s.x", b"x")
        assert len(asked) == 2
    assert (await publisher.publish("s.x", b"x")).sequence == 1
    assert publisher._opening_failed is None
