"""Dead letters when something fails: the original is never lost, and the copy is what it says."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import pytest

from pubsubkit import (
    Backend,
    Capability,
    ConflictError,
    Consumer,
    ConsumerOptions,
    InvalidArgumentError,
    PublisherOptions,
    PublishReceipt,
    Storage,
    StreamFullError,
    StreamOptions,
    TransientError,
    UnsupportedError,
    Verdict,
)
from pubsubkit.driver import Delivery, OutgoingMessage
from pubsubkit.hookspecs import hookimpl
from pubsubkit_memory import MemoryDriver

DEADLINE = 5.0
MOMENT = 0.05


class FaultyDriver(MemoryDriver):
    """A memory driver whose publishing into the dead letters fails or hangs on demand."""

    failure: Exception | None = None
    gate: asyncio.Event | None = None

    def __init__(self) -> None:
        super().__init__()
        self.tried = asyncio.Event()
        self.sent: list[OutgoingMessage] = []

    async def send(self, messages: Sequence[OutgoingMessage], timeout: float) -> Sequence[PublishReceipt | Exception]:
        if messages[0].subject.startswith("s-dead."):
            self.sent += messages
            self.tried.set()
            if self.gate is not None:
                await self.gate.wait()
            if self.failure is not None:
                return [self.failure]
        return await super().send(messages, timeout)


class Recorder:
    """A plugin that remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    @hookimpl
    def pubsubkit_received(self, subject, num_delivered):
        self.told.append(("received", subject, num_delivered))

    @hookimpl
    def pubsubkit_settled(self, subject, verdict, error):
        self.told.append((verdict, subject, error))

    @hookimpl
    def pubsubkit_published(self, subject, error):
        self.told.append(("published", subject, error))


@pytest.fixture
def driver() -> FaultyDriver:
    return FaultyDriver()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def backend(driver: FaultyDriver, recorder: Recorder) -> AsyncIterator[Backend]:
    """An open backend with two messages in the stream s."""
    async with Backend(driver, plugins=[recorder]) as opened:
        async with opened.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish_many([("s.x", b"1"), ("s.x", b"2")])
        recorder.told.clear()
        yield opened


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a failed move be tried again after a moment."""
    monkeypatch.setattr("pubsubkit.dead_letter._AGAIN_SECONDS", MOMENT)


def reader(backend: Backend, **options: object) -> Consumer:
    given = {"stream_name": "s", "consumer_name": "d", "ack_wait": 60, "max_deliver": 1, "dead_letter": "s-dead"}
    return backend.consumer(ConsumerOptions(**{**given, **options}))  # type: ignore[arg-type]


async def stored(backend: Backend) -> int:
    return (await backend.stream_info("s-dead")).messages


async def becomes(backend: Backend, count: int) -> None:
    """Return when there are *count* dead letters."""
    async with asyncio.timeout(DEADLINE):
        while await stored(backend) != count:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_deliver": None}, "dead_letter needs max_deliver"),
        ({"consumer_name": ""}, "dead_letter needs a consumer_name"),
        ({"dead_letter": "s"}, "dead_letter='s'"),
        ({"dead_letter": "a.b"}, "dead_letter='a.b'"),
        ({"dead_letter": None}, "dead_letter=None"),
    ],
)
def test_options_of_dead_letters(options: dict[str, object], words: str):
    """Dead letters need a limit, a durable consumer and a stream of their own."""
    given = {"stream_name": "s", "consumer_name": "d", "max_deliver": 3, "dead_letter": "s-dead"}
    with pytest.raises(InvalidArgumentError, match=words):
        ConsumerOptions(**{**given, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", [Capability.TERM, Capability.HEADERS, Capability.DELIVERY_COUNT])
async def test_what_the_backend_must_have(driver: FaultyDriver, backend: Backend, missing: Capability):
    """A backend that cannot move messages says so at opening, before anything is made."""
    driver.capabilities -= {missing}
    with pytest.raises(UnsupportedError, match=missing.value):
        await reader(backend).__aenter__()
    driver.capabilities |= {missing}
    assert await driver.stream_info("s-dead") is None


async def test_what_the_backend_need_not_have(driver: FaultyDriver, backend: Backend):
    """The broker's own max_deliver and de-duplication are not needed; without the latter no message id is sent."""
    driver.capabilities -= {Capability.MAX_DELIVER, Capability.DEDUPLICATION}
    async with reader(backend).subscribe() as messages:
        await (await anext(messages)).nak()
    assert [message.message_id for message in driver.sent] == [None]


