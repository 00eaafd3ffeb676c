"""The worker on memory:// where the backend does not matter: handlers, faults, stopping, and what it refuses."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from waiting import settled

import pubsubkit
from pubsubkit import (
    Backend,
    Backoff,
    Capability,
    ClosedError,
    ConfigurationError,
    ConsumerOptions,
    InvalidArgumentError,
    Message,
    NotFoundError,
    PermissionDeniedError,
    PublisherOptions,
    Reject,
    Retry,
    RetryAfter,
    StreamFullError,
    StreamOptions,
    TransientError,
    Verdict,
    Worker,
    WorkerState,
    connect,
)
from pubsubkit.driver import Delivery
from pubsubkit.hookspecs import hookimpl
from pubsubkit.worker import HandlerOptions, Policy
from pubsubkit_memory import MemoryDriver
from pubsubkit_memory.delivery import MemoryDelivery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from pubsubkit.driver import ConsumerSpec, DriverSubscription, OutgoingMessage, PublishReceipt

DEADLINE = 5.0
MOMENT = 0.05


class FaultyDriver(MemoryDriver):
    """A memory driver that fails on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.joining: list[Exception] = []
        self.receiving: list[Exception] = []
        self.moving: Exception | None = None
        self.joined = 0

    async def subscribe(self, spec: ConsumerSpec, buffer: int) -> DriverSubscription:
        if self.joining:
            raise self.joining.pop(0)
        self.joined += 1
        inner = await super().subscribe(spec, buffer)
        receive = inner.receive

        async def failing() -> Any:
            if self.receiving:
                raise self.receiving.pop(0)
            return await receive()

        inner.receive, inner.receive_now = failing, lambda: None  # type: ignore[method-assign]
        return inner

    async def send(self, messages: Sequence[OutgoingMessage], timeout: float) -> Sequence[PublishReceipt | Exception]:
        if self.moving is not None and messages[0].subject.startswith("s-dead."):
            return [self.moving]
        return await super().send(messages, timeout)


@pytest.fixture
def driver() -> FaultyDriver:
    return FaultyDriver()


