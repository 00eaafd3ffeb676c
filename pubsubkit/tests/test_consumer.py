"""The portable half of consuming: settlement, closing, withheld capabilities."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

import pytest

from pubsubkit import (
    Backend,
    Capability,
    ClosedError,
    Consumer,
    ConsumerOptions,
    InvalidArgumentError,
    Message,
    NotFoundError,
    PublisherOptions,
    PubSubError,
    TransientError,
    UnsupportedError,
    connect,
)
from pubsubkit.driver import ConsumerSpec, Delivery, DriverSubscription
from pubsubkit_memory import MemoryDriver


class NativeError(Exception):
    """What this driver's client library raises."""


class FaultyDriver(MemoryDriver):
    """A memory driver with withheld capabilities and failures on demand."""

    error_table: ClassVar = {NativeError: TransientError}
    settle_fails = False
    receive_fails = False
    close_hangs = False

    async def subscribe(self, spec: ConsumerSpec, buffer: int) -> DriverSubscription:
        return FaultySubscription(self, await super().subscribe(spec, buffer))


class FaultySubscription(DriverSubscription):
    def __init__(self, driver: FaultyDriver, inner: DriverSubscription) -> None:
        self.driver, self.inner = driver, inner

    async def receive(self) -> Delivery | None:
        if self.driver.receive_fails:
            raise NativeError("lost")
        delivery = await self.inner.receive()
        if delivery is not None and self.driver.settle_fails:

            class Failing(type(delivery)):  # type: ignore[misc]
                __slots__ = ()

                async def settle(self, settlement):
                    raise NativeError("not sent")

            delivery.__class__ = Failing
        return delivery

    async def aclose(self, held: Sequence[Delivery]) -> None:
        if self.driver.close_hangs:
            await asyncio.Event().wait()
        await self.inner.aclose(held)


@pytest.fixture
def driver() -> FaultyDriver:
    return FaultyDriver()


@pytest.fixture
async def backend(driver: FaultyDriver) -> AsyncIterator[Backend]:
    """An open backend with three messages in the stream s."""
    async with Backend(driver) as opened:
        async with opened.publisher(PublisherOptions(stream_name="s")) as publisher:
            for data in (b"1", b"2", b"3"):
                await publisher.publish("s.x", data)
        yield opened


