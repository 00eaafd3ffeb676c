"""The worker on both backends: what is taken, what becomes of it, and how it stops."""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from pubsubkit import (
    Backend,
    ConsumerOptions,
    Message,
    NotFoundError,
    PublisherOptions,
    Reject,
    Retry,
    RetryAfter,
    Storage,
    StreamOptions,
    Worker,
    WorkerState,
    connect,
)
from pubsubkit_nats.testing import NatsServer

DEADLINE = 20.0
PREFIX = "Pubsubkit-Dead-Letter-"


async def publish(backend: Backend, *data: str | bytes) -> None:
    async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
        await publisher.publish_many(("s.x", each.encode() if isinstance(each, str) else each) for each in data)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.002)


async def left(backend: Backend) -> tuple[int, int]:
    """How many messages the broker has before the consumer, and how many are without a verdict."""
    info = await backend.consumer_info("s", "d")
    return info.num_pending, info.num_ack_pending


async def becomes(backend: Backend, wanted: tuple[int, int]) -> None:
    async with asyncio.timeout(DEADLINE):
        while await left(backend) != wanted:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[Worker]:
    async with asyncio.timeout(DEADLINE), worker:
        yield worker


class Gate:
    """A handler that waits to be let through, one message at a time or all."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.most = 0
        self._opened = asyncio.Semaphore(0)

    async def __call__(self, text: str) -> None:
        self.begun.append(text)
        self.most = max(self.most, len(self.begun) - len(self.ended))
        await self._opened.acquire()
        self.ended.append(text)

    def let(self, count: int) -> None:
        for _ in range(count):
            self._opened.release()


async def test_no_more_is_taken_than_there_are_free_places(backend: Backend):
    """What waits at the broker is there for other workers: only as many as are handled are ever without a verdict."""
    await publish(backend, *map(str, range(20)))
    gate, worker = Gate(), Worker(backend)
    worker.add(gate, stream="s", durable="d", concurrency=4)
    async with running(worker):
        await until(lambda: len(gate.begun) == 4)
        for _ in range(5):
            assert await left(backend) == (16, 4)
            await asyncio.sleep(0.01)
        gate.let(3)
        await until(lambda: len(gate.begun) == 7)
        await becomes(backend, (13, 4))
        gate.let(100)
        await becomes(backend, (0, 0))
    assert gate.most == 4
    assert sorted(gate.ended, key=int) == [str(number) for number in range(20)]


async def test_what_becomes_of_messages(backend: Backend, caplog: pytest.LogCaptureFixture):
    """A message is acked, tried again, rejected or postponed as its handler says; undecodable ones never reach it."""
    kinds = ["ack", "flaky", "broken", "reject", "because", "hopeless", "later"]
    await publish(backend, *(json.dumps({"kind": kind}) for kind in kinds), "{", "[]")
    seen: Counter[str] = Counter()
    times: dict[str, list[float]] = {"later": [], "flaky": []}
    worker = Worker(backend)

    @worker.handler(
        stream="s",
        durable="d",
        concurrency=3,
        dead_letter="s-dead",
        retry=Retry(max_deliver=3, backoff=(0.05,), non_retryable=(KeyError,)),
    )
    async def handle(event: dict) -> None:  # type: ignore[type-arg]
        kind = event["kind"]
        seen[kind] += 1
        times.setdefault(kind, []).append(time.monotonic())
        if kind == "broken" or (kind == "flaky" and seen[kind] < 3):
            raise ValueError("no\tluck")
        if kind == "reject":
            raise Reject("of no use")
        if kind == "because":
            try:
                int("x")
            except ValueError as error:
                raise Reject("no number") from error
        if kind == "hopeless":
            raise KeyError("missing")
        if kind == "later" and seen[kind] == 1:
            raise RetryAfter(0.3)

    async with running(worker):
        await until(lambda: seen["later"] == 2)
        await becomes(backend, (0, 0))
    assert seen == {"ack": 1, "flaky": 3, "broken": 3, "reject": 1, "because": 1, "hopeless": 1, "later": 2}
    assert times["later"][1] - times["later"][0] >= 0.29
    assert 0.04 <= times["flaky"][1] - times["flaky"][0] < 0.29
    assert await dead_letters(backend) == {
        '{"kind": "broken"}': ("max_deliver reached: no luck", "ValueError", "3"),
        '{"kind": "reject"}': ("of no use", "pubsubkit.Reject", "1"),
        '{"kind": "because"}': ("no number", "ValueError", "1"),
        '{"kind": "hopeless"}': ("'missing'", "KeyError", "1"),
        "{": (
            "the payload is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            "pubsubkit.errors.DecodeError",
            "1",
        ),
        "[]": ("the payload is no JSON object", "pubsubkit.errors.DecodeError", "1"),
    }
    lines = [record for record in caplog.records if record.name == "pubsubkit.worker"]
    failures = [record for record in lines if record.levelno == logging.WARNING]
    assert len(failures) == 2 + 3 + 1 + 1 + 1 + 1 + 2
    assert "no\tluck" not in caplog.text
    line = next(record for record in failures if "KeyError" in record.getMessage())
    assert line.getMessage() == "handler handle: KeyError on 's.x' of s/d, delivery 1 of 3: it is moved to s-dead"
    extra = {name: getattr(line, name) for name in ("stream", "subject", "consumer", "num_delivered", "error_type")}
    assert extra == {"stream": "s", "subject": "s.x", "consumer": "d", "num_delivered": 1, "error_type": "KeyError"}


async def dead_letters(backend: Backend) -> dict[str, tuple[str, str, str]]:
    """Reason, error and number of deliveries of each dead letter."""
    count = (await backend.stream_info("s-dead")).messages
    async with (
        asyncio.timeout(DEADLINE),
        backend.consumer(ConsumerOptions(stream_name="s-dead")).subscribe() as messages,
    ):
        found = [await anext(messages) for _ in range(count)]
    names = ("Reason", "Error", "Deliveries")
    return {each.data.decode(): tuple(each.headers[PREFIX + name] for name in names) for each in found}  # type: ignore[misc]


async def test_without_dead_letters_they_are_dropped(backend: Backend):
    """Without dead letters a message is dropped where it would be moved, and others go on."""
    await publish(backend, "reject", "broken", b"no text: \xff", "good")
    seen: Counter[str] = Counter()
    worker = Worker(backend)

    def handle(text: str) -> None:
        seen[text] += 1
        if text == "reject":
            raise Reject
        if text == "broken":
            raise ValueError

    worker.add(handle, stream="s", durable="d", retry=Retry(max_deliver=2, backoff=()))
    async with running(worker):
        await until(lambda: len(seen) == 3)
        await becomes(backend, (0, 0))
    assert (seen["reject"], seen["broken"], seen["good"]) == (1, 2, 1)


async def test_messages_of_one_key_keep_their_order(backend: Backend):
    """Messages of one key are handled one after the other in their order, those of others at the same time."""
    async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
        await publisher.publish_many((f"s.{number % 5}", b"%d" % (number // 5)) for number in range(60))
    handled: dict[str, list[int]] = {}
    active: Counter[str] = Counter()
    most: Counter[str] = Counter()
    worker = Worker(backend)

    @worker.handler(stream="s", durable="d", concurrency=6, key=lambda message: message.subject)
    async def handle(message: Message) -> None:
        active[message.subject] += 1
        most[message.subject] = max(most[message.subject], active[message.subject])
        most["all"] = max(most["all"], active.total())
        await asyncio.sleep(0.002 if message.subject == "s.0" else 0)
        handled.setdefault(message.subject, []).append(int(message.data))
        active[message.subject] -= 1

    async with running(worker):
        await until(lambda: sum(map(len, handled.values())) >= 60)
        await becomes(backend, (0, 0))
    assert handled == {f"s.{number}": list(range(12)) for number in range(5)}
    assert most.pop("all") > 1
    assert set(most.values()) == {1}


async def test_a_stop_gives_back_what_waits_for_its_key(backend: Backend):
    """Stopping lets the running handler finish, while others get at once what waited for its key."""
    await publish(backend, "1", "2", "3", "4")
    gate, other = Gate(), Gate()
    worker, second = Worker(backend), Worker(backend)
    options = {"stream": "s", "durable": "d", "concurrency": 3}
    worker.add(gate, key=lambda _: None, **options)  # type: ignore[arg-type]
    second.add(other, **options)  # type: ignore[arg-type]
    async with running(worker):
        await until(lambda: worker.health().handlers[0].held == 3)
        worker.stop()
        async with running(second):
            await until(lambda: len(other.begun) == 3)
            assert gate.begun == ["1"]
            assert (worker.state, worker.health().live, worker.health().ready) == (WorkerState.STOPPED, True, False)
            gate.let(1)
            other.let(3)
            await becomes(backend, (0, 0))
    assert gate.ended == ["1"]
    assert sorted(other.ended) == ["2", "3", "4"]


async def test_no_message_dies_unseen_at_a_stop(backend: Backend):
    """A message that waits for its key with its last delivery is handled before the worker stops."""
    await publish(backend, "1", "2")
    gate = Gate()
    for _ in range(2):  # a second delivery of each
        async with backend.consumer(ConsumerOptions(stream_name="s", consumer_name="d")).subscribe() as messages:
            _ = [await anext(messages), await anext(messages)]
    worker = Worker(backend)
    retry = Retry(max_deliver=3)
    worker.add(
        gate,
        stream="s",
        durable="d",
        concurrency=2,
        key=lambda _: 0,
        retry=retry,
        dead_letter="s-dead",
        manage="update",
    )
    async with running(worker):
        await until(lambda: worker.health().handlers[0].held == 2)
        worker.stop()
        await until(lambda: not worker.health().handlers[0].consuming)
        gate.let(2)
    assert sorted(gate.ended) == ["1", "2"]
    assert await left(backend) == (0, 0)
    assert (await backend.stream_info("s-dead")).messages == 0


async def test_what_is_late_is_cut_off_and_comes_again(backend: Backend, caplog: pytest.LogCaptureFixture):
    """A handler that does not finish within the grace time is cancelled, and its message comes again at once."""
    await publish(backend, "1")
    gate, other = Gate(), Gate()
    worker, second = Worker(backend, grace=0.05), Worker(backend)
    worker.add(gate, stream="s", durable="d")
    second.add(other, stream="s", durable="d")
    task = asyncio.create_task(worker.run())
    await until(lambda: gate.begun)
    worker.stop()
    async with asyncio.timeout(DEADLINE):
        assert await task == 0
    assert gate.ended == []
    assert "1 of handler Gate were cut off" in caplog.text
    async with running(second):
        other.let(1)
        await becomes(backend, (0, 0))


async def test_leases_are_kept(backend: Backend):
    """A message comes once although its handler takes longer than ack_wait, and one that waits for its key as well."""
    await publish(backend, "1", "2")
    handled: list[str] = []
    worker = Worker(backend)

    @worker.handler(stream="s", durable="d", concurrency=3, key=lambda _: 0, ack_wait=0.3)
    async def handle(text: str) -> None:
        await asyncio.sleep(0.4)
        handled.append(text)

    async with running(worker):
        await until(lambda: len(handled) == 2)
        await becomes(backend, (0, 0))
    assert handled == ["1", "2"]


async def test_a_consumer_that_is_deleted_stops_the_worker(backend: Backend):
    """When the consumer of one handler is deleted, run raises that after the other handler has finished."""
    await publish(backend, "1")
    gate, worker = Gate(), Worker(backend)
    worker.add(gate, stream="s", durable="d")
    worker.add(gate, stream="other", durable="e")
    task = asyncio.create_task(worker.run())
    await until(lambda: gate.begun and worker.state is WorkerState.RUNNING)
    await backend.delete_consumer("other", "e")
    await until(lambda: worker.state is not WorkerState.RUNNING)
    gate.let(1)
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(NotFoundError):
            await task
    await becomes(backend, (0, 0))
    assert worker.state is WorkerState.STOPPED


async def test_a_restart_of_the_server(server: NatsServer):
    """The worker goes on after a restart of the server; meanwhile it is degraded, and so says its health."""
    async with connect(server.url) as backend:
        await backend.ensure_stream(StreamOptions(name="s", storage=Storage.FILE))
        await publish(backend, "1")
        gate, worker = Gate(), Worker(server.url)
        gate.let(10)
        worker.add(gate, stream="s", durable="d")
        async with running(worker):
            await until(lambda: gate.ended == ["1"])
            assert worker.state is WorkerState.RUNNING
            await server.stop()
            await until(lambda: worker.state is WorkerState.DEGRADED)
            assert (worker.health().live, worker.health().ready) == (True, False)
            await server.start()
            await until(lambda: worker.health().ready)
            async with asyncio.timeout(DEADLINE):
                while not (await backend.health()).connected:
                    await asyncio.sleep(0.01)
            await publish(backend, "2")
            await until(lambda: "2" in gate.ended)


async def test_a_server_that_is_not_there_yet(server: NatsServer, caplog: pytest.LogCaptureFixture):
    """A worker that starts before its broker is degraded, and starts consuming when it comes."""
    await server.stop()
    gate, worker = Gate(), Worker(server.url)
    gate.let(10)
    worker.add(gate, stream="s", durable="d")
    async with running(worker):
        assert worker.state is WorkerState.DEGRADED
        assert "no broker, next try in " in caplog.text
        await server.start()
        await until(lambda: worker.state is WorkerState.RUNNING)
        async with connect(server.url) as backend:
            await publish(backend, "1")
        await until(lambda: gate.ended == ["1"])
