"""What a driver does at once, past the coroutine: when it is used, and when it must not be."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from pubsubkit import (
    Backend,
    ConsumerOptions,
    InvalidArgumentError,
    PublisherOptions,
    PublishReceipt,
    PubSubError,
    StreamFullError,
    Subscription,
)
from pubsubkit.driver import ConsumerSpec, Delivery, Driver, DriverSubscription, Settlement
from pubsubkit.publisher import Publisher
from pubsubkit_memory import MemoryDriver
from pubsubkit_memory.delivery import MemoryDelivery
from pubsubkit_memory.subscription import MemorySubscription

DEADLINE = 5.0
STREAM = PublisherOptions(stream_name="s")
READER = ConsumerOptions(stream_name="s", consumer_name="d")


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend(MemoryDriver()) as opened:
        yield opened


@pytest.fixture
async def publisher(backend: Backend) -> AsyncIterator[Publisher]:
    """One that has published already, so that nothing is to be looked up any more."""
    async with backend.publisher(STREAM) as opened:
        await opened.publish("s.x", b"first")
        yield opened


@pytest.fixture
async def messages(backend: Backend, publisher: Publisher) -> AsyncIterator[Subscription]:
    async with backend.consumer(READER).subscribe() as opened:
        await (await anext(opened)).ack()
        yield opened


def refuse(*_: object) -> Awaitable[object]:
    raise AssertionError("the coroutine was called")


async def test_what_needs_no_waiting_takes_no_coroutine(
    publisher: Publisher, messages: Subscription, monkeypatch: pytest.MonkeyPatch
):
    """A message is published, received and acked past the driver's coroutines."""
    for owner, method in ((MemoryDriver, "send"), (MemorySubscription, "receive"), (MemoryDelivery, "settle")):
        monkeypatch.setattr(owner, method, refuse)
    receipt = await publisher.publish("s.x", b"second")
    message = await anext(messages)
    assert (message.data, message.metadata.sequence) == (b"second", receipt.sequence)
    assert await message.ack()
    assert not await message.ack()


async def test_an_override_is_not_gone_past():
    """A subclass that overrides a method loses the shortcut past it, but for one of its own."""
    seen: list[str] = []

    class Sending(MemoryDriver):
        async def send(self, messages, timeout):
            seen.append("send")
            return await super().send(messages, timeout)

        async def subscribe(self, spec: ConsumerSpec, buffer: int) -> DriverSubscription:
            inner = await super().subscribe(spec, buffer)
            inner.__class__ = Receiving
            return inner

    class Receiving(MemorySubscription):
        async def receive(self):
            seen.append("receive")
            delivery = await super().receive()
            delivery.__class__ = Settling
            return delivery

    class Settling(MemoryDelivery):
        __slots__ = ()

        async def settle(self, settlement: Settlement) -> None:
            seen.append("settle")
            await super().settle(settlement)

    class Both(Sending):
        async def send(self, messages, timeout):
            return await super().send(messages, timeout)

        def send_now(self, subject, data, timeout):
            return MemoryDriver.send_now(self, subject, data, timeout)

    class Audit:
        async def send(self, messages, timeout):
            return await super().send(messages, timeout)  # type: ignore[misc]

    class Mixed(Audit, MemoryDriver):
        pass

    class Plain(MemoryDriver):
        pass

    assert Mixed.send_now is Driver.send_now
    assert Plain.send_now is MemoryDriver.send_now
    assert Sending.send_now is Driver.send_now
    assert Receiving.receive_now is DriverSubscription.receive_now
    assert Settling.settle_now is Delivery.settle_now
    assert Both.send_now is not Driver.send_now
    async with Backend(Sending()) as backend, backend.publisher(STREAM) as publisher:
        for data in (b"1", b"2"):
            await publisher.publish("s.x", data)
        async with backend.consumer(READER).subscribe() as messages:
            assert await (await anext(messages)).ack()
            assert await (await anext(messages)).ack()
        assert (await backend.consumer_info("s", "d")).num_ack_pending == 0
    assert seen == ["send", "send", "receive", "settle", "receive", "settle"]


@pytest.mark.parametrize(
    ("error", "match"),
    [(StreamFullError("no room"), "^no room$"), (OSError("no disk"), r"^publish to 's\.x' on memory:.*: no disk$")],
)
async def test_errors_of_a_publish(publisher: Publisher, monkeypatch: pytest.MonkeyPatch, error: Exception, match: str):
    """A portable error is raised as it is, a native one as its portable one with itself as the cause."""
    monkeypatch.setattr(MemoryDriver, "send_now", raising(error))
    with pytest.raises(PubSubError, match=match) as caught:
        await publisher.publish("s.x", b"x")
    assert error in (caught.value, caught.value.__cause__)


