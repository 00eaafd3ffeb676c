"""Testing a worker: verdicts, dead letters, a clock that is moved, and what keeps it from being idle."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from pubsubkit import (
    ConfigurationError,
    ConflictError,
    ConsumerOptions,
    Message,
    NotFoundError,
    PublisherOptions,
    StreamOptions,
)
from pubsubkit.worker import Reject, Retry, RetryAfter, Worker
from pubsubkit_memory.workertest import Settled, WorkerTest

ORDERS = {"stream": "orders", "durable": "billing"}


def worker_of(handler: object, **options: object) -> Worker:
    """A worker for production, whose broker nobody reaches."""
    worker = Worker("nats://127.0.0.1:1", health_port=1)
    worker.add(handler, **{**ORDERS, **options})  # type: ignore[arg-type]
    return worker


async def test_every_verdict_is_seen():
    """A handler that fails twice is seen with a nak for each try, its error and the wait, and then an ack."""
    seen: list[object] = []

    async def bill(order: dict) -> None:
        seen.append(order)
        if len(seen) < 3:
            raise ValueError(f"try {len(seen)}")

    async with WorkerTest(worker_of(bill, retry=Retry(backoff=(30, 3600)))) as test:
        await test.publish("orders.created", {"id": 1})
        await test.until_idle()
    assert seen == [{"id": 1}] * 3
    assert test.verdicts == [
        Settled("orders.created", 1, "nak", "ValueError", "try 1", 30),
        Settled("orders.created", 2, "nak", "ValueError", "try 2", 3600),
        Settled("orders.created", 3, "ack"),
    ]
    assert test.dead_letters == []


async def test_delays_take_no_time():
    """Hours of backoff and of RetryAfter pass at once, on the clock that messages are stamped by as well."""
    times: list[datetime] = []

    async def bill(message: Message) -> None:
        if message.metadata.num_delivered < 5:
            raise RetryAfter(7200)
        async with test.backend.publisher(PublisherOptions(stream_name="bills")) as publisher:
            await publisher.publish("bills.sent", b"")
        async with test.backend.consumer(ConsumerOptions(stream_name="bills")).subscribe() as messages:
            times.append((await anext(messages)).metadata.timestamp)

    started = time.monotonic()
    async with WorkerTest(worker_of(bill)) as test:
        await test.publish("orders.created")
        await test.until_idle()
    assert time.monotonic() - started < 5
    assert [each.verdict for each in test.verdicts] == ["nak"] * 4 + ["ack"]
    assert timedelta(hours=7, minutes=59) < times[0] - datetime.now(UTC) < timedelta(hours=8, minutes=1)


async def test_dead_letters_are_found():
    """What was rejected, failed too often or could not be decoded is a dead letter with its reason."""

    async def bill(order: dict) -> None:
        if order["id"] == 1:
            raise Reject("no such customer")
        if order["id"] == 2:
            raise KeyError("price")

    async with WorkerTest(worker_of(bill, dead_letter="orders-dead", retry=Retry(max_deliver=2))) as test:
        for number in (1, 2, 3):
            await test.publish("orders.created", {"id": number}, headers={"Trace": str(number)})
        await test.publish("orders.odd", "{")
        await test.until_idle()
    assert [(each.subject, each.data, each.deliveries, each.error) for each in test.dead_letters][:1] == [
        ("orders.created", b'{"id": 1}', 1, "pubsubkit.Reject"),
    ]
    assert [(each.data, each.deliveries) for each in test.dead_letters] == [
        (b'{"id": 1}', 1),
        (b"{", 1),
        (b'{"id": 2}', 2),
    ]
    by_data = {each.data: each for each in test.dead_letters}
    assert by_data[b'{"id": 2}'].reason == "max_deliver reached: 'price'"
    assert by_data[b'{"id": 2}'].headers == {"Trace": "2"}
    verdicts = [(each.subject, each.verdict) for each in test.verdicts]
    assert sorted(verdicts) == [
        ("orders.created", "ack"),
        ("orders.created", "nak"),
        ("orders.created", "nak"),
        ("orders.created", "term"),
        ("orders.odd", "term"),
    ]


@pytest.mark.parametrize("data", [b"\x00\xff", "drei €", {"a": [1, None]}, [1], None])
async def test_payloads(data: object):
    """Bytes go as they are, text as UTF-8, anything else as JSON."""
    seen: list[bytes] = []

    async def take(message: Message) -> None:
        seen.append(message.data)

    async with WorkerTest(worker_of(take)) as test:
        assert (await test.publish("orders.x", data, message_id="1")).sequence == 1
        assert (await test.publish("orders.x", data, message_id="1")).duplicate
        await test.until_idle()
    expected = {dict: b'{"a": [1, null]}', list: b"[1]", type(None): b"null", str: "drei €".encode()}
    assert seen == [expected.get(type(data), data)]


async def test_a_subject_that_nobody_holds():
    """A misspelt subject is an error at once."""
    async with WorkerTest(worker_of(lambda message: None)) as test:
        with pytest.raises(NotFoundError, match=r"'order\.created'"):
            await test.publish("order.created")


async def test_idle_means_that_no_handler_runs():
    """until_idle returns only when concurrent handlers, those that wait for their key, and threads have ended."""
    running = 0
    lock = threading.Lock()

    def work(message: Message) -> None:
        nonlocal running
        with lock:
            running += 1
        time.sleep(0.01)
        with lock:
            running -= 1

    worker = worker_of(work, concurrency=3, key=lambda message: message.subject)
    async with WorkerTest(worker) as test:
        for number in range(12):
            await test.publish(f"orders.{number % 2}")
        await test.until_idle()
        assert (running, len(test.verdicts)) == (0, 12)


async def test_a_thread_that_runs_on_after_its_timeout_is_not_idle():
    """A sync handler that runs on after its timeout, when its message is a dead letter already, is waited for."""
    go = threading.Event()
    ended: list[int] = []

    def work(message: Message) -> None:
        go.wait(10)
        ended.append(1)

    worker = worker_of(work, timeout=0.01, dead_letter="orders-dead", retry=Retry(max_deliver=1))
    async with WorkerTest(worker) as test:
        await test.publish("orders.x")
        with pytest.raises(AssertionError, match=r"handler \S*work holds 1 message$"):
            await test.until_idle(0.1)
        assert [each.error for each in test.verdicts] == ["TimeoutError"]
        assert not ended
        go.set()
        await test.until_idle()
        assert ended == [1]
    assert [each.error for each in test.dead_letters] == ["TimeoutError"]


async def test_what_handlers_publish_is_handled_too():
    """A chain of handlers is through when the last one is, also where a handler does not wait for its publish."""

    async def first(message: Message) -> None:
        publisher = test.backend.publisher(PublisherOptions(stream_name="orders", manage="none"))
        for number in range(3):
            await publisher.publish_soon("orders.second", b"%d" % number)

    async def second(message: Message) -> None:
        pass

    worker = Worker()
    worker.add(first, stream="orders", subject="orders.first", durable="first")
    worker.add(second, stream="orders", subject="orders.second", durable="second")
    async with WorkerTest(worker) as test:
        await test.publish("orders.first")
        await test.until_idle()
    assert sorted(each.subject for each in test.verdicts) == ["orders.first", *["orders.second"] * 3]


async def test_the_clock_stands_while_a_handler_runs():
    """A redelivery that waits does not move the clock under another handler, whose lease would run out."""
    counts: list[tuple[bytes, int]] = []

    async def work(message: Message) -> None:
        counts.append((message.data, message.metadata.num_delivered))
        if message.data == b"fails" and message.metadata.num_delivered == 1:
            raise ValueError
        await asyncio.sleep(0.05)

    async with WorkerTest(worker_of(work, concurrency=2, retry=Retry(backoff=(600,)), ack_wait=30)) as test:
        await test.publish("orders.x", b"fails")
        await test.publish("orders.x", b"slow")
        await test.until_idle()
    assert sorted(counts) == [(b"fails", 1), (b"fails", 2), (b"slow", 1)]


async def test_a_handler_that_hangs():
    """A handler that never returns is an error after the deadline, which says whose and with which message."""
    cancelled: list[int] = []

    async def hang(message: Message) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.append(1)

    with pytest.raises(AssertionError, match=r"not idle after 0\.05 s") as raised:
        async with WorkerTest(worker_of(hang)) as test:
            for _ in range(3):
                await test.publish("orders.stuck")
            await test.until_idle(0.05)
    text = str(raised.value)
    assert "hang holds 1 message;" in text
    assert "without a verdict from orders/billing: 'orders.stuck' (sequence 1, delivery 1)" in text
    assert "2 messages of orders/billing not delivered" in text
    assert cancelled == [1]


async def test_a_message_that_comes_again_for_ever():
    """A handler that always fails, without a limit, is an error when a day has passed on the clock."""

    async def fail(message: Message) -> None:
        raise ValueError

    async with WorkerTest(worker_of(fail, retry=Retry(backoff=(3600,)))) as test:
        await test.publish("orders.x")
        with pytest.raises(AssertionError, match="not idle after 86400 s of its clock: 1 message of orders/billing to"):
            await test.until_idle()
        assert len(test.verdicts) == 25


async def test_the_clock_can_be_moved_by_hand():
    """Advance lets happen what falls due, and no more."""

    async def fail_once(message: Message) -> None:
        if message.metadata.num_delivered == 1:
            raise RetryAfter(60)

    async with WorkerTest(worker_of(fail_once)) as test:
        await test.publish("orders.x")
        async with asyncio.timeout(10):
            while not test.verdicts:
                await asyncio.sleep(0)
        await test.advance(59)
        assert len(test.verdicts) == 1
        await test.advance(2)
        async with asyncio.timeout(10):
            while len(test.verdicts) < 2:
                await asyncio.sleep(0)


async def test_what_is_wrong_with_a_worker():
    """A worker that cannot start says why; one that fails later says so in until_idle."""
    with pytest.raises(ConfigurationError, match="no handlers"):
        await WorkerTest(Worker()).__aenter__()
    taken = Worker()
    for name in "ab":
        taken.add(lambda message: None, stream=StreamOptions(name=name, subjects=("x.>",)), durable=name)
    with pytest.raises(ConflictError, match="belongs to one stream"):
        await WorkerTest(taken).__aenter__()
    test = await WorkerTest(worker_of(lambda message: None)).__aenter__()
    await test.backend.delete_stream("orders")
    with pytest.raises(NotFoundError):
        await test.until_idle()
    await test.__aexit__(None, None, None)


async def test_a_worker_that_is_stopped():
    """A worker that a handler has stopped is never idle: waiting for it is an error."""

    async def stop(message: Message) -> None:
        test._worker.stop()
        raise ValueError

    async with WorkerTest(worker_of(stop)) as test:
        await test.publish("orders.x")
        with pytest.raises(AssertionError, match="was stopped"):
            await test.until_idle()


async def test_tests_do_not_meet():
    """Two tests of one worker at the same time have each a broker of its own, and it can be tested again."""
    worker = worker_of(lambda message: None)
    for _ in range(2):
        async with WorkerTest(worker) as one, WorkerTest(worker) as two:
            await one.publish("orders.x")
            await one.until_idle()
            await two.until_idle()
        assert (len(one.verdicts), len(two.verdicts)) == (1, 0)