@pytest.fixture
async def backend(driver: FaultyDriver) -> AsyncIterator[Backend]:
    async with Backend(driver) as opened:
        yield opened


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what failed be tried again after a moment."""
    for name in ("member._SETTLE_AGAIN", "supervisor.AGAIN"):
        monkeypatch.setattr(f"pubsubkit.worker.{name}", Backoff(initial=0.01, maximum=0.01))
    monkeypatch.setattr("pubsubkit.worker.member._AGAIN_SECONDS", 0.01)


async def publish(backend: Backend, *data: str, stream: str = "s") -> None:
    async with backend.publisher(PublisherOptions(stream_name=stream)) as publisher:
        await publisher.publish_many((f"{stream}.x", each.encode()) for each in data)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[Worker]:
    async with asyncio.timeout(DEADLINE), worker:
        yield worker


def worker_of(backend: Backend, function: Callable[..., Any], **options: Any) -> Worker:
    worker = Worker(backend)
    worker.add(function, **{"stream": "s", "durable": "d", **options})
    return worker


# Handlers


async def test_what_a_handler_can_be(backend: Backend):
    """Functions, methods, partials and objects, sync and async, with or without an annotation, are handlers."""
    got: list[tuple[str, object]] = []

    class Service:
        async def method(self, data: bytes) -> None:
            got.append(("method", data))

        def __call__(self, text: str, *more: int, default: int = 1) -> None:
            got.append(("object", text))

    async def note(name: str, message: Message) -> None:
        got.append((name, message.data))

    worker = Worker(backend)
    service = Service()
    for number, function in enumerate((service.method, service, functools.partial(note, "partial"))):
        worker.add(function, stream="s", durable=f"d{number}")

    @worker.handler(stream="s", durable="whole")
    def whole(message) -> None:  # no annotation
        got.append(("whole", type(message)))

    await publish(backend, "1")
    async with running(worker):
        await until(lambda: len(got) == 4)
    assert sorted(got, key=str) == [("method", b"1"), ("object", "1"), ("partial", b"1"), ("whole", Message)]
    assert callable(whole)


async def test_sync_handlers_run_at_the_same_time(backend: Backend):
    """As many sync handlers block at the same time as concurrency says, each in a thread and in its context."""
    await publish(backend, *map(str, range(6)))
    together, names = threading.Barrier(3), []
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    variable.set("of the start")

    def handle(text: str) -> None:
        together.wait(DEADLINE)
        names.append((threading.current_thread().name, variable.get()))

    async with running(worker_of(backend, handle, concurrency=3)):
        await settled(backend, DEADLINE)
    assert names == [("pubsubkit-handler", "of the start")] * 6
    await until(lambda: not [each for each in threading.enumerate() if each.name == "pubsubkit-handler"])


@pytest.mark.parametrize("error", [StopIteration, SystemError, asyncio.CancelledError])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_whatever_a_handler_raises(backend: Backend, error: type[BaseException], kind: str):
    """No error of a handler ends the worker or the lane of its key; the message comes again."""
    await publish(backend, "1", "2")
    seen: list[str] = []

    def handle(text: str) -> None:
        seen.append(text)
        if len(seen) == 1:
            raise error

    async def handle_async(text: str) -> None:
        handle(text)

    function = handle if kind == "sync" else handle_async
    async with running(worker_of(backend, function, concurrency=2, key=lambda _: 0, retry=Retry(backoff=(0.01,)))):
        await until(lambda: len(seen) == 3)
        await settled(backend, DEADLINE)
    assert seen == ["1", "2", "1"]


async def test_an_async_handler_that_takes_too_long(backend: Backend, caplog: pytest.LogCaptureFixture):
    """After its timeout an async handler is cancelled, which is a failure like others."""
    await publish(backend, "1")
    ends: list[str] = []

    async def handle(text: str) -> None:
        try:
            await asyncio.sleep(0 if ends else 60)
            ends.append("done")
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async with running(worker_of(backend, handle, timeout=MOMENT, retry=Retry(backoff=()))):
        await until(lambda: len(ends) == 2)
        await settled(backend, DEADLINE)
    assert ends == ["cancelled", "done"]
    assert "handler handle: TimeoutError on 's.x' of s/d, delivery 1: it comes again in 0 s" in caplog.text


async def test_a_sync_handler_that_takes_too_long(backend: Backend):
    """After its timeout a sync handler has failed, but its place and its key stay taken until the thread has ended."""
    await publish(backend, "1", "2")
    begun: list[str] = []
    end = threading.Event()

    def handle(text: str) -> None:
        begun.append(text)
        if len(begun) == 1:
            end.wait(DEADLINE)

    options = {"timeout": MOMENT, "concurrency": 2, "key": lambda _: 0, "retry": Retry(backoff=(60,))}
    async with running(worker_of(backend, handle, **options)) as worker:
        await until(lambda: begun)
        await asyncio.sleep(2 * MOMENT)
        assert begun == ["1"]
        assert worker.health().handlers[0].held == 2
        end.set()
        await until(lambda: begun == ["1", "2"])


async def test_a_key_that_cannot_be_told(backend: Backend):
    """A message whose key function fails, or returns what is no key, is a failure; others go on."""
    await publish(backend, "fails", "list", "good")
    handled: list[str] = []

    def key(message: Message) -> Any:
        if message.data == b"fails":
            raise ValueError
        return [] if message.data == b"list" else 1

    def handle(text: str) -> None:
        handled.append(text)

    async with running(worker_of(backend, handle, key=key, dead_letter="s-dead", retry=Retry(max_deliver=1))):
        await until(lambda: handled)
        await settled(backend, DEADLINE)
    assert handled == ["good"]
    assert (await backend.stream_info("s-dead")).messages == 2


async def test_malformed_messages_may_be_tried_again(backend: Backend):
    """With on_malformed="retry" a message that cannot be decoded is tried again, until its deliveries are used up."""
    await publish(backend, "{", '{"a": 1}')
    handled: list[object] = []

    def handle(event: dict) -> None:  # type: ignore[type-arg]
        handled.append(event)

    retry = Retry(max_deliver=3, backoff=())
    async with running(worker_of(backend, handle, retry=retry, dead_letter="s-dead", on_malformed="retry")):
        await until(lambda: handled)
        await settled(backend, DEADLINE)
    async with backend.consumer(ConsumerOptions(stream_name="s-dead")).subscribe() as messages:
        assert (await anext(messages)).headers["Pubsubkit-Dead-Letter-Deliveries"] == "3"


async def test_the_traceback_is_there_for_who_debugs(backend: Backend, caplog: pytest.LogCaptureFixture):
    """The one line about a failure does not show the error's text, which may hold the payload; debug records do."""
    caplog.set_level(logging.DEBUG, "pubsubkit.worker")
    await publish(backend, "1")

    def handle(text: str) -> None:
        raise ValueError(f"secret {text}")

    async with running(worker_of(backend, handle, retry=Retry(max_deliver=1))):
        await settled(backend, DEADLINE)
    found = {record.levelno: record for record in caplog.records if "handler handle" in record.getMessage()}
    assert "secret" not in found[logging.WARNING].getMessage()
    assert found[logging.WARNING].exc_info is None
    assert "secret 1" in str(found[logging.DEBUG].exc_info[1])  # type: ignore[index]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_plugins_are_around_the_handler(kind: str):
    """The processing hook of plugins is around the handler, in its context, and sees what it raises."""
    current: contextvars.ContextVar[str] = contextvars.ContextVar("current", default="")
    told: list[object] = []

    class Plugin:
        @hookimpl
        @contextmanager
        def pubsubkit_processing(self, subject, num_delivered):
            token = current.set(f"{subject} {num_delivered}")
            try:
                yield
            except ValueError as error:
                told.append(repr(error))
                raise
            finally:
                current.reset(token)

    def handle(text: str) -> None:
        told.append(current.get())
        if len(told) == 1:
            raise ValueError("once")

    async def handle_async(text: str) -> None:
        handle(text)

    async with connect("memory://", plugins=[Plugin()]) as backend:
        await publish(backend, "1")
        async with running(worker_of(backend, handle if kind == "sync" else handle_async, retry=Retry(backoff=()))):
            await settled(backend, DEADLINE)
    assert told == ["s.x 1", "ValueError('once')", "s.x 2"]