@pytest.mark.usefixtures("soon")
async def test_a_nak_that_cannot_be_moved_comes_again(
    driver: FaultyDriver, backend: Backend, caplog: pytest.LogCaptureFixture
):
    """When the dead letter cannot be stored, the original is tried again until it can, with warnings; others go on."""
    driver.failure = StreamFullError("maximum messages exceeded")
    async with asyncio.timeout(DEADLINE), reader(backend).subscribe() as messages:
        assert await (await anext(messages)).nak()
        assert await (await anext(messages)).ack()
        waiting = asyncio.ensure_future(anext(messages, None))
        while len(driver.sent) < 3:
            await asyncio.sleep(0.005)
        assert await stored(backend) == 0
        assert (await backend.consumer_info("s", "d")).num_ack_pending == 1
        driver.failure = None
        await becomes(backend, 1)
        assert not waiting.done()
    assert await waiting is None
    assert len({message.message_id for message in driver.sent}) == 1
    warnings = [record for record in caplog.records if "maximum messages exceeded" in record.getMessage()]
    assert len(warnings) >= 3
    assert {record.levelno for record in warnings} == {logging.WARNING}
    assert "'s.x'" in warnings[0].getMessage()


async def test_without_delayed_naks_it_stays_until_its_lease_ends(driver: FaultyDriver, backend: Backend):
    """Where a nak cannot be delayed, a message that cannot be moved comes again after its ack_wait, and is moved."""
    driver.capabilities -= {Capability.NAK_DELAY}
    driver.failure = TransientError("no answer")
    async with asyncio.timeout(DEADLINE), reader(backend, ack_wait=2 * MOMENT).subscribe() as messages:
        assert await (await anext(messages)).nak()
        assert await (await anext(messages)).ack()
        assert (await backend.consumer_info("s", "d")).num_ack_pending == 1
        driver.failure = None
        waiting = asyncio.ensure_future(anext(messages, None))
        await becomes(backend, 1)
    assert await waiting is None


