"""Shutdown: closing is idempotent, bounded, complete, and final."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit import ClosedError, ConsumerOptions, NotFoundError, PublisherOptions, StreamOptions
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.leftovers import Leftovers

if TYPE_CHECKING:
    from pubsubkit import Message
    from pubsubkit_contract.kit import Kit

__all__ = ["ShutdownCases"]

_LONG = 60.0


class ShutdownCases(Cases):
    """Whatever is closed, twice, at once or in the middle of something, ends, and is not usable any more."""

    @case("shut.idempotent", why="Clean-up code of several owners closes the same thing.")
    async def test_shut_idempotent(self, kit: Kit) -> None:
        """Closing twice, or five times at once, raises nothing, for all that can be closed."""
        publisher, subscription = await kit.publisher(), await kit.subscription()
        consumer = kit.backend.consumer(ConsumerOptions(stream_name=kit.stream))
        for closable in (subscription, consumer, publisher, kit.backend):
            closing = asyncio.gather(*(closable.aclose() for _ in range(5)))
            await kit.within(closing, f"closing a {type(closable).__name__}")
            await kit.within(closable.aclose(), f"closing a {type(closable).__name__} again")
            assert closable.closed
        kit.note("four kinds of objects were closed six times each")

    @case("shut.concurrent", why="Whoever closes second goes on as if all was done, and ends the process.")
    async def test_shut_concurrent(self, kit: Kit) -> None:
        """Each of several closes at once returns when closing has ended, not before."""
        subscription = await kit.feed(b"x", consumer_name="", ack_wait=_LONG)
        name = (await kit.receive(subscription)).metadata.consumer

        async def close() -> None:
            await subscription.aclose()
            with kit.raises(NotFoundError):  # its ephemeral consumer is gone
                await kit.backend.consumer_info(kit.stream, name)

        await kit.within(asyncio.gather(*(close() for _ in range(3))), "closing")

    @case("shut.ends_iteration", why="A loop that does not end keeps the process from ending.")
    async def test_shut_ends_iteration(self, kit: Kit) -> None:
        """Closing the subscription, the consumer or the backend ends every blocked iteration, without an error."""
        first = await kit.subscription()
        await first.aclose()
        for kind in ("subscription", "consumer", "backend"):
            backend = await kit.connect()
            consumer = backend.consumer(first.options)
            subscription = await consumer.subscribe().__aenter__()
            waiting = [asyncio.ensure_future(anext(subscription, None)) for _ in range(3)]
            done, _ = await asyncio.wait(waiting, timeout=kit.timing.quiet)
            assert not done
            closable = {"subscription": subscription, "consumer": consumer, "backend": backend}[kind]
            await kit.within(closable.aclose(), f"closing the {kind}")
            assert await kit.within(asyncio.gather(*waiting), "the iteration") == [None] * 3
            assert await kit.within(anext(subscription, None), "another iteration") is None
        kit.note("nine iterations ended")

    @case("shut.use_after", why="A message that is published into nowhere is lost, and nobody is told.")
    async def test_shut_use_after(self, kit: Kit) -> None:
        """A closed publisher, consumer or subscription refuses all use with ClosedError, and does nothing."""
        publisher, subscription = await kit.publisher(), await kit.subscription("")
        await publisher.publish(kit.subject("x"), b"x")
        await publisher.aclose()
        for use in (publisher.publish, publisher.publish_soon):
            for subject in (kit.subject("x"), kit.subject("other")):
                with kit.raises(ClosedError, "publisher"):
                    await use(subject, b"x")
        with kit.raises(ClosedError, "publisher"):
            await publisher.__aenter__()
        await subscription.aclose()
        with kit.raises(ClosedError, "subscription"):
            await subscription.__aenter__()
        consumer = kit.backend.consumer(subscription.options)
        unused = consumer.subscribe()
        await consumer.aclose()
        with kit.raises(ClosedError, "consumer"):
            consumer.subscribe()
        with kit.raises(ClosedError, "consumer"):
            await consumer.__aenter__()
        assert await kit.within(anext(unused, None), "an iteration") is None
        assert (await kit.stream_info()).messages == 1

    @case("shut.backend_closed", why="A closed connection must not look like an idle system.")
    async def test_shut_backend_closed(self, kit: Kit) -> None:
        """Closing the backend closes all that it made; it refuses all use with ClosedError, and is not opened again."""
        subscription, publisher = await kit.feed(b"x"), await kit.publisher()
        consumer = kit.backend.consumer(subscription.options)
        message = await kit.receive(subscription)
        await kit.backend.aclose()
        assert publisher.closed and subscription.closed and consumer.closed
        assert await anext(subscription, None) is None
        assert not await message.ack()
        for call in (
            lambda: kit.backend.publisher(PublisherOptions(stream_name=kit.stream)),
            lambda: kit.backend.consumer(subscription.options),
            consumer.subscribe,
        ):
            with kit.raises(ClosedError):
                call()
        for use in (
            kit.backend.open(),
            kit.backend.stream_info(kit.stream),
            kit.backend.ensure_stream(StreamOptions(name=kit.stream)),
            publisher.publish(kit.subject("x"), b"x"),
        ):
            with kit.raises(ClosedError):
                await use

    @case("shut.never_hangs", why="Who hangs in a shutdown is killed, with all that it had to do.")
    async def test_shut_never_hangs(self, kit: Kit) -> None:
        """Closing ends with full buffers, unsettled messages and calls that wait for room, which get ClosedError."""
        subscription = await kit.feed(*(b"%d" % number for number in range(50)), channel_buf_size=5, ack_wait=_LONG)
        await kit.read(subscription, 7, ack=False)
        publisher = await kit.publisher(window=2)
        calls = [asyncio.ensure_future(publisher.publish_soon(kit.subject("x"), b"x")) for _ in range(30)]
        await asyncio.sleep(0)
        await kit.within(kit.backend.aclose(), "closing")
        outcomes = await kit.within(asyncio.gather(*calls, return_exceptions=True), "publish_soon")
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        kit.note(f"{len(refused)} of 30 were refused")
        assert {type(outcome) for outcome in refused} == {ClosedError}

    @case("shut.while_opening", why="A service that is stopped while it starts must stop too.")
    async def test_shut_while_opening(self, kit: Kit) -> None:
        """Closing while something is being opened ends both, and the opening is refused unless it was done before."""
        first = await kit.subscription("")
        await first.aclose()
        for turns in range(6):
            backend = await kit.connect()
            subscription = backend.consumer(first.options).subscribe()
            publisher = backend.publisher(PublisherOptions(stream_name=kit.stream))
            opening = [asyncio.ensure_future(opened.__aenter__()) for opened in (subscription, publisher)]
            for _ in range(turns):
                await asyncio.sleep(0)
            await kit.within(backend.aclose(), "closing")
            outcomes = await kit.within(asyncio.gather(*opening, return_exceptions=True), "opening")
            assert all(outcome in (subscription, publisher) or isinstance(outcome, ClosedError) for outcome in outcomes)
            assert await kit.within(anext(subscription, None), "an iteration") is None
            kit.note(f"closed after {turns} turns: {[type(outcome).__name__ for outcome in outcomes]}")

    @case("shut.cancelled_not_failed", why="Alarms at every deployment teach people to ignore alarms.")
    async def test_shut_cancelled_not_failed(self, kit: Kit) -> None:
        """Closing under a handler and a receive that are cancelled is no failure: no warning, error or complaint."""

        async def handle(message: Message) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await message.ack()

        with Leftovers(kit.cap) as leftovers:
            backend = await kit.connect()
            subscription = await kit.subscription("", backend=backend, ack_wait=_LONG)
            await kit.publish(b"1", b"2")
            handlers = [
                asyncio.ensure_future(handle(message)) for message in await kit.read(subscription, 2, ack=False)
            ]
            receiving = await kit.nothing(subscription)
            for task in (handlers[0], receiving):
                task.cancel()
            await kit.within(backend.aclose(), "closing")
            handlers[1].cancel()
            await kit.within(asyncio.wait([*handlers, receiving]), "the handlers")
            assert receiving.cancelled() and all(task.cancelled() for task in handlers)
        kit.note(f"complaints: {leftovers.complaints}")
        assert not leftovers.complaints

    @case("shut.no_leaks", why="A service that opens and closes for months must not grow.")
    async def test_shut_no_leaks(self, kit: Kit) -> None:
        """After closing no task, thread, socket or file of it is left, and nothing was logged or warned of."""
        with Leftovers(kit.cap) as leftovers:
            for _ in range(2):
                await _use_all(kit)
            left = await leftovers.settle()
        kit.note(f"left: {left}, complaints: {leftovers.complaints}")
        assert not left
        assert not leftovers.complaints

    @case("shut.health", why="What asks for health decides whether a service is started anew.")
    async def test_shut_health(self, kit: Kit) -> None:
        """Health tells connected from consuming, before and after closing, and never raises."""
        health = await kit.backend.health()
        assert (health.connected, health.consuming, health.error) == (True, None, "")
        assert health.latency is not None and health.latency >= 0
        subscription = await kit.subscription()
        assert (await kit.backend.health()).consuming is True
        await subscription.aclose()
        assert (await kit.backend.health()).consuming is None
        await kit.backend.aclose()
        health = await kit.backend.health()
        kit.note(f"{health}")
        assert not health.connected and not health.consuming
        assert "closed" in health.error


async def _use_all(kit: Kit) -> None:
    """Open a connection, use all that it has, and close it in the middle of something."""
    backend = await kit.connect()
    publisher = await kit.publisher(backend)
    subscription = await kit.subscription("", backend=backend, ack_wait=_LONG)
    await publisher.publish_soon(kit.subject("x"), b"x")
    await publisher.publish(kit.subject("x"), b"y")
    await kit.read(subscription, 1)
    await kit.receive(subscription)
    blocked = asyncio.ensure_future(anext(subscription, None))
    await asyncio.wait([blocked], timeout=kit.timing.quiet)
    await backend.aclose()
    await blocked