async def test_plugins_of_a_worker_that_connects_by_itself():
    """They are for the backend that it opens; an open one has its own."""
    seen: list[Verdict] = []

    class Plugin:
        @hookimpl
        def pubsubkit_settled(self, verdict: Verdict) -> None:
            seen.append(verdict)
            worker.stop()

    def handle(text: str) -> None:
        """Do nothing."""

    worker = Worker("memory://worker-plugins", plugins=[Plugin()])
    worker.add(handle, stream="s", durable="d")
    async with asyncio.timeout(DEADLINE), connect("memory://worker-plugins") as backend:
        await publish(backend, "1")
        await worker.run()
        assert seen == [Verdict.ACK]
        with pytest.raises(ConfigurationError, match="connect"):
            Worker(backend, plugins=[Plugin()])


class _UnprintableError(Exception):
    def __str__(self) -> str:
        raise KeyError


@pytest.mark.parametrize("error", [_UnprintableError(), Reject("a\ud800\n\0" + "b" * 5000), ValueError("\udcff\r\n")])
@pytest.mark.parametrize("dead_letter", ["", "s-dead"])
async def test_errors_whose_text_is_odd(
    backend: Backend, error: Exception, dead_letter: str, caplog: pytest.LogCaptureFixture
):
    """Whatever the text of an error is, the message gets its verdict, and one line in the log."""
    await publish(backend, "1")

    def handle(text: str) -> None:
        raise error

    retry = Retry(max_deliver=1, backoff=1)  # type: ignore[arg-type] # one number does as well
    async with running(worker_of(backend, handle, retry=retry, dead_letter=dead_letter)):
        await settled(backend, DEADLINE)
    (line,) = (each.getMessage() for each in caplog.records if each.levelno == logging.WARNING)
    assert "\n" not in line
    assert line.endswith(f"it is moved to {dead_letter}" if dead_letter else "it is dropped")