async def test_a_move_without_its_end(
    driver: FaultyDriver, backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """When the original cannot be terminated, the iteration goes on; it is moved again, and stored once."""
    first = reader(backend, ack_wait=2 * MOMENT).subscribe()
    delivery = type((await anext(first)).delivery)
    await first.aclose()
    settle, failures = delivery.settle, [RuntimeError("connection lost")]

    async def lose(self, settlement):
        if settlement.verdict is Verdict.TERM and failures:
            raise failures.pop()
        await settle(self, settlement)

    monkeypatch.setattr(delivery, "settle", lose)
    monkeypatch.setattr(delivery, "settle_now", Delivery.settle_now)
    async with asyncio.timeout(DEADLINE), reader(backend, ack_wait=2 * MOMENT).subscribe() as messages:
        assert await (await anext(messages)).ack()
        waiting = asyncio.ensure_future(anext(messages, None))
        while len(driver.sent) < 2 or (await backend.consumer_info("s", "d")).num_ack_pending:
            await asyncio.sleep(0.005)
    assert await waiting is None
    assert "connection lost" in caplog.text
    assert await stored(backend) == 1


async def test_a_term_that_cannot_be_moved_is_without_a_verdict(
    driver: FaultyDriver, backend: Backend, caplog: pytest.LogCaptureFixture
):
    """When the dead letter cannot be stored, term raises and the handler may decide again."""
    driver.failure = TransientError("no answer")
    async with asyncio.timeout(DEADLINE), reader(backend, max_deliver=5).subscribe() as messages:
        message = await anext(messages)
        with pytest.raises(TransientError, match="no answer"):
            await message.term("bad")
        assert not message.settled
        assert (await backend.consumer_info("s", "d")).num_ack_pending == 1
        driver.failure = None
        assert await message.term("bad")
        assert not await message.term("bad")
    assert "no answer" in caplog.text
    assert await stored(backend) == 1


async def test_a_cancelled_term_can_be_given_again(driver: FaultyDriver, backend: Backend):
    """Cancelling term while it moves leaves the message without a verdict; given again it is stored once."""
    driver.gate = asyncio.Event()
    async with asyncio.timeout(DEADLINE), reader(backend).subscribe() as messages:
        message = await anext(messages)
        terming = asyncio.ensure_future(message.term("bad"))
        await driver.tried.wait()
        terming.cancel()
        await asyncio.wait([terming])
        assert not message.settled
        driver.gate = None
        assert await message.term("bad")
    assert await stored(backend) == 1


async def test_cancelling_anext_while_it_moves(driver: FaultyDriver, backend: Backend):
    """A message delivered too often is moved although the anext that met it was cancelled, and closing waits for it."""
    first = reader(backend).subscribe()
    await anext(first)
    await first.aclose()
    driver.gate = asyncio.Event()
    async with asyncio.timeout(DEADLINE):
        subscription = reader(backend).subscribe()
        waiting = asyncio.ensure_future(anext(subscription))
        await driver.tried.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert (await anext(subscription)).data == b"2"
        closing = asyncio.ensure_future(subscription.drain(0))
        await asyncio.wait([closing], timeout=MOMENT)
        assert not closing.done()
        driver.gate.set()
        await closing
    assert await stored(backend) == 1
    assert [message.data for message in driver.sent] == [b"1"]


async def test_hooks_hear_of_dead_letters(backend: Backend, recorder: Recorder):
    """The handler's verdict and the publish are told; a message that is not handed out is not told as received."""
    async with asyncio.timeout(DEADLINE), reader(backend).subscribe() as messages:
        await (await anext(messages)).nak()
    late = reader(backend).subscribe()
    await anext(late)
    await late.aclose()
    recorder.told.remove(("received", "s.x", 1))
    async with asyncio.timeout(DEADLINE), reader(backend).subscribe() as messages:
        waiting = asyncio.ensure_future(anext(messages, None))
        await becomes(backend, 2)
    await waiting
    assert recorder.told == [
        ("published", "s-dead.s.x", None),
        (Verdict.NAK, "s.x", None),
        ("received", "s.x", 1),
        ("published", "s-dead.s.x", None),
    ]


@pytest.mark.parametrize(
    ("reason", "told"),
    [("a\0b", "a?b"), ("\ud800", "?"), ("x" * 5000, "x" * 1000), (" \n ", "terminated"), ("x" * 999 + " y", "x" * 999)],
)
async def test_any_reason_is_told(backend: Backend, driver: FaultyDriver, reason: str, told: str):
    """Whatever the reason holds, the message is moved, with as much of it as a header can carry."""
    async with asyncio.timeout(DEADLINE), reader(backend).subscribe() as messages:
        assert await (await anext(messages)).term(reason)
    assert driver.sent[0].headers["Pubsubkit-Dead-Letter-Reason"] == told  # type: ignore[index]


async def test_a_stream_that_was_made_anew(backend: Backend):
    """Messages of a stream that was deleted and made again are not taken for those of the first."""
    for count in (1, 2):
        async with asyncio.timeout(DEADLINE), reader(backend).subscribe() as messages:
            await (await anext(messages)).term()
            assert await stored(backend) == count
        await backend.delete_stream("s")
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish("s.x", b"new")


async def test_dead_letters_are_as_durable_as_the_originals(backend: Backend):
    """An existing stream of dead letters in memory beside a stream in files is a ConflictError."""
    await backend.ensure_stream(StreamOptions(name="f", storage=Storage.FILE))
    await backend.ensure_stream(StreamOptions(name="f-dead"))
    with pytest.raises(ConflictError, match="storage"):
        await reader(backend, stream_name="f", dead_letter="f-dead").__aenter__()


@pytest.mark.parametrize(("ack_wait", "window"), [(60, 120), (600, 1200)])
async def test_the_window_covers_the_redelivery(backend: Backend, ack_wait: float, window: float):
    """A dead letter is still known when its message comes again after ack_wait; other consumers share the stream."""
    async with reader(backend, ack_wait=ack_wait), reader(backend, consumer_name="e", ack_wait=30):
        assert (await backend.stream_info("s-dead")).options.duplicate_window == window
