"""The graceful stop: its order, its races and its bounds, over a memory broker that notes what it is asked."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from pubsubkit import (
    Backend,
    Capability,
    ClosedError,
    Consumer,
    ConsumerOptions,
    InvalidArgumentError,
    Message,
    PublisherOptions,
    Subscription,
    TransientError,
)
from pubsubkit.driver import ConsumerSpec, Delivery, DriverSubscription
from pubsubkit_memory import MemoryDriver

DEADLINE = 5.0
MOMENT = 0.05
Use = Callable[[Message], Awaitable[bool]]


class NotingDriver(MemoryDriver):
    """A memory driver that notes the calls of closing, and fails or hangs in them on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[object] = []
        self.hangs: set[str] = set()
        self.fails: set[str] = set()

    async def step(self, call: str, *details: object) -> None:
        self.calls.append((call, *details))
        if call in self.hangs:
            await asyncio.Event().wait()
        if call in self.fails:
            raise TransientError("the broker is gone")

    async def subscribe(self, spec: ConsumerSpec, buffer: int) -> DriverSubscription:
        return NotingSubscription(self, await super().subscribe(spec, buffer))

    async def delete_consumer(self, stream: str, name: str) -> bool:
        await self.step("delete_consumer")
        return await super().delete_consumer(stream, name)


class NotingSubscription(DriverSubscription):
    def __init__(self, driver: NotingDriver, inner: DriverSubscription) -> None:
        self.driver, self.inner = driver, inner

    async def receive(self) -> Delivery | None:
        return await self.inner.receive()

    async def aclose(self, held: Sequence[Delivery]) -> None:
        await self.inner.aclose(held)
        await self.driver.step("unsubscribe", len(held))

    async def flush(self) -> None:
        await self.driver.step("flush")


@pytest.fixture
def driver() -> NotingDriver:
    return NotingDriver()


@pytest.fixture
async def backend(driver: NotingDriver) -> AsyncIterator[Backend]:
    """An open backend with three messages in the stream s."""
    async with Backend(driver) as opened:
        async with opened.publisher(PublisherOptions(stream_name="s")) as publisher:
            for data in (b"1", b"2", b"3"):
                await publisher.publish("s.x", data)
        yield opened
        driver.hangs.clear()
        driver.fails.clear()