# Faults


@pytest.mark.usefixtures("soon")
async def test_joining_is_tried_again(driver: FaultyDriver, backend: Backend, caplog: pytest.LogCaptureFixture):
    """What passes is waited out, with a line in the log each time; the worker is degraded meanwhile."""
    await publish(backend, "1")
    driver.joining = [TransientError("no leader")] * 3
    handled: list[str] = []
    states: list[WorkerState] = []

    async def handle(text: str) -> None:
        states.append(worker.state)
        handled.append(text)

    worker = worker_of(backend, handle)
    async with running(worker):
        states.append(worker.state)
        assert worker.health().handlers[0].error == "no leader"
        await until(lambda: handled)
        assert worker.health().handlers[0].error == ""
    assert states == [WorkerState.DEGRADED, WorkerState.RUNNING]
    assert caplog.text.count("handler handle gets no messages, next try in 0.0 s: no leader") == 3


@pytest.mark.usefixtures("soon")
async def test_a_subscription_that_breaks_is_joined_again(driver: FaultyDriver, backend: Backend):
    """When receiving fails, handlers finish and their acks count before the consumer is joined again."""
    await publish(backend, "1", "2", "3")
    begun: list[str] = []
    go = asyncio.Event()

    async def handle(text: str) -> None:
        begun.append(text)
        if text == "1":
            driver.receiving = [TransientError("lost")]
            await go.wait()

    worker = worker_of(backend, handle, concurrency=2)
    async with running(worker):
        await until(lambda: worker.state is WorkerState.DEGRADED)
        assert driver.joined == 1
        go.set()
        await settled(backend, DEADLINE)
    assert driver.joined == 2
    assert begun.count("1") == 1
    assert set(begun) == {"1", "2", "3"}


async def test_what_cannot_be_mended_is_raised(driver: FaultyDriver, backend: Backend):
    """A permanent error while starting is raised by run and by async with, and the worker can be started again."""
    worker = worker_of(backend, print)
    driver.joining = [PermissionDeniedError("not yours")]
    with pytest.raises(PermissionDeniedError, match="not yours"):
        await worker.run()
    driver.joining = [PermissionDeniedError("not yours")]
    with pytest.raises(PermissionDeniedError, match="not yours"):
        async with worker:
            pytest.fail("it was started")
    async with running(worker):
        assert worker.state is WorkerState.RUNNING
    assert worker.state is WorkerState.STOPPED


@pytest.mark.parametrize("own", [None, KeyError])
async def test_an_error_meanwhile_is_raised_at_the_end(
    backend: Backend, own: type[Exception] | None, caplog: pytest.LogCaptureFixture
):
    """What ends the worker inside async with is logged at once, and raised at its end unless the block has raised."""
    worker = worker_of(backend, print)
    with pytest.raises(own or NotFoundError):
        async with running(worker):
            await backend.delete_consumer("s", "d")
            await until(lambda: worker.state is WorkerState.STOPPED)
            await until(lambda: "the worker stopped: " in caplog.text)
            if own:
                raise own


