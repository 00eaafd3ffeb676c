"""What the portable layer promises in its corners: races, failures, closing; over a memory broker that does as told."""

import asyncio
import dataclasses
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import ClassVar

import pytest

from pubsubkit import (
    Backend,
    Backoff,
    ClosedError,
    ConflictError,
    ConnectionState,
    Consumer,
    ConsumerOptions,
    InvalidArgumentError,
    OutgoingMessage,
    PublishBatchError,
    Publisher,
    PublisherOptions,
    PublishReceipt,
    PubSubError,
    Storage,
    StreamOptions,
    Subscription,
    TransientError,
    Verdict,
)
from pubsubkit.driver import (
    ConsumerInfo,
    ConsumerSpec,
    Delivery,
    DriverSubscription,
    MessageMetadata,
    Settlement,
    StreamInfo,
)
from pubsubkit.hookspecs import hookimpl
from pubsubkit_memory import Broker, MemoryDriver

DEADLINE = 5.0
MOMENT = 0.05
SECRET = "cannot reach nats://user:hunter2@host:4222 now"


class NativeError(Exception):
    """What this driver's client library raises."""


class Gate:
    """Holds up the calls that come to it until it is opened."""

    def __init__(self) -> None:
        self._reached, self._opened = asyncio.Event(), asyncio.Event()

    async def pass_through(self) -> None:
        self._reached.set()
        await self._opened.wait()

    async def reached(self) -> None:
        async with asyncio.timeout(DEADLINE):
            await self._reached.wait()

    def open(self) -> None:
        self._opened.set()


class StubDriver(MemoryDriver):
    """A memory driver whose calls are noted, take a turn of the loop, and can be held up or made to fail."""

    error_table: ClassVar = {NativeError: TransientError}

    def __init__(self, broker: Broker | None = None) -> None:
        super().__init__(broker)
        self.calls: list[str] = []
        self.gates: dict[str, Gate] = {}
        self.failures: dict[str, BaseException] = {}
        self.is_open = False
        self.on_state: Callable[[ConnectionState, Exception | None], None] = lambda *_: None
        self.sent: list[OutgoingMessage] = []
        self.answer: Callable[[Sequence[OutgoingMessage]], Sequence[PublishReceipt | Exception] | None] = lambda _: None
        self.settled: list[tuple[bytes, Settlement]] = []
        self.members: list[StubSubscription] = []

    def hold(self, call: str) -> Gate:
        """Hold up every *call* from now on, until the gate is opened."""
        self.gates[call] = gate = Gate()
        return gate

    def let_go(self) -> None:
        """End all that was arranged."""
        for gate in self.gates.values():
            gate.open()
        self.gates.clear()
        self.failures.clear()

    async def step(self, call: str) -> None:
        self.calls.append(call)
        await asyncio.sleep(0)  # as every call to a broker
        if call in self.gates:
            await self.gates[call].pass_through()
        if call in self.failures:
            raise self.failures[call]

    async def open(self, on_state: Callable[[ConnectionState, Exception | None], None]) -> None:
        await self.step("open")
        await super().open(on_state)
        self.on_state = on_state
        self.is_open = True

    async def aclose(self) -> None:
        self.is_open = False
        await super().aclose()
        await self.step("aclose")

    async def ping(self) -> None:
        await self.step("ping")

    async def stream_info(self, name: str) -> StreamInfo | None:
        await self.step("stream_info")
        return await super().stream_info(name)

    async def create_stream(self, options: StreamOptions) -> None:
        await self.step("create_stream")
        await super().create_stream(options)

    async def consumer_info(self, stream: str, name: str) -> ConsumerInfo | None:
        await self.step("consumer_info")
        return await super().consumer_info(stream, name)

    async def create_consumer(self, spec: ConsumerSpec) -> None:
        await self.step("create_consumer")
        await super().create_consumer(spec)

    async def subscribe(self, spec: ConsumerSpec, buffer: int) -> DriverSubscription:
        await self.step("subscribe")
        self.members.append(StubSubscription(self, await super().subscribe(spec, buffer)))
        return self.members[-1]

    async def send(self, messages: Sequence[OutgoingMessage], timeout: float) -> Sequence[PublishReceipt | Exception]:
        self.sent += messages
        await self.step("send")
        given = self.answer(messages)
        return await super().send(messages, timeout) if given is None else given


class StubSubscription(DriverSubscription):
    serving = True

    def __init__(self, driver: StubDriver, inner: DriverSubscription) -> None:
        self.driver, self.inner = driver, inner

    @property
    def consuming(self) -> bool:
        return self.serving

    async def receive(self) -> Delivery | None:
        if "receive" in self.driver.failures:
            raise self.driver.failures["receive"]
        delivery = await self.inner.receive()
        return None if delivery is None else StubDelivery(self.driver, delivery)

    async def aclose(self, held: Sequence[Delivery]) -> None:
        await self.driver.step("unsubscribe")
        await self.inner.aclose(held)