@pytest.fixture
def short_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let closing wait for a broker that hangs no longer than a moment."""
    monkeypatch.setattr("pubsubkit.subscription._CLOSE_SECONDS", MOMENT)


def reader(backend: Backend, **options: object) -> Consumer:
    return backend.consumer(ConsumerOptions(**{"stream_name": "s", "consumer_name": "d", "ack_wait": 60, **options}))  # type: ignore[arg-type]


async def waits(task: asyncio.Future) -> bool:
    """Whether *task* is still not done when it had ample opportunity."""
    await asyncio.wait([task], timeout=MOMENT)
    return not task.done()


async def draining(subscription: Subscription, timeout: float = DEADLINE) -> asyncio.Future[None]:
    """A drain that has begun and waits."""
    task = asyncio.ensure_future(subscription.drain(timeout))
    assert await waits(task)
    return task


@pytest.mark.parametrize(
    "use",
    [
        lambda message: message.ack(),
        lambda message: message.ack(confirm=True),
        lambda message: message.nak(),
        lambda message: message.nak_with_delay(30),
        lambda message: message.term("why"),
    ],
    ids=["ack", "confirmed", "nak", "delayed", "term"],
)
async def test_verdicts_count_while_draining(backend: Backend, driver: NotingDriver, use: Use):
    """Drain waits for the verdict of each message that was handed out, and every verdict counts."""
    subscription = reader(backend).subscribe()
    first, second = await anext(subscription), await anext(subscription)
    drain = await draining(subscription)
    assert not subscription.closed
    assert not subscription.consuming
    assert await use(first)
    assert await waits(drain)
    assert await use(second)
    async with asyncio.timeout(DEADLINE):
        await drain
    assert subscription.closed
    assert driver.calls == [("unsubscribe", 0), ("flush",)]


async def test_iteration_ends_when_draining_begins(backend: Backend):
    """A blocked anext ends, and so does every later one, also for messages that wait on the broker."""
    blocked = reader(backend, consumer_name="other", deliver_from="new").subscribe()
    waiting = [asyncio.ensure_future(anext(blocked, None)) for _ in range(2)]
    await asyncio.sleep(0)
    assert await waits(waiting[0])
    async with asyncio.timeout(DEADLINE):
        await blocked.drain()
        assert await asyncio.gather(*waiting) == [None, None]
    subscription = reader(backend).subscribe()
    message = await anext(subscription)
    drain = await draining(subscription)
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)
    await message.ack()
    async with asyncio.timeout(DEADLINE):
        await drain


async def test_what_has_no_verdict_in_time_comes_again(backend: Backend):
    """At the end of the timeout what has no verdict is given back and sealed, and comes again at once."""
    subscription = reader(backend).subscribe()
    late = await anext(subscription)
    async with asyncio.timeout(DEADLINE):
        await subscription.drain(MOMENT)
    assert late.settled
    assert not await late.ack()
    assert not await late.in_progress()
    async with asyncio.timeout(DEADLINE), reader(backend).subscribe() as others:
        again = await anext(others)
    assert (again.data, again.metadata.num_delivered) == (b"1", 2)


async def test_aclose_ends_a_drain(backend: Backend, driver: NotingDriver):
    """Closing during a drain ends its wait at once and gives back; both return when that is done."""
    subscription = reader(backend).subscribe()
    message = await anext(subscription)
    drains = [await draining(subscription), await draining(subscription, 4)]
    async with asyncio.timeout(1):
        await asyncio.gather(subscription.aclose(), subscription.aclose(), *drains)
    assert not await message.ack()
    assert driver.calls == [("unsubscribe", 0), ("flush",)]
    async with asyncio.timeout(DEADLINE), reader(backend).subscribe() as others:
        assert (await anext(others)).data == b"1"


async def test_the_shortest_of_several_drains_counts(backend: Backend, driver: NotingDriver):
    """Draining may be called again, also concurrently and afterwards; each call returns when it is closed."""
    subscription = reader(backend).subscribe()
    await anext(subscription)
    patient = await draining(subscription)
    async with asyncio.timeout(1):
        await subscription.drain(0)
        await patient
        await subscription.drain()
        await subscription.aclose()
    assert driver.calls == [("unsubscribe", 0), ("flush",)]


async def test_draining_what_was_not_entered_is_closing(backend: Backend, driver: NotingDriver):
    """A subscription that was never entered, or is closed, has nothing to wait for."""
    unused, closed = reader(backend).subscribe(), reader(backend).subscribe()
    await anext(closed)
    await closed.aclose()
    driver.calls.clear()
    async with asyncio.timeout(DEADLINE):
        await unused.drain()
        await closed.drain()
    assert driver.calls == []
    with pytest.raises(ClosedError):
        await unused.__aenter__()


async def test_cancelling_a_drain_loses_nothing(backend: Backend, driver: NotingDriver):
    """A cancelled drain leaves verdicts possible; closing then gives the rest back."""
    subscription = reader(backend).subscribe()
    first, second = await anext(subscription), await anext(subscription)
    drain = await draining(subscription)
    drain.cancel()
    await asyncio.wait([drain])
    assert drain.cancelled()
    assert not subscription.closed
    assert await anext(subscription, None) is None
    assert await first.ack()
    async with asyncio.timeout(DEADLINE):
        await subscription.aclose()
    assert not await second.ack()
    async with asyncio.timeout(DEADLINE), reader(backend).subscribe() as others:
        assert [(await anext(others)).data for _ in range(2)] == [b"2", b"3"]


async def test_cancelling_a_drain_as_it_begins(backend: Backend, driver: NotingDriver):
    """Cancelled before the driver has stopped, it goes on stopping, and closing waits for that."""
    subscription = reader(backend).subscribe()
    await anext(subscription)
    drain = asyncio.ensure_future(subscription.drain())
    await asyncio.sleep(0)
    drain.cancel()
    async with asyncio.timeout(DEADLINE):
        await asyncio.wait([drain])
        await subscription.aclose()
    assert driver.calls == [("unsubscribe", 0), ("flush",)]


async def test_an_expired_lease_is_not_waited_for(backend: Backend):
    """A message whose ack_wait ran out is somebody else's by now: drain does not wait for it, nor gives it back."""
    subscription = reader(backend, ack_wait=2 * MOMENT).subscribe()
    message = await anext(subscription)
    started = time.monotonic()
    async with asyncio.timeout(DEADLINE):
        await subscription.drain(60)
    assert time.monotonic() - started >= MOMENT
    assert not await message.ack()