@pytest.mark.usefixtures("soon")
async def test_an_ack_that_cannot_be_told_is_told_later(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """While the broker cannot be reached the verdict is tried again, so that what was done is not done twice."""
    await publish(backend, "1")
    handled, failures = [], [TransientError("lost")] * 3
    settle = MemoryDelivery.settle

    async def lose(self: MemoryDelivery, settlement: Any) -> None:
        if settlement.verdict is Verdict.ACK and failures:
            raise failures.pop()
        await settle(self, settlement)

    monkeypatch.setattr(MemoryDelivery, "settle", lose)
    monkeypatch.setattr(MemoryDelivery, "settle_now", Delivery.settle_now)
    async with running(worker_of(backend, handled.append)):
        await settled(backend, DEADLINE)
    assert handled
    assert len(handled) == 1
    assert failures == []


@pytest.mark.usefixtures("soon")
async def test_a_rejected_message_that_cannot_be_moved_comes_again(driver: FaultyDriver, backend: Backend):
    """While no dead letter can be stored, a rejected message is not lost: it comes again until it can be moved."""
    await publish(backend, "1", "2")
    driver.moving = StreamFullError("full")
    seen: list[str] = []

    def handle(text: str) -> None:
        seen.append(text)
        if text == "1":
            raise Reject("bad")

    async with running(worker_of(backend, handle, dead_letter="s-dead", retry=Retry(max_deliver=1000))):
        await until(lambda: seen.count("1") >= 3)
        driver.moving = None
        await settled(backend, DEADLINE)
    assert seen.count("2") == 1
    assert (await backend.stream_info("s-dead")).messages == 1


async def test_a_backend_without_naks_waits_for_the_lease(driver: FaultyDriver, backend: Backend):
    """Where a message cannot be given back, a failed one comes again after ack_wait."""
    driver.capabilities -= {Capability.NAK, Capability.NAK_DELAY, Capability.IN_PROGRESS}
    await publish(backend, "1")
    seen: list[str] = []

    def handle(text: str) -> None:
        seen.append(text)
        if len(seen) == 1:
            raise ValueError

    async with running(worker_of(backend, handle, retry=Retry(backoff=()), ack_wait=MOMENT)):
        await settled(backend, DEADLINE)
    assert seen == ["1", "1"]


# Starting and stopping


async def test_cancelling_run_gives_back(backend: Backend):
    """Cancelling run cuts the handlers off; their messages come again at once, and nothing is left behind."""
    await publish(backend, "1")
    begun: list[str] = []

    async def handle(text: str) -> None:
        begun.append(text)
        await asyncio.sleep(60)

    worker = worker_of(backend, handle)
    task = asyncio.create_task(worker.run())
    await until(lambda: begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert worker.state is WorkerState.STOPPED
    assert asyncio.all_tasks() == {asyncio.current_task()}
    async with (
        asyncio.timeout(DEADLINE),
        backend.consumer(Policy(stream="s", durable="d").consumer_options(leases=True)).subscribe() as messages,
    ):
        assert (await anext(messages)).metadata.num_delivered == 2


async def test_cancelling_the_start(driver: FaultyDriver, backend: Backend, monkeypatch: pytest.MonkeyPatch):
    """Cancelling async with while it starts leaves nothing behind."""
    began = asyncio.Event()

    async def hang(*_: object) -> Any:
        began.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(driver, "subscribe", hang)
    worker = worker_of(backend, print)
    task = asyncio.create_task(worker.__aenter__())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert worker.state is WorkerState.STOPPED
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_stop_by_force(backend: Backend):
    """A forced stop cuts off a handler at once, also when it is stopping gracefully already."""
    await publish(backend, "1")
    begun: list[str] = []

    async def handle(text: str) -> None:
        begun.append(text)
        await asyncio.sleep(60)

    worker = worker_of(backend, handle)
    worker.stop()
    assert worker.state is WorkerState.STOPPED
    task = asyncio.create_task(worker.run())
    await until(lambda: begun)
    worker.stop()
    await asyncio.sleep(MOMENT)
    assert not task.done()
    worker.stop(force=True)
    async with asyncio.timeout(DEADLINE):
        assert await task == 0


async def test_handlers_that_end_while_it_stops(backend: Backend):
    """Whenever in the course of a stop the last handler ends, the stop goes through."""
    turns = -1

    async def handle(text: str) -> None:
        worker.stop()
        for _ in range(turns):
            await asyncio.sleep(0)

    worker = worker_of(backend, handle)
    while (turns := turns + 1) < 12:
        await publish(backend, "1")
        async with asyncio.timeout(DEADLINE):
            assert await worker.run() == 0
        await settled(backend, DEADLINE)


async def test_a_thread_that_hangs_does_not_hold_the_stop(backend: Backend):
    """A sync handler that is cut off is left to its thread; its message comes again."""
    await publish(backend, "1")
    begun, end = [], threading.Event()

    def handle(text: str) -> None:
        begun.append(text)
        end.wait(DEADLINE)

    worker = worker_of(backend, handle)
    async with running(worker):
        await until(lambda: begun)
        worker.stop(force=True)
    end.set()
    assert (await backend.consumer_info("s", "d")).num_ack_pending == 1


async def test_a_backend_that_is_closed_under_it(backend: Backend):
    """When its backend is closed, the worker does not fall silent: run raises."""
    worker = worker_of(backend, print)
    task = asyncio.create_task(worker.run())
    await until(lambda: worker.state is WorkerState.RUNNING)
    await backend.aclose()
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(ClosedError, match="closed while the worker ran"):
            await task


async def test_one_worker_runs_once_at_a_time(backend: Backend):
    """Starting a worker that runs is an error; afterwards it may run again, in another event loop too."""
    worker = worker_of(backend, print)
    async with running(worker):
        with pytest.raises(ConfigurationError, match="running already"):
            await worker.run()
        assert worker.state is WorkerState.RUNNING


def test_a_worker_of_a_module(monkeypatch: pytest.MonkeyPatch):
    """A worker without a backend takes the URL of the environment or of run, in one event loop after another."""
    handled: list[str] = []

    def handle(text: str) -> None:
        handled.append(text)
        worker.stop()

    worker = Worker()
    worker.add(handle, stream="s", durable="d")

    async def once(url: str | None) -> int:
        async with asyncio.timeout(DEADLINE), connect("memory://worker-module") as backend:
            await publish(backend, "1")
            return await worker.run(url=url)

    monkeypatch.delenv("PUBSUBKIT_URL", raising=False)
    with pytest.raises(ConfigurationError, match="PUBSUBKIT_URL"):
        asyncio.run(once(None))
    assert asyncio.run(once("memory://worker-module")) == 0
    monkeypatch.setenv("PUBSUBKIT_URL", "memory://worker-module")
    assert asyncio.run(once(None)) == 0
    assert len(handled) >= 2


async def test_run_in_a_thread_heeds_no_signals(backend: Backend):
    """Outside the main thread the worker runs without touching signals."""
    codes: list[int] = []

    def run() -> None:
        async def work() -> None:
            worker = Worker("memory://")
            worker.add(print, stream="s")
            asyncio.get_running_loop().call_later(MOMENT, worker.stop)
            codes.append(await worker.run())

        asyncio.run(work())

    await asyncio.to_thread(run)
    assert codes == [0]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
async def test_signals(backend: Backend):
    """A signal stops gracefully and a second one by force, which the exit code tells; then signals are as before."""
    before = signal.getsignal(signal.SIGTERM)
    await publish(backend, "1", "2")
    signals = 1

    async def handle(text: str) -> None:
        for _ in range(signals):
            os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: worker.state is WorkerState.STOPPED)
        await asyncio.sleep(0 if signals == 1 else 60)

    worker = worker_of(backend, handle)
    async with asyncio.timeout(DEADLINE):
        assert await worker.run() == 0
        assert (await backend.consumer_info("s", "d")).num_pending == 1
        signals = 2
        assert await worker.run() == 128 + signal.SIGTERM
    assert (await backend.consumer_info("s", "d")).num_ack_pending == 1
    assert signal.getsignal(signal.SIGTERM) is before


# What it refuses


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stream": ""}, "stream=''"),
        ({"stream": 5}, "stream=5"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"concurrency": True}, "concurrency=True"),
        ({"key": "subject"}, "key='subject'"),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": "5"}, "timeout='5'"),
        ({"retry": 3}, "retry=3"),
        ({"on_malformed": "nak"}, "on_malformed='nak'"),
        ({"on_malformed": "retry"}, "Retry"),
        ({"concurency": 3}, "no such option: concurency; there are ack_wait, "),
        ({"dead_letter": "s-dead", "durable": ""}, "dead_letter needs a consumer_name"),
        ({"subject": "a..b"}, "filter_subject"),
        ({"max_lease": 1}, "max_lease=1"),
        ({"max_lease": 0}, "max_lease=0"),
        ({"retry": Retry(max_deliver=0)}, "max_deliver=0"),
        ({"retry": Retry(backoff=("1s",))}, "backoff="),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str):
    """A wrong option is an error that names it when the handler is registered."""
    with pytest.raises((ConfigurationError, InvalidArgumentError), match=words):
        Worker().add(print, **{"stream": "s", "durable": "d", **options})