class StubDelivery(Delivery):
    def __init__(self, driver: StubDriver, inner: Delivery) -> None:
        self.driver, self.inner = driver, inner
        self.subject, self.data = inner.subject, inner.data

    @property
    def key(self) -> object:
        return self.inner.key

    @property
    def headers(self) -> Mapping[str, str]:
        return self.inner.headers

    @property
    def metadata(self) -> MessageMetadata:
        return self.inner.metadata

    async def settle(self, settlement: Settlement) -> None:
        await self.driver.step("settle")
        self.driver.settled.append((self.data, settlement))
        self.driver.calls.append("settled")
        await self.inner.settle(settlement)


class Recorder:
    """A plugin that remembers what it is told."""

    def __init__(self) -> None:
        self.retrying: list[tuple[str, str, Exception, int, float]] = []
        self.settled: list[tuple[Verdict, Exception | None]] = []
        self.latencies: list[float] = []

    @hookimpl
    def pubsubkit_retrying(self, stream, subject, error, attempt, delay):
        self.retrying.append((stream, subject, error, attempt, delay))

    @hookimpl
    def pubsubkit_settled(self, verdict, error):
        self.settled.append((verdict, error))

    @hookimpl
    def pubsubkit_published(self, latency):
        self.latencies.append(latency)


@pytest.fixture
def driver() -> StubDriver:
    return StubDriver()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def backend(driver: StubDriver, recorder: Recorder) -> AsyncIterator[Backend]:
    """An open backend on the stub."""
    opened = await Backend(driver, plugins=[recorder]).open()
    yield opened
    driver.let_go()
    async with asyncio.timeout(DEADLINE):
        await asyncio.wait([asyncio.ensure_future(opened.aclose())])


@pytest.fixture
async def stocked(backend: Backend) -> Backend:
    """The backend with three messages in the stream s."""
    async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
        for data in (b"1", b"2", b"3"):
            await publisher.publish("s.x", data)
    return backend


def writer(backend: Backend, **options: object) -> Publisher:
    return backend.publisher(PublisherOptions(**{"stream_name": "s", **options}))  # type: ignore[arg-type]


def reader(backend: Backend, **options: object) -> Consumer:
    return backend.consumer(ConsumerOptions(**{"stream_name": "s", "consumer_name": "d", **options}))  # type: ignore[arg-type]


async def ended(task: asyncio.Future) -> BaseException | None:
    """Wait until *task* has ended by itself; return what it raised."""
    await asyncio.wait([task], timeout=DEADLINE)
    assert task.done(), "it hangs"
    return asyncio.CancelledError() if task.cancelled() else task.exception()


async def waits(task: asyncio.Future) -> bool:
    """Whether *task* is still not done when it had ample opportunity."""
    await asyncio.wait([task], timeout=MOMENT)
    return not task.done()


# Publishing


async def test_windows_are_kept_apart(backend: Backend, driver: StubDriver):
    """publish_many with a window of its own beside publish_soon returns each place to the window it came from."""
    publisher = writer(backend, window=2)
    await publisher.publish("s.x", b"")  # opened, so that what follows is taken in one turn
    async with asyncio.timeout(DEADLINE):
        for _ in range(3):
            await publisher.publish_soon("s.x", b"soon")
            assert len(await publisher.publish_many([("s.x", b"many")] * 3, window=1)) == 3
            many = asyncio.ensure_future(publisher.publish_many([("s.x", b"many")] * 3, window=1))
            await asyncio.gather(many, asyncio.ensure_future(publisher.publish_soon("s.x", b"soon")))
        await publisher.flush()
        gate = driver.hold("send")
        taken = [await publisher.publish_soon("s.x", b"") for _ in range(2)]
        third = asyncio.ensure_future(publisher.publish_soon("s.x", b""))
        assert await waits(third)
        gate.open()
        await asyncio.gather(*taken, await third)


async def test_latency_is_in_seconds(backend: Backend, driver: StubDriver, recorder: Recorder):
    """on_publish and the published hook get the latency in seconds, the broker's time included."""
    latencies: list[float] = []
    publisher = writer(backend, on_publish=lambda _subject, _error, latency: latencies.append(latency))
    await publisher.publish("s.x", b"")
    gate = driver.hold("send")
    asyncio.get_running_loop().call_later(0.1, gate.open)
    await publisher.publish("s.x", b"")
    for heard in (latencies, recorder.latencies):
        assert len(heard) == 2
        assert 0.08 <= heard[1] < DEADLINE


async def test_message_ids_of_publishers_do_not_collide(backend: Backend, driver: StubDriver):
    """Publishers that make message ids for their retries lose nothing to each other's de-duplication."""
    async with Backend(StubDriver(driver.native)) as other:
        publishers = [writer(backend, retry_attempts=1), writer(backend, retry_attempts=1)]
        publishers.append(writer(other, retry_attempts=1))
        receipts = [await publisher.publish("s.x", b"") for _ in range(3) for publisher in publishers]
    assert [receipt.sequence for receipt in receipts] == list(range(1, 10))
    assert not any(receipt.duplicate for receipt in receipts)
    assert (await backend.stream_info("s")).messages == 9