def confirming(monkeypatch: pytest.MonkeyPatch, confirm: Callable[[], Awaitable[object]]) -> None:
    """From now on a publish is written at once, and its confirmation awaited."""
    monkeypatch.setattr(MemoryDriver, "send", refuse)
    monkeypatch.setattr(MemoryDriver, "send_now", lambda *_: confirm())


async def test_a_confirmation_that_comes_later(publisher: Publisher, monkeypatch: pytest.MonkeyPatch):
    """What was written at once is awaited; closing the publisher waits for it too."""
    confirmed = asyncio.get_running_loop().create_future()
    confirming(monkeypatch, lambda: confirmed)
    publishing = asyncio.ensure_future(publisher.publish("s.x", b"x"))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(publisher.aclose())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not closing.done()
    confirmed.set_result([PublishReceipt("s", 7)])
    async with asyncio.timeout(DEADLINE):
        assert await publishing == PublishReceipt("s", 7)
        await closing


@pytest.mark.parametrize(
    ("outcomes", "match"),
    [
        ([StreamFullError("no room")], "^no room$"),
        ([OSError("no disk")], r"^publish to 's\.x' on memory:.*: no disk$"),
        (OSError("no disk"), r"^publish to 's\.x' on memory:.*: no disk$"),
        ([], "gave 0 outcomes for 1 messages"),
    ],
)
async def test_errors_of_a_confirmation(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, outcomes: Exception | list[object], match: str
):
    """An outcome that is an error, and an error of the awaitable itself, are raised as portable ones."""

    async def confirm() -> object:
        if isinstance(outcomes, Exception):
            raise outcomes
        return outcomes

    confirming(monkeypatch, confirm)
    with pytest.raises(PubSubError, match=match):
        await publisher.publish("s.x", b"x")


async def test_a_confirmation_nobody_waits_for_any_more(publisher: Publisher, monkeypatch: pytest.MonkeyPatch):
    """The driver hears of a publish that is cancelled."""
    heard = False

    async def confirm() -> None:
        nonlocal heard
        try:
            await asyncio.Event().wait()
        finally:
            heard = True

    confirming(monkeypatch, confirm)
    publishing = asyncio.ensure_future(publisher.publish("s.x", b"x"))
    await asyncio.sleep(0)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert heard


async def test_a_message_that_is_too_large_takes_the_long_way(backend: Backend, publisher: Publisher):
    """Where its size is checked."""
    with pytest.raises(InvalidArgumentError, match=r"publish to 's\.x'.*bytes"):
        await publisher.publish("s.x", bytes(backend.max_payload + 1))


async def test_errors_of_receiving_and_settling(
    publisher: Publisher, messages: Subscription, monkeypatch: pytest.MonkeyPatch
):
    """They come out as portable errors, the message is then without a verdict, and nothing is lost."""
    await publisher.publish("s.x", b"x")
    with monkeypatch.context() as patched:
        patched.setattr(MemorySubscription, "receive_now", raising(OSError("lost")))
        with pytest.raises(PubSubError, match=r"receive from stream 's'.*lost"):
            await anext(messages)
    message = await anext(messages)
    with monkeypatch.context() as patched:
        patched.setattr(MemoryDelivery, "settle_now", raising(OSError("lost")))
        with pytest.raises(PubSubError, match=r"ack of 's\.x'.*lost"):
            await message.ack()
    assert not message.settled
    assert await message.ack()


def raising(error: Exception) -> Callable[..., object]:
    def fail(*_: object) -> object:
        raise error

    return fail


async def test_a_drain_ends_with_the_last_verdict(publisher: Publisher, messages: Subscription):
    """A verdict that never waits is noticed by a drain that does."""
    await publisher.publish("s.x", b"x")
    message = await anext(messages)
    draining = asyncio.ensure_future(messages.drain(timeout=10 * DEADLINE))
    while not messages._ledger.watched:
        await asyncio.sleep(0)
    assert await message.ack()
    async with asyncio.timeout(DEADLINE):
        await draining


@pytest.mark.parametrize("consume", [False, True], ids=["publish", "and consume"])
async def test_a_loop_that_never_waits_lets_others_run(publisher: Publisher, messages: Subscription, consume: bool):
    """Publishing, or publishing and consuming, 10,000 messages gives other tasks a turn now and then."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    for _ in range(10_000):
        await publisher.publish("s.x", b"")
        if consume:
            await (await anext(messages)).ack()
    counting.cancel()
    assert turns >= 50


async def test_what_handlers_forget_does_not_pile_up(backend: Backend, publisher: Publisher):
    """Messages whose ack_wait is over are let go of while others come, all of them at once."""
    options = ConsumerOptions(
        stream_name="s", consumer_name="short", ack_wait=0.001, max_deliver=1, max_in_flight=10_000
    )
    async with backend.consumer(options).subscribe() as messages:
        for _ in range(5_000):
            await publisher.publish("s.x", b"")
            await anext(messages)
        assert len(messages._ledger.held) < 2_500