@pytest.mark.parametrize("kinds", [ValueError, (5,), (int,), (KeyboardInterrupt,)])
def test_non_retryable_that_cannot_be(kinds: Any):
    """Only types of errors can be non-retryable."""
    with pytest.raises(ConfigurationError, match="non_retryable="):
        Retry(non_retryable=kinds)


def _two(first: object, second: object) -> None:
    """Takes one too many."""


def _keyword(*, message: object) -> None:
    """Takes its argument as a keyword."""


def _unknown(message: Nowhere) -> None:  # type: ignore[name-defined] # noqa: F821
    """Is annotated with what nobody can find."""


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (5, "must be a function, not 5"),
        (lambda: None, "must take one argument"),
        (_two, "handler _two: it must take one argument"),
        (_keyword, "must take one argument"),
        (
            _unknown,
            "handler _unknown: its annotations cannot be read, import at run time what they name: name 'Nowhere'",
        ),
    ],
)
def test_functions_that_cannot_be(function: Any, words: str):
    """A function that cannot take a message is an error when it is registered."""
    with pytest.raises(ConfigurationError, match=words):
        Worker().add(function, stream="s")


def test_a_consumer_has_one_handler():
    """Two handlers of one durable consumer would each get a part of the messages."""
    worker = Worker()
    worker.add(print, stream="s", durable="d")
    worker.add(print, stream="s", durable="e")
    worker.add(print, stream=StreamOptions(name="t"), durable="d")
    worker.add(print, stream="s")
    worker.add(print, stream="s")
    with pytest.raises(ConfigurationError, match="would share the messages of consumer t/d"):
        worker.add(print, stream="t", durable="d")