async def test_the_subjects_remembered_are_bounded(backend: Backend):
    """A publisher does not hold on to every subject that it ever published to."""

    class Subject(str):
        __slots__ = ("__weakref__",)

    publisher, alive = writer(backend, subject_prefix="s"), weakref.WeakSet[Subject]()

    async def publish(count: int) -> None:
        for number in range(count):
            subject = Subject(f"x{number}")
            alive.add(subject)
            await publisher.publish(subject, b"")

    await publish(20_000)
    gc.collect()
    assert len(alive) <= 10_000


async def test_a_publisher_opened_by_many_provisions_once(backend: Backend, driver: StubDriver):
    """Concurrent first publishes ask the broker no more than a single one does."""
    await writer(backend, stream_name="one").publish("one.x", b"")
    alone = [call for call in driver.calls if "stream" in call]
    driver.calls.clear()
    publisher = writer(backend)
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(publisher.publish("s.x", b"") for _ in range(10)))
    assert [call for call in driver.calls if "stream" in call] == alone
    assert alone.count("create_stream") == 1


async def test_the_retrying_hook(backend: Backend, driver: StubDriver, recorder: Recorder):
    """The retrying hook hears before each wait of the stream, the subject, the error, the attempt and the delay."""
    answers: list[Exception] = [NativeError("first"), TransientError("second")]
    driver.answer = lambda messages: [answers.pop(0)] if answers else None
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        assert len(recorder.retrying) == len(slept) + 1
        slept.append(seconds)

    backoff = Backoff(initial=0.25, jitter=0, sleep=sleep)
    await writer(backend, retry_attempts=5, retry_backoff=backoff).publish("s.x", b"")
    assert [(stream, subject, attempt, delay) for stream, subject, _, attempt, delay in recorder.retrying] == [
        ("s", "s.x", 1, 0.25),
        ("s", "s.x", 2, 0.5),
    ]
    errors = [error for _, _, error, _, _ in recorder.retrying]
    assert all(isinstance(error, TransientError) for error in errors)
    assert [str(error).rpartition(": ")[2] for error in errors] == ["first", "second"]
    assert slept == [0.25, 0.5]


async def test_publish_many_with_the_default_window_stops_at_the_first_failure(backend: Backend, driver: StubDriver):
    """With the window of the options, too, publish_many takes only a few more messages after a failure."""
    taken = 0

    def refuse(messages: Sequence[OutgoingMessage]) -> Sequence[PublishReceipt | Exception]:
        return [
            NativeError("gone") if message.data == b"3" else PublishReceipt("s", int(message.data) + 1)
            for message in messages
        ]

    def source():
        nonlocal taken
        for number in range(100_000):
            taken += 1
            yield ("s.x", b"%d" % number)

    driver.answer = refuse
    with pytest.raises(PublishBatchError, match="index 3") as caught:
        await writer(backend).publish_many(source())
    assert list(caught.value.failed) == [3]
    assert len(caught.value.outcomes) == taken < 2000


async def test_closing_a_publisher_waits_for_publish(backend: Backend, driver: StubDriver):
    """Closing returns when a publish that was under way has its receipt."""
    publisher = await writer(backend).__aenter__()
    gate = driver.hold("send")
    publishing = asyncio.ensure_future(publisher.publish("s.x", b""))
    await gate.reached()
    closing = asyncio.ensure_future(publisher.aclose())
    assert await waits(closing)
    gate.open()
    assert await ended(closing) is None
    assert publishing.done()
    assert publishing.result().sequence == 1


@pytest.mark.parametrize("use", ["publish", "publish_soon", "enter"])
async def test_a_publisher_closed_while_opening_does_not_publish(backend: Backend, driver: StubDriver, use: str):
    """Who was still opening the publisher when it was closed gets a ClosedError, and nothing is sent."""
    publisher = writer(backend)
    calls = {
        "publish": lambda: publisher.publish("s.x", b""),
        "publish_soon": lambda: publisher.publish_soon("s.x", b""),
        "enter": publisher.__aenter__,
    }
    gate = driver.hold("stream_info")
    using = asyncio.ensure_future(calls[use]())
    await gate.reached()
    closing = asyncio.ensure_future(publisher.aclose())
    await waits(closing)
    gate.open()
    assert await ended(closing) is None
    assert isinstance(await ended(using), ClosedError)
    assert driver.sent == []