async def test_the_lease_is_that_of_the_consumer_on_the_broker(backend: Backend):
    """With manage='none' it is the consumer's own ack_wait that says how long a message is waited for."""
    async with reader(backend, ack_wait=60):
        subscription = reader(backend, ack_wait=MOMENT, manage="none").subscribe()
        message = await anext(subscription)
        drain = await draining(subscription)
        assert await waits(drain)
        assert await message.ack()
        async with asyncio.timeout(DEADLINE):
            await drain


async def test_in_progress_prolongs_a_drain(backend: Backend):
    """A handler that says it is still at work is waited for longer than ack_wait."""
    subscription = reader(backend, ack_wait=4 * MOMENT).subscribe()
    message = await anext(subscription)
    drain = asyncio.ensure_future(subscription.drain())
    until = time.monotonic() + 8 * MOMENT
    while time.monotonic() < until:
        assert await message.in_progress()
        assert await waits(drain)
    assert await message.ack()
    async with asyncio.timeout(DEADLINE):
        await drain


async def test_a_failed_verdict_is_waited_for_again(backend: Backend):
    """A verdict that did not reach the broker leaves the message without one, and drain waits on."""
    subscription = reader(backend).subscribe()
    message = await anext(subscription)
    delivery = message.delivery

    class Failing(type(delivery)):  # type: ignore[misc]
        __slots__ = ()

        async def settle(self, settlement):
            raise TransientError("not sent")

    whole, delivery.__class__ = delivery.__class__, Failing
    drain = await draining(subscription)
    with pytest.raises(TransientError):
        await message.ack()
    assert await waits(drain)
    delivery.__class__ = whole
    assert await message.ack()
    async with asyncio.timeout(DEADLINE):
        await drain


async def test_an_ephemeral_consumer_is_deleted_last(backend: Backend, driver: NotingDriver):
    """An ephemeral consumer is there as long as verdicts are waited for."""
    subscription = reader(backend, consumer_name="").subscribe()
    message = await anext(subscription)
    drain = await draining(subscription)
    assert driver.calls == [("unsubscribe", 0)]
    await message.ack()
    async with asyncio.timeout(DEADLINE):
        await drain
    assert driver.calls == [("unsubscribe", 0), ("flush",), ("delete_consumer",)]


@pytest.mark.parametrize("how", ["hangs", "fails"])
@pytest.mark.parametrize("call", ["unsubscribe", "flush", "delete_consumer"])
@pytest.mark.usefixtures("short_close")
async def test_draining_without_the_broker(
    backend: Backend, driver: NotingDriver, caplog: pytest.LogCaptureFixture, call: str, how: str
):
    """A broker that is gone or silent costs a bounded time and a warning, and the messages are sealed."""
    subscription = reader(backend, consumer_name="").subscribe()
    message = await anext(subscription)
    getattr(driver, how).add(call)
    async with asyncio.timeout(DEADLINE):
        await subscription.drain(MOMENT)
    assert "without the broker" in caplog.text
    assert not await message.ack()
    assert subscription.closed