async def test_workers_that_cannot_be(backend: Backend, monkeypatch: pytest.MonkeyPatch):
    """A worker needs handlers and one broker."""
    with pytest.raises(ConfigurationError, match="no handlers"):
        await Worker(backend).run()
    with pytest.raises(ConfigurationError, match="not int"):
        Worker(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="grace"):
        Worker(grace=-1)
    with pytest.raises(ConfigurationError, match="has a backend already"):
        await worker_of(backend, print).run(url="memory://")
    with pytest.raises(ConfigurationError):
        await Worker().run()
    with pytest.raises(InvalidArgumentError):
        RetryAfter(-1)


def test_importing_pubsubkit_does_not_import_the_worker():
    """The worker is imported when it is asked for, so that others need not wait for it; its names are there."""
    code = "import sys, pubsubkit; print('pubsubkit.worker' in sys.modules); from pubsubkit import *; print(Worker)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n<class 'pubsubkit.worker.worker.Worker'>\n"
    with pytest.raises(AttributeError, match="has no attribute 'Wroker'"):
        _ = pubsubkit.Wroker


def test_the_options_are_the_fields_of_the_policy():
    """What editors show as options of a handler is what there is."""
    assert set(HandlerOptions.__annotations__) == {field.name for field in dataclasses.fields(Policy)}