@pytest.mark.parametrize("soon", [False, True])
async def test_closing_a_publisher_ends_the_wait_for_a_retry(backend: Backend, driver: StubDriver, soon: bool):
    """Closing does not sit out the wait before the next attempt: the message fails with the last error."""
    waiting = asyncio.Event()

    async def sleep(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    driver.answer = lambda messages: [NativeError("lost")] * len(messages)
    publisher = writer(backend, retry_attempts=10, retry_backoff=Backoff(sleep=sleep))

    async def publish() -> PublishReceipt:
        return await (await publisher.publish_soon("s.x", b"")) if soon else await publisher.publish("s.x", b"")

    publishing = asyncio.ensure_future(publish())
    async with asyncio.timeout(DEADLINE):
        await waiting.wait()
        await publisher.aclose()
    assert isinstance(await ended(publishing), TransientError)
    assert len(driver.sent) == 1


@pytest.mark.parametrize("retry_attempts", [0, 2])
@pytest.mark.parametrize("surplus", [-1, 1])
async def test_a_wrong_number_of_outcomes(backend: Backend, driver: StubDriver, surplus: int, retry_attempts: int):
    """A driver that does not return one outcome for each message fails all of them; nobody waits for ever."""
    publisher = await writer(backend, retry_attempts=retry_attempts).__aenter__()
    driver.answer = lambda messages: [PublishReceipt("s", 1)] * (len(messages) + surplus)
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(PubSubError):
            await publisher.publish("s.x", b"")
        futures = [await publisher.publish_soon("s.x", b"") for _ in range(3)]
        for future in futures:
            with pytest.raises(PubSubError):
                await future
        with pytest.raises(PublishBatchError) as caught:
            await publisher.publish_many([("s.x", b"")] * 3)
        assert list(caught.value.failed) == [0, 1, 2]
        await publisher.aclose()


async def test_a_driver_that_cancels_itself(backend: Backend, driver: StubDriver):
    """A CancelledError of the driver's own is a failure of the message: publish raises it and flush reports it."""
    publisher = await writer(backend).__aenter__()
    driver.failures["send"] = asyncio.CancelledError()
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(PubSubError):
            await publisher.publish("s.x", b"")
        await publisher.publish_soon("s.x", b"")
        with pytest.raises(PublishBatchError, match="1 of 1"):
            await publisher.flush()


@pytest.mark.parametrize("window", [0, -1, "3", 1.5])
async def test_a_bad_window_of_publish_many(backend: Backend, window: object):
    """publish_many refuses a window that is no whole number of at least 1 before it takes anything."""
    taken: list[int] = []

    def source():
        taken.append(1)
        yield ("s.x", b"")

    async with asyncio.timeout(DEADLINE):
        with pytest.raises(InvalidArgumentError, match="window"):
            await writer(backend).publish_many(source(), window=window)  # type: ignore[arg-type]
    assert taken == []


@pytest.mark.parametrize("call", ["publish", "publish_soon"])
@pytest.mark.parametrize(
    ("subject", "headers"),
    [(["a"], None), ({"a": 1}, None), (None, None), (7, None), ("s.x", [("a", "b")]), ("s.x", "a: b"), ("s.x", 7)],
)
async def test_arguments_of_a_wrong_type(backend: Backend, driver: StubDriver, call: str, subject, headers):
    """A subject that is no text, or headers that are no mapping, are an InvalidArgumentError and nothing is sent."""
    with pytest.raises(InvalidArgumentError):
        await getattr(writer(backend), call)(subject, b"", headers=headers)
    assert driver.sent == []


# Verdicts


async def test_given_back_messages_are_settled(stocked: Backend, driver: StubDriver):
    """Closing a subscription settles what it gives back: a later verdict is False and does not reach the broker."""
    subscription = reader(stocked).subscribe()
    messages = [await anext(subscription) for _ in range(2)]
    await subscription.aclose()
    given_back = list(driver.settled)
    assert [(data, settlement.verdict) for data, settlement in given_back] == [(b"1", Verdict.NAK), (b"2", Verdict.NAK)]
    assert all(message.settled for message in messages)
    for message in messages:
        assert [await message.ack(), await message.nak(), await message.term(), await message.in_progress()] == [
            False
        ] * 4
    assert driver.settled == given_back


async def test_in_progress_once_closing_has_begun(stocked: Backend, driver: StubDriver):
    """As soon as closing has begun, in_progress is False and does not reach the broker."""
    subscription = reader(stocked).subscribe()
    message = await anext(subscription)
    assert await message.in_progress()
    assert [settlement.verdict for _, settlement in driver.settled] == [Verdict.IN_PROGRESS]
    closing = asyncio.ensure_future(subscription.aclose())
    while not subscription.closed:
        await asyncio.sleep(0)
    assert not await message.in_progress()
    await closing
    assert not await message.in_progress()
    assert [settlement.verdict for _, settlement in driver.settled] == [Verdict.IN_PROGRESS, Verdict.NAK]


async def test_close_gives_back_only_what_has_no_verdict(stocked: Backend, driver: StubDriver):
    """Closing gives back the messages without a verdict and no others."""
    subscription = reader(stocked, deliver_from="all").subscribe()
    acked, termed, _ = [await anext(subscription) for _ in range(3)]
    await acked.ack()
    await termed.term()
    await subscription.aclose()
    assert [(data, settlement.verdict) for data, settlement in driver.settled] == [
        (b"1", Verdict.ACK),
        (b"2", Verdict.TERM),
        (b"3", Verdict.NAK),
    ]


@pytest.mark.parametrize("verdict", ["ack", "nak", "term"])
async def test_a_subscription_forgets_what_is_settled(stocked: Backend, verdict: str):
    """A subscription does not hold on to a message that has its verdict."""
    async with reader(stocked).subscribe() as subscription:
        message = await anext(subscription)
        delivery = weakref.ref(message.delivery)
        assert await getattr(message, verdict)()
        del message
        gc.collect()
        assert delivery() is None


async def test_a_cancelled_verdict_can_be_given_again(stocked: Backend, driver: StubDriver):
    """A verdict that was cancelled on its way leaves the message without one, and the next one goes through."""
    async with reader(stocked).subscribe() as subscription:
        message = await anext(subscription)
        gate = driver.hold("settle")
        acking = asyncio.ensure_future(message.ack())
        await gate.reached()
        acking.cancel()
        assert isinstance(await ended(acking), asyncio.CancelledError)
        driver.let_go()
        assert not message.settled
        assert await message.ack()
        assert message.settled
    assert {(data, settlement.verdict) for data, settlement in driver.settled} == {(b"1", Verdict.ACK)}


async def test_the_reason_of_term(stocked: Backend, driver: StubDriver):
    """The reason of term reaches the driver, as one line."""
    async with reader(stocked).subscribe() as subscription:
        await (await anext(subscription)).term("  bad\n\tpayload,\r\n line two ")
        await (await anext(subscription)).term()
    assert driver.settled == [
        (b"1", Settlement(Verdict.TERM, reason="bad payload, line two")),
        (b"2", Settlement(Verdict.TERM)),
    ]


async def test_the_settled_hook_hears_of_failures(stocked: Backend, driver: StubDriver, recorder: Recorder):
    """The settled hook is told the error that the caller of a failed verdict gets, and None of one that succeeds."""
    async with reader(stocked).subscribe() as subscription:
        message = await anext(subscription)
        driver.failures["settle"] = NativeError("not sent")
        with pytest.raises(TransientError, match="not sent") as caught:
            await message.ack()
        driver.failures.clear()
        await message.ack()
        assert recorder.settled == [(Verdict.ACK, caught.value), (Verdict.ACK, None)]


async def test_an_ack_under_way_when_the_backend_closes(stocked: Backend, driver: StubDriver):
    """Closing waits for a verdict that is on its way, and closes the driver only then."""
    subscription = reader(stocked).subscribe()
    message = await anext(subscription)
    gate = driver.hold("settle")
    acking = asyncio.ensure_future(message.ack())
    await gate.reached()
    closing = asyncio.ensure_future(stocked.aclose())
    assert await waits(closing)
    assert "aclose" not in driver.calls
    gate.open()
    assert await ended(closing) is None
    assert await acking
    assert driver.calls.index("settled") < driver.calls.index("aclose")
    assert [(data, settlement.verdict) for data, settlement in driver.settled] == [(b"1", Verdict.ACK)]


async def test_a_subscription_opened_by_many_joins_once(stocked: Backend, driver: StubDriver):
    """Concurrent first uses of one subscription create one consumer and join it once."""
    subscription = reader(stocked).subscribe()
    driver.calls.clear()
    async with asyncio.timeout(DEADLINE):
        entered = subscription.__aenter__()
        _, *messages = await asyncio.gather(entered, *(anext(subscription) for _ in range(3)))
    assert sorted(message.data for message in messages) == [b"1", b"2", b"3"]
    assert [driver.calls.count(call) for call in ("create_consumer", "subscribe")] == [1, 1]
    await subscription.aclose()
    assert driver.calls.count("unsubscribe") == 1


# Provisioning


async def test_a_stream_that_only_overlaps_is_a_conflict(backend: Backend):
    """A stream that holds some but not all of the wanted subjects is a ConflictError and stays as it is."""
    held = await backend.ensure_stream(StreamOptions(name="s", subjects=("s.a.*", "s.b")))
    for wanted in ("s.>", "s.a.>", "s.*"):
        with pytest.raises(ConflictError, match="subjects: "):
            await backend.ensure_stream(StreamOptions(name="s", subjects=(wanted,)))
    with pytest.raises(ConflictError, match="subjects: "):
        await writer(backend).publish("s.b", b"")
    assert await backend.ensure_stream(StreamOptions(name="s", subjects=("s.a.x", "s.b"))) == held


class Racer(StubDriver):
    """A stub on which another creator comes first, between the look-up and the creation."""

    first_stream: StreamOptions | None = None
    first_consumer: Mapping[str, object] | None = None

    async def create_stream(self, options: StreamOptions) -> None:
        if self.first_stream is not None:
            await super().create_stream(self.first_stream)
            raise ConflictError("stream name already in use")
        await super().create_stream(options)

    async def create_consumer(self, spec: ConsumerSpec) -> None:
        if self.first_consumer is not None:
            await super().create_consumer(dataclasses.replace(spec, **self.first_consumer))  # type: ignore[arg-type]
            raise ConflictError("consumer already exists")
        await super().create_consumer(spec)


@pytest.fixture
async def racer() -> AsyncIterator[tuple[Racer, Backend]]:
    """A driver that loses races, and its open backend."""
    driver = Racer()
    async with Backend(driver) as backend:
        yield driver, backend


async def test_losing_the_race_for_a_stream(racer: tuple[Racer, Backend]):
    """When another creates the stream at the same time and it holds what is wanted, opening succeeds."""
    driver, backend = racer
    driver.first_stream = StreamOptions(name="s", subjects=("s.>", "t.>"), storage=Storage.FILE)
    assert (await writer(backend).publish("s.x", b"")).sequence == 1
    async with reader(backend).subscribe() as subscription:
        assert (await anext(subscription)).data == b""
    found = await backend.stream_info("s")
    assert (found.options.subjects, found.options.storage) == (("s.>", "t.>"), Storage.FILE)


async def test_losing_the_race_for_a_stream_to_another_one(racer: tuple[Racer, Backend]):
    """When the stream that another created at the same time is not enough, the ConflictError lists what differs."""
    driver, backend = racer
    driver.first_stream = StreamOptions(name="s", subjects=("s.a",), max_messages=5)
    wanted = StreamOptions(name="s", storage=Storage.FILE, max_messages=9)
    with pytest.raises(ConflictError) as caught:
        await writer(backend, stream=wanted).publish("s.x", b"")
    for line in ("- subjects: s.a -> s.a, s.>", "- storage: memory -> file", "- max_messages: 5 -> 9"):
        assert line in str(caught.value).splitlines()
    assert driver.sent == []


async def test_a_consumer_that_loses_the_race_for_a_stream(racer: tuple[Racer, Backend]):
    """A consumer takes the stream that another creates at the same time as it is, and hears of other conflicts."""
    driver, backend = racer
    driver.first_stream = StreamOptions(name="s", subjects=("s.a",), storage=Storage.FILE)
    async with reader(backend).subscribe():
        assert (await backend.stream_info("s")).options.subjects == ("s.a",)
    driver.first_stream = None
    with pytest.raises(ConflictError, match="a subject belongs to one stream"):
        await (
            reader(backend, stream_name="t", stream=StreamOptions(name="t", subjects=("s.*",))).subscribe().__aenter__()
        )
    await backend.ensure_stream(StreamOptions(name="u", subjects=("v.>",)))
    with pytest.raises(ConflictError, match="a subject belongs to one stream"):
        await reader(backend, stream_name="v").subscribe().__aenter__()


async def test_losing_the_race_for_a_consumer(racer: tuple[Racer, Backend]):
    """When another creates the same durable at the same time, but for its start, opening joins it."""
    driver, backend = racer
    await writer(backend).publish("s.x", b"old")
    driver.first_consumer = {"deliver_from": "new"}
    async with reader(backend).subscribe() as subscription:
        await writer(backend).publish("s.x", b"new")
        assert (await anext(subscription)).data == b"new"


async def test_losing_the_race_for_a_consumer_to_another_one(racer: tuple[Racer, Backend]):
    """When the durable that another created at the same time differs, the ConflictError lists how."""
    driver, backend = racer
    driver.first_consumer = {"ack_wait": 7.5, "filter_subject": "s.a"}
    with pytest.raises(ConflictError) as caught:
        await reader(backend, ack_wait=2.5).subscribe().__aenter__()
    for line in ("- ack_wait: 7.5 -> 2.5", "- filter_subject: 's.a' -> ''"):
        assert line in str(caught.value).splitlines()
    assert "subscribe" not in driver.calls


async def test_too_few_replicas_are_a_conflict(backend: Backend):
    """A stream with fewer replicas than wanted is a ConflictError; one with more is taken."""
    await backend.ensure_stream(StreamOptions(name="s", replicas=2))
    with pytest.raises(ConflictError, match="replicas: 2 -> 3"):
        await backend.ensure_stream(StreamOptions(name="s", replicas=3))
    assert (await backend.ensure_stream(StreamOptions(name="s", replicas=1))).replicas == 2
    assert (await backend.ensure_stream(StreamOptions(name="s", replicas=3), manage="update")).replicas == 3


@pytest.mark.parametrize("limit", ["max_messages", "max_bytes"])
@pytest.mark.parametrize(("have", "want"), [("old", "new"), ("new", "old")])
async def test_another_discard_is_a_conflict(backend: Backend, limit: str, have, want):
    """A stream that does the other thing at its limit is a ConflictError, also under manage='update'."""
    await backend.ensure_stream(StreamOptions(name="s", discard=have, **{limit: 5}))
    for manage in ("create", "update"):
        with pytest.raises(ConflictError, match=f"discard: '{have}' -> '{want}'"):
            await backend.ensure_stream(StreamOptions(name="s", discard=want, **{limit: 5}), manage=manage)


async def test_update_raises_the_duplicate_window(backend: Backend):
    """manage='update' widens the duplicate window, and never narrows it."""
    await backend.ensure_stream(StreamOptions(name="s", duplicate_window=10))
    wider = StreamOptions(name="s", duplicate_window=20)
    with pytest.raises(ConflictError, match="duplicate_window: 10 -> 20"):
        await backend.ensure_stream(wider)
    assert (await backend.ensure_stream(wider, manage="update")).duplicate_window == 20
    assert (await backend.stream_info("s")).options.duplicate_window == 20
    with pytest.raises(ConflictError, match="duplicate_window"):
        await backend.ensure_stream(StreamOptions(name="s", duplicate_window=10), manage="update")


class Nanoseconds(StubDriver):
    """A stub that keeps times as brokers do: in whole nanoseconds."""

    async def create_stream(self, options: StreamOptions) -> None:
        times = {name: getattr(options, name) for name in ("max_age", "duplicate_window")}
        await super().create_stream(dataclasses.replace(options, **self._kept(times)))  # type: ignore[arg-type]

    async def create_consumer(self, spec: ConsumerSpec) -> None:
        await super().create_consumer(dataclasses.replace(spec, **self._kept({"ack_wait": spec.ack_wait})))  # type: ignore[arg-type]

    def _kept(self, times: Mapping[str, float | None]) -> dict[str, float | None]:
        return {name: value if value is None else round(value * 1e9) / 1e9 for name, value in times.items()}


@pytest.mark.parametrize("make", [StubDriver, Nanoseconds])
@pytest.mark.parametrize("seconds", [0.1 * 3, 1 / 3, 2 / 3, 86_400 / 7])
async def test_uneven_times_can_be_opened_again(make: Callable[[], StubDriver], seconds: float):
    """The options that created a stream and a consumer open them again, whatever floats they hold."""
    stream = StreamOptions(name="s", max_age=seconds, duplicate_window=min(seconds, 1 / 3))
    async with Backend(make()) as backend:
        for _ in range(2):
            async with writer(backend, stream=stream) as publisher:
                await publisher.publish("s.x", b"")
            async with reader(backend, stream=stream, ack_wait=seconds).subscribe() as subscription:
                await (await anext(subscription)).ack()


# Options

REQUIRED_NUMBERS = [
    (PublisherOptions, {"stream_name": "s"}, ("retry_attempts", "timeout", "window")),
    (ConsumerOptions, {"stream_name": "s"}, ("channel_buf_size", "ack_wait", "max_in_flight")),
    (StreamOptions, {"name": "s"}, ("replicas",)),
    (Backoff, {}, ("initial", "maximum", "factor", "jitter")),
]


@pytest.mark.parametrize(
    ("kind", "given", "field"),
    [pytest.param(kind, given, field, id=field) for kind, given, fields in REQUIRED_NUMBERS for field in fields],
)
def test_none_is_no_number(kind: Callable[..., object], given: Mapping[str, object], field: str):
    """None where a number is required is an InvalidArgumentError, not a surprise later on."""
    with pytest.raises(InvalidArgumentError):
        kind(**given, **{field: None})


# Secrets


Use = Callable[[Backend], Awaitable[object]]


async def _health(backend: Backend) -> None:
    raise PubSubError((await backend.health()).error)


async def _publish_soon(backend: Backend) -> None:
    publisher = writer(backend)
    await publisher.publish_soon("s.x", b"")
    await publisher.flush()


async def _receive(backend: Backend) -> None:
    async with reader(backend).subscribe() as subscription:
        await anext(subscription)


async def _ack(backend: Backend) -> None:
    await (await anext(reader(backend).subscribe())).ack()


@pytest.mark.parametrize(
    ("call", "use"),
    [
        pytest.param("send", lambda backend: writer(backend).publish("s.x", b""), id="publish"),
        pytest.param("send", _publish_soon, id="publish_soon"),
        pytest.param("send", lambda backend: writer(backend).publish_many([("s.x", b"")]), id="publish_many"),
        pytest.param("stream_info", lambda backend: backend.stream_info("s"), id="stream_info"),
        pytest.param("subscribe", lambda backend: reader(backend).subscribe().__aenter__(), id="subscribe"),
        pytest.param("receive", _receive, id="receive"),
        pytest.param("settle", _ack, id="ack"),
        pytest.param("ping", _health, id="health"),
    ],
)
async def test_native_errors_show_no_secrets(
    stocked: Backend, driver: StubDriver, caplog: pytest.LogCaptureFixture, call: str, use: Use
):
    """What a portable error says of a native one is without the password of a URL in it; so are the logs."""
    caplog.set_level(logging.DEBUG)
    driver.failures[call] = NativeError(SECRET)
    with pytest.raises(PubSubError, match="cannot reach nats://") as caught:
        await use(stocked)
    assert "hunter2" not in f"{caught.value} {caught.value!r} {caplog.text}"


async def test_retries_are_logged_without_secrets(
    backend: Backend, driver: StubDriver, recorder: Recorder, caplog: pytest.LogCaptureFixture
):
    """Neither the log nor the hook of a retry shows the password of a URL in the native error."""
    caplog.set_level(logging.DEBUG)
    answers = [NativeError(SECRET)]
    driver.answer = lambda _: [answers.pop()] if answers else None
    await writer(backend, retry_attempts=1, retry_backoff=Backoff(initial=0.001)).publish("s.x", b"")
    assert "cannot reach" in caplog.text
    assert "hunter2" not in caplog.text
    assert "hunter2" not in str(recorder.retrying[0][2])


async def test_lost_connections_are_logged_without_secrets(
    backend: Backend, driver: StubDriver, caplog: pytest.LogCaptureFixture
):
    """The log of a lost connection does not show the password of a URL in the native error."""
    driver.on_state(ConnectionState.DISCONNECTED, NativeError(SECRET))
    assert "cannot reach" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("failing", ["unsubscribe", "aclose"])
async def test_a_failed_close_is_logged_without_secrets(
    stocked: Backend, driver: StubDriver, caplog: pytest.LogCaptureFixture, failing: str
):
    """The warning of what closes without the broker does not show the password of a URL in the native error."""
    await reader(stocked).subscribe().__aenter__()
    driver.failures[failing] = NativeError(SECRET)
    await stocked.aclose()
    assert "cannot reach" in caplog.text
    assert "hunter2" not in caplog.text


# Health


async def test_health_of_two_subscriptions(stocked: Backend, driver: StubDriver):
    """One subscription that is not served among others makes consuming False."""
    async with reader(stocked).subscribe(), reader(stocked, consumer_name="e").subscribe(), reader(stocked).subscribe():
        assert (await stocked.health()).consuming is True
        for member in driver.members:
            member.serving = False
            assert (await stocked.health()).consuming is False
            member.serving = True
        assert (await stocked.health()).consuming is True


async def test_health_ignores_subscriptions_that_were_not_entered(stocked: Backend):
    """A subscription that was made but never used says nothing about the broker."""
    consumer = reader(stocked)
    unused = consumer.subscribe()
    assert (await stocked.health()).consuming is None
    async with consumer.subscribe():
        assert (await stocked.health()).consuming is True
    assert isinstance(unused, Subscription)


# Opening and closing the backend


async def test_consumers_close_before_publishers(stocked: Backend, driver: StubDriver):
    """A backend closes its subscriptions first, while what they still handle can be published."""
    publisher = await writer(stocked).__aenter__()
    sends, closes = driver.hold("send"), driver.hold("unsubscribe")
    async with reader(stocked).subscribe():
        future = await publisher.publish_soon("s.x", b"")
        await sends.reached()
        closing = asyncio.ensure_future(stocked.aclose())
        await closes.reached()
        assert not publisher.closed
        closes.open()
        assert await waits(closing)
        assert publisher.closed
        sends.open()
        assert await ended(closing) is None
    assert future.result().sequence == 4
    assert driver.calls[-1] == "aclose"


async def test_the_driver_is_closed_when_a_consumer_cannot_be(stocked: Backend, driver: StubDriver):
    """Whatever goes wrong with a consumer at close, the driver is closed."""
    await reader(stocked).subscribe().__aenter__()
    driver.failures["unsubscribe"] = asyncio.CancelledError()
    await ended(asyncio.ensure_future(stocked.aclose()))
    assert driver.calls.count("aclose") == 1
    assert not driver.is_open


@pytest.mark.parametrize("failing", ["send", "aclose", "unsubscribe"])
async def test_leaving_hides_no_exception(driver: StubDriver, failing: str):
    """What fails while a backend closes does not take the place of the exception of its block."""
    with pytest.raises(KeyError, match="of the block"):
        async with Backend(driver) as backend:
            await reader(backend).subscribe().__aenter__()
            publisher = await writer(backend).__aenter__()
            driver.failures[failing] = NativeError("lost")
            await publisher.publish_soon("s.x", b"")
            raise KeyError("of the block")
    assert driver.calls.count("aclose") == 1


@pytest.mark.parametrize("failing", ["send", "aclose", "unsubscribe"])
async def test_leaving_hides_no_cancellation(driver: StubDriver, failing: str):
    """A task that is cancelled inside ``async with backend`` ends as cancelled, whatever fails while it closes."""
    inside = asyncio.Event()

    async def work() -> None:
        async with Backend(driver) as backend:
            await reader(backend).subscribe().__aenter__()
            publisher = await writer(backend).__aenter__()
            driver.failures[failing] = NativeError("lost")
            await publisher.publish_soon("s.x", b"")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    async with asyncio.timeout(DEADLINE):
        await inside.wait()
    task.cancel()
    assert isinstance(await ended(task), asyncio.CancelledError)
    assert driver.calls.count("aclose") == 1


async def test_closing_while_opening(driver: StubDriver):
    """A backend that is closed while it opens leaves nothing open, and using it later raises ClosedError."""
    backend, gate = Backend(driver), driver.hold("open")
    opening = asyncio.ensure_future(backend.open())
    await gate.reached()
    closing = asyncio.ensure_future(backend.aclose())
    await waits(closing)
    gate.open()
    assert await ended(closing) is None
    assert isinstance(await ended(opening), ClosedError)
    assert not driver.is_open
    assert "aclose" in driver.calls
    with pytest.raises(ClosedError):
        backend.publisher(PublisherOptions(stream_name="s"))
    with pytest.raises(ClosedError):
        await backend.open()
    assert driver.calls.count("open") == 1


async def test_opening_again(driver: StubDriver):
    """Opening an open backend returns it, and the driver is opened once, also by concurrent callers."""
    backend = Backend(driver)
    async with asyncio.timeout(DEADLINE):
        assert await asyncio.gather(backend.open(), backend.open()) == [backend, backend]
        assert await backend.open() is backend
        async with backend as again:
            assert again is backend
    assert [call for call in driver.calls if call in ("open", "aclose")] == ["open", "aclose"]