async def test_draining_where_nothing_can_be_given_back(backend: Backend, driver: NotingDriver):
    """A backend without nak is not asked for one: the message comes again after its ack_wait."""
    driver.capabilities -= {Capability.NAK}
    subscription = reader(backend).subscribe()
    await anext(subscription)
    async with asyncio.timeout(DEADLINE):
        await subscription.drain(0)
    assert (await backend.consumer_info("s", "d")).num_ack_pending == 1


async def test_a_consumer_drains_all_its_subscriptions(backend: Backend):
    """Consumer.drain drains them at the same time, takes no new ones and closes."""
    consumer = reader(backend)
    members = [consumer.subscribe() for _ in range(3)]
    messages = [await anext(member) for member in members]
    drain = asyncio.ensure_future(consumer.drain(DEADLINE))
    assert await waits(drain)
    with pytest.raises(ClosedError):
        consumer.subscribe()
    assert [await message.ack() for message in reversed(messages)] == [True] * 3
    async with asyncio.timeout(DEADLINE):
        await drain
    assert consumer.closed
    assert consumer.subscriptions == ()
    assert (await backend.consumer_info("s", "d")).num_ack_pending == 0


async def test_cancelling_the_drain_of_a_consumer(backend: Backend):
    """A cancelled drain leaves the consumer open to aclose, and verdicts count until then."""
    consumer = reader(backend)
    message = await anext(consumer.subscribe())
    drain = asyncio.ensure_future(consumer.drain())
    assert await waits(drain)
    drain.cancel()
    await asyncio.wait([drain])
    assert not consumer.closed
    assert await message.ack()
    async with asyncio.timeout(DEADLINE):
        await consumer.aclose()


@pytest.mark.parametrize("timeout", [-1, float("nan"), 1e10, "3", None])
async def test_a_bad_timeout(backend: Backend, timeout: object):
    """A timeout that is no number of seconds is refused, and nothing has begun."""
    consumer = reader(backend)
    subscription = consumer.subscribe()
    await anext(subscription)
    for drain in (subscription.drain, consumer.drain):
        with pytest.raises(InvalidArgumentError, match="timeout"):
            await drain(timeout)  # type: ignore[arg-type]
    assert (await anext(subscription)).data == b"2"
    assert not consumer.closed


async def test_many_handlers_and_a_drain_at_any_moment(backend: Backend):
    """Whenever a drain begins, each message is either acked for good or comes to another member, and none twice."""
    async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
        await publisher.publish_many(("s.x", b"%d" % number) for number in range(4, 101))
    acked: list[bytes] = []
    async with asyncio.timeout(30):
        while len(acked) < 100:
            consumer = reader(backend, max_in_flight=10_000)
            subscription, began = consumer.subscribe(), asyncio.Event()

            async def handle(message: Message) -> None:
                await asyncio.sleep(0.001)
                if await message.ack():
                    acked.append(message.data)

            async def read(source: Subscription, began: asyncio.Event) -> None:
                async with asyncio.TaskGroup() as tasks:
                    async for message in source:
                        tasks.create_task(handle(message))
                        began.set()
                        await asyncio.sleep(0)

            readers = [asyncio.ensure_future(read(subscription, began)) for _ in range(3)]
            await began.wait()
            await subscription.drain()
            await asyncio.gather(*readers)
    assert sorted(acked, key=int) == [b"%d" % number for number in range(1, 101)]


async def test_released_messages_come_again_before_the_unread(backend: Backend):
    """What was handed out and not begun goes back first, in its order, and its verdicts count no more."""
    async with backend.publisher(PublisherOptions(stream_name="t")) as publisher:
        await publisher.publish_many(("t.x", b"%d" % number) for number in range(4))
    options = ConsumerOptions(stream_name="t", consumer_name="d")
    async with backend.consumer(options).subscribe() as messages:
        one, two, three = [await anext(messages) for _ in range(3)]
        await one.ack()
        await messages.drain(0, release=[one, two, three])
        assert not await two.ack()
    async with backend.consumer(options).subscribe() as messages:
        again = [await anext(messages) for _ in range(3)]
    assert [(message.data, message.metadata.num_delivered) for message in again] == [(b"1", 2), (b"2", 2), (b"3", 1)]