@pytest.mark.parametrize(
    ("options", "lease"),
    [({}, 3630), ({"timeout": 100}, 130), ({"timeout": 1}, 60), ({"timeout": 100, "concurrency": 5, "key": id}, 530)],
)
def test_how_long_leases_are_kept(options: dict[str, Any], lease: float):
    """A lease covers the handler's time and that of all before it in its lane, but not a handler that hangs."""
    assert Policy(stream="s", **options).consumer_options(leases=True).max_lease == lease
    assert Policy(stream="s", **options).consumer_options(leases=False).max_lease is None


async def test_a_handler_that_runs_nothing(backend: Backend):
    """A generator is refused; a plain function whose result nobody would await fails, and is never acked."""

    def generator(text: str):
        yield text

    async def generator_too(text: str):
        yield text

    async def real(text: str) -> None:
        raise AssertionError

    def around(text: str) -> object:
        return real(text)

    worker = Worker(backend)
    for function in (generator, generator_too):
        with pytest.raises(ConfigurationError, match="yield"):
            worker.add(function, stream="s")
    await publish(backend, "1")
    async with running(worker_of(backend, around, retry=Retry(max_deliver=1), dead_letter="s-dead")):
        await settled(backend, DEADLINE)
    assert (await backend.stream_info("s-dead")).messages == 1


class _EmptyError(Exception):
    def __len__(self) -> int:
        return 0


async def test_an_error_that_is_falsy_is_an_error(backend: Backend):
    """What a handler raises counts, whatever its truth value."""
    await publish(backend, "1")

    async def handle(text: str) -> None:
        raise _EmptyError

    async with running(worker_of(backend, handle, retry=Retry(max_deliver=1), dead_letter="s-dead")):
        await settled(backend, DEADLINE)
    assert (await backend.stream_info("s-dead")).messages == 1


async def test_a_log_that_fails_holds_up_nobody(backend: Backend):
    """An application's record factory may object to our fields: verdicts are given, and the key goes on."""
    ours, handled = logging.getLogRecordFactory(), []

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = ours(*args, **kwargs)
        record.subject = "the application's own"
        return record

    async def handle(text: str) -> None:
        handled.append(text)
        if text == "1":
            raise ValueError

    await publish(backend, "1", "2")
    logging.setLogRecordFactory(factory)
    try:
        options = {"retry": Retry(max_deliver=1), "dead_letter": "s-dead", "key": lambda _: "one"}
        async with running(worker_of(backend, handle, **options)):
            await settled(backend, DEADLINE)
    finally:
        logging.setLogRecordFactory(ours)
    assert handled == ["1", "2"]
    assert (await backend.stream_info("s-dead")).messages == 1


async def test_what_waited_too_long_for_its_key_is_left_to_others(backend: Backend):
    """A message whose lease ran out in its lane comes again, and is handled then, once."""
    handled: list[tuple[str, int]] = []

    async def handle(message: Message) -> None:
        handled.append((message.data.decode(), message.metadata.num_delivered))
        if len(handled) == 1:
            await asyncio.sleep(4 * MOMENT)

    await publish(backend, "1", "2")
    options = {"key": lambda _: "one", "concurrency": 2, "ack_wait": 2 * MOMENT, "max_lease": 2.5 * MOMENT}
    async with running(worker_of(backend, handle, **options)):
        await settled(backend, DEADLINE)
    assert [text for text, _ in handled].count("2") == 1