def reader(backend: Backend, **options: object) -> Consumer:
    return backend.consumer(ConsumerOptions(**{"stream_name": "s", "consumer_name": "d", **options}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("missing", "use"),
    [
        (Capability.NAK, lambda message: message.nak()),
        (Capability.NAK, lambda message: message.nak_with_delay(0)),
        (Capability.NAK_DELAY, lambda message: message.nak_with_delay(1)),
        (Capability.TERM, lambda message: message.term()),
        (Capability.IN_PROGRESS, lambda message: message.in_progress()),
        (Capability.CONFIRMED_ACK, lambda message: message.ack(confirm=True)),
    ],
)
async def test_withheld_capabilities_raise(driver: FaultyDriver, backend: Backend, missing: Capability, use):
    """A verdict that the backend does not have raises UnsupportedError; the message can still be acked."""
    driver.capabilities -= {missing}
    async with reader(backend).subscribe() as messages:
        message = await anext(messages)
        with pytest.raises(UnsupportedError, match=missing.value):
            await use(message)
        assert await message.ack()


async def test_withheld_headers(driver: FaultyDriver, backend: Backend):
    """A backend that cannot carry headers refuses them instead of dropping them."""
    driver.capabilities -= {Capability.HEADERS}
    publisher = backend.publisher(PublisherOptions(stream_name="s"))
    with pytest.raises(UnsupportedError, match="headers"):
        await publisher.publish("s.x", b"", headers={"a": "b"})
    await publisher.publish("s.x", b"")


async def test_failed_settlement_leaves_the_message_unsettled(driver: FaultyDriver, backend: Backend):
    """When the verdict cannot be handed over it raises a portable error, and a later verdict counts."""
    driver.settle_fails = True
    async with reader(backend).subscribe() as messages:
        message = await anext(messages)
        with pytest.raises(TransientError, match=r"ack of 's\.x'") as caught:
            await message.ack()
        assert isinstance(caught.value.__cause__, NativeError)
        assert not message.settled
        message.delivery.__class__ = message.delivery.__class__.__mro__[1]
        assert await message.ack()
        driver.settle_fails = False


async def test_lost_receive_is_an_error_not_an_end(driver: FaultyDriver, backend: Backend):
    """A native error while receiving is raised as a portable one; the iteration does not just end."""
    driver.receive_fails = True
    async with reader(backend).subscribe() as messages:
        with pytest.raises(TransientError, match="lost"):
            await anext(messages)


async def test_close_is_bounded(driver: FaultyDriver, backend: Backend, monkeypatch, caplog: pytest.LogCaptureFixture):
    """A broker that does not answer at close costs a bounded time and a warning."""
    monkeypatch.setattr("pubsubkit.subscription._CLOSE_SECONDS", 0.05)
    driver.close_hangs = True
    subscription = reader(backend).subscribe()
    await anext(subscription)
    async with asyncio.timeout(5):
        await subscription.aclose()
    assert "closed without the broker" in caplog.text
    assert [record.levelno for record in caplog.records if record.name == "pubsubkit.consumer"] == [logging.WARNING]


async def test_cancelled_close_goes_on(backend: Backend):
    """Cancelling a close leaves the closing to end by itself: messages go back."""
    subscription = reader(backend, ack_wait=60).subscribe()
    await anext(subscription)
    closing = asyncio.ensure_future(subscription.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    async with asyncio.timeout(5), reader(backend, ack_wait=60).subscribe() as messages:
        assert {(await anext(messages)).data for _ in range(3)} == {b"1", b"2", b"3"}


async def test_two_tasks_share_a_subscription(backend: Backend):
    """Two tasks that iterate one subscription get each message once."""
    got: list[bytes] = []
    async with reader(backend).subscribe() as messages:

        async def work() -> None:
            async for message in messages:
                got.append(message.data)
                await message.ack()
                await asyncio.sleep(0)
                if len(got) == 3:
                    await messages.aclose()

        async with asyncio.timeout(5):
            await asyncio.gather(work(), work())
    assert sorted(got) == [b"1", b"2", b"3"]


async def test_iterating_without_entering(backend: Backend):
    """Without ``async with`` the first iteration joins; closing the consumer closes it."""
    consumer = reader(backend)
    subscription = consumer.subscribe()
    message: Message = await anext(subscription)
    assert message.data == b"1"
    assert "s.x" in repr(message)
    assert subscription in consumer.subscriptions
    await consumer.aclose()
    assert [left async for left in subscription] == []
    assert consumer.subscriptions == ()
    with pytest.raises(ClosedError, match="consumer"):
        consumer.subscribe()


async def test_entering_twice_closed_things(backend: Backend):
    """What was closed cannot be entered again."""
    used = reader(backend).subscribe()
    await anext(used)
    for subscription in (used, reader(backend).subscribe()):
        await subscription.aclose()
        with pytest.raises(ClosedError, match="subscription"):
            await subscription.__aenter__()
    publisher = backend.publisher(PublisherOptions(stream_name="s"))
    await publisher.aclose()
    with pytest.raises(ClosedError):
        await publisher.__aenter__()


async def test_hopeless_filter_creates_nothing(backend: Backend):
    """A filter outside of the stream that would be created is refused before anything is created."""
    from pubsubkit import InvalidArgumentError

    consumer = backend.consumer(ConsumerOptions(stream_name="new", filter_subject="other.>"))
    with pytest.raises(InvalidArgumentError, match="can match nothing"):
        await consumer.__aenter__()
    with pytest.raises(NotFoundError):
        await backend.stream_info("new")


async def test_unknown_native_errors_do_not_leak(driver: FaultyDriver, backend: Backend, monkeypatch):
    """Even an exception that the driver did not foresee reaches the caller as a PubSubError with its cause."""

    async def broken(name: str) -> None:
        raise ZeroDivisionError("inside the driver")

    monkeypatch.setattr(driver, "stream_info", broken)
    with pytest.raises(PubSubError, match="inside the driver") as caught:
        await backend.stream_info("s")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("room", [0, -1, 1.5, True, None])
async def test_a_limit_is_a_whole_number(room):
    """What cannot be a number of messages is refused; a good one is fine also before the subscription is entered."""
    async with connect("memory://") as backend, backend.consumer(ConsumerOptions(stream_name="s")) as consumer:
        subscription = consumer.subscribe()
        subscription.limit(3)
        with pytest.raises(InvalidArgumentError, match="room"):
            subscription.limit(room)


async def test_a_stuck_verdict_does_not_keep_from_closing(backend: Backend, monkeypatch: pytest.MonkeyPatch):
    """While a verdict never gets an answer, closing ends a blocked iteration and gives the unread messages back."""
    monkeypatch.setattr("pubsubkit.subscription._CLOSE_SECONDS", 0.1)
    subscription = reader(backend, ack_wait=60).subscribe()
    stuck, held = await anext(subscription), await anext(subscription)
    await (await anext(subscription)).ack()
    blocked = asyncio.ensure_future(anext(subscription, None))
    answer = asyncio.Event()
    monkeypatch.setattr(type(stuck.delivery), "settle", lambda *_: answer.wait())
    monkeypatch.setattr(type(stuck.delivery), "settle_now", Delivery.settle_now)
    acking = asyncio.ensure_future(stuck.ack())
    await asyncio.sleep(0)
    monkeypatch.undo()
    monkeypatch.setattr("pubsubkit.subscription._CLOSE_SECONDS", 0.1)
    async with asyncio.timeout(5):
        await subscription.aclose()
        assert await blocked is None
        assert not await held.ack()
        async with reader(backend, ack_wait=60).subscribe() as messages:
            assert (await anext(messages)).data == held.data
    answer.set()
    await acking


class HalfGoneDriver(MemoryDriver):
    """Cannot subscribe, and cannot clean up after that either."""

    error_table: ClassVar = {NativeError: TransientError}
    hangs = False

    async def subscribe(self, spec: ConsumerSpec, buffer: int) -> DriverSubscription:
        if self.hangs:
            await asyncio.Event().wait()
        raise TransientError("the connection was lost")

    async def delete_consumer(self, stream: str, name: str) -> bool:
        raise NativeError("gone")


async def test_what_fails_in_cleaning_up_hides_nothing(caplog: pytest.LogCaptureFixture):
    """When joining fails or is cancelled, that is what the caller gets, also when its ephemeral consumer stays."""
    driver = HalfGoneDriver()
    async with Backend(driver) as opened:
        consumer = opened.consumer(ConsumerOptions(stream_name="s"))
        with pytest.raises(TransientError, match="the connection was lost"):
            await anext(consumer.subscribe())
        driver.hangs = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(consumer.subscribe())
    assert "gone" in caplog.text
