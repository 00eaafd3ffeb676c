"""Draining: the graceful stop, in which handlers finish and their verdicts count."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit import ClosedError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.harness import Knob
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit import Message, Subscription
    from pubsubkit_contract.kit import Kit

__all__ = ["DrainingCases"]

_LONG = 60.0


class Handler:
    """A loop over a subscription whose handler works until it is told to finish."""

    def __init__(self, subscription: Subscription) -> None:
        self.holding: asyncio.Event = asyncio.Event()
        self.finish: asyncio.Event = asyncio.Event()
        self.acked: list[bool] = []
        self.task: asyncio.Task[None] = asyncio.ensure_future(self._loop(subscription))

    async def _loop(self, subscription: Subscription) -> None:
        async for message in subscription:
            self.holding.set()
            await self.finish.wait()
            self.acked.append(await message.ack())


class DrainingCases(Cases):
    """drain() ends the iteration at once, then waits for the verdicts of what was handed out, then closes."""

    @case("shut.drain_waits", why="A handler that is cut short has done half of its work, which is done again.")
    async def test_shut_drain_waits(self, kit: Kit) -> None:
        """A drain ends when the handler at work has given its verdict, which counts; the handler is not cancelled."""
        subscription = await kit.feed(b"1", ack_wait=_LONG)
        handler = Handler(subscription)
        await kit.within(handler.holding.wait(), "the delivery")
        draining = asyncio.ensure_future(subscription.drain(_LONG))
        done, _ = await asyncio.wait([draining, handler.task], timeout=kit.timing.quiet)
        assert not done
        handler.finish.set()
        await kit.within(draining, "draining")
        await kit.within(handler.task, "the handler")
        kit.note(f"verdicts: {handler.acked}")
        assert handler.acked == [True]
        assert subscription.closed

    @case(
        "shut.drain_counts",
        why="What was finished during a deployment must not be done again after it.",
        needs={Capability.DURABLE},
    )
    async def test_shut_drain_counts(self, kit: Kit) -> None:
        """When a drain returns, all verdicts given meanwhile have reached the broker: the messages do not come back."""
        wanted = [b"%d" % number for number in range(20)]
        subscription = await kit.feed(*wanted, ack_wait=_LONG)
        held = await kit.read(subscription, 20, ack=False)
        draining = asyncio.ensure_future(subscription.drain(_LONG))
        await asyncio.sleep(0)
        for message in held:
            assert await message.ack()
        await kit.within(draining, "draining")
        info = await kit.consumer_info()
        assert (info.num_pending, info.num_ack_pending) == (0, 0)

    @case(
        "shut.drain_ends_iteration",
        why="A service that takes new work while it stops never stops.",
        needs={Capability.NAK},
    )
    async def test_shut_drain_ends_iteration(self, kit: Kit) -> None:
        """A drain ends blocked and later iterations at once, while a handler is still at work."""
        subscription = await kit.feed(b"1", ack_wait=_LONG)
        message = await kit.receive(subscription)
        blocked = [asyncio.ensure_future(anext(subscription, None)) for _ in range(2)]
        await asyncio.wait(blocked, timeout=kit.timing.quiet)
        draining = asyncio.ensure_future(subscription.drain(_LONG))
        assert await kit.within(asyncio.gather(*blocked), "the iteration") == [None, None]
        assert await kit.within(anext(subscription, None), "another iteration") is None
        assert not draining.done()
        assert await message.ack()
        await kit.within(draining, "draining")

    @case(
        "shut.drain_unseen",
        why="Messages that wait for one slow handler to stop wait for nothing.",
        needs={Capability.DURABLE, Capability.COMPETE, Capability.NAK},
    )
    async def test_shut_drain_unseen(self, kit: Kit) -> None:
        """What nobody has seen, and what is published from then on, goes to other members while the drain waits."""
        subscription = await kit.feed(*(b"%d" % number for number in range(20)), ack_wait=_LONG)
        held = await kit.receive(subscription)
        draining = asyncio.ensure_future(subscription.drain(_LONG))
        await asyncio.wait([draining], timeout=kit.timing.quiet)
        other = await kit.subscription(ack_wait=_LONG)
        got = payloads(await kit.read(other, 19))
        await kit.publish(b"20")
        got += payloads(await kit.read(other, 1))
        assert not draining.done()
        assert await held.ack()
        await kit.within(draining, "draining")
        assert sorted([held.data, *got]) == sorted(b"%d" % number for number in range(21))

    @case(
        "shut.drain_timeout",
        why="The system that stops a service kills it after a time; what is not done by then must be done elsewhere.",
        needs={Capability.DURABLE, Capability.NAK},
    )
    async def test_shut_drain_timeout(self, kit: Kit) -> None:
        """After its timeout, not before, a drain gives back what has no verdict; a verdict after that does nothing."""
        subscription = await kit.feed(b"1", ack_wait=_LONG)
        message = await kit.receive(subscription)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await kit.within(subscription.drain(kit.short), "draining")
        assert loop.time() - started >= kit.short * 0.9
        assert await message.ack() is False
        assert (await kit.receive(await kit.subscription(ack_wait=_LONG))).data == b"1"

    @case(
        "shut.drain_in_progress",
        why="The longest work is what a graceful stop is for.",
        needs={Capability.DURABLE, Capability.ACK_WAIT, Capability.IN_PROGRESS},
    )
    async def test_shut_drain_in_progress(self, kit: Kit) -> None:
        """A drain waits for a handler that says in_progress, for several times ack_wait; its verdict counts."""
        wait = max(0.3, 2 * kit.short)
        subscription = await kit.feed(b"long", ack_wait=wait)
        message = await kit.receive(subscription)
        draining = asyncio.ensure_future(subscription.drain(_LONG))
        lapsing = asyncio.ensure_future(kit.lapse(wait, times=2))
        while not lapsing.done():
            await message.in_progress()
            await asyncio.wait([lapsing], timeout=wait / 5)
        await lapsing
        assert not draining.done()
        assert await message.ack()
        await kit.within(draining, "draining")
        await kit.publish(b"sentinel")
        assert (await kit.receive(await kit.subscription(ack_wait=wait))).data == b"sentinel"

    @case(
        "shut.drain_lapsed",
        why="A handler that is stuck for good must not hold up the stop for the whole timeout.",
        needs={Capability.ACK_WAIT},
    )
    async def test_shut_drain_lapsed(self, kit: Kit) -> None:
        """A drain does not wait for a message whose ack_wait has run out: it is somebody else's."""
        subscription = await kit.feed(b"stuck", ack_wait=kit.short)
        await kit.receive(subscription)
        await kit.within(subscription.drain(_LONG), "draining")

    @case("shut.drain_then_close", why="The second signal means: now.")
    async def test_shut_drain_then_close(self, kit: Kit) -> None:
        """Closing during a drain ends its wait at once; draining again, or what is closed, ends at once too."""
        subscription = await kit.feed(b"1", ack_wait=_LONG)
        message = await kit.receive(subscription)
        draining = [asyncio.ensure_future(subscription.drain(_LONG)) for _ in range(2)]
        done, _ = await asyncio.wait(draining, timeout=kit.timing.quiet)
        assert not done
        await kit.within(subscription.aclose(), "closing")
        await kit.within(asyncio.gather(*draining), "draining")
        assert await message.ack() is False
        await kit.within(subscription.drain(_LONG), "draining again")

    @case(
        "shut.drain_cancelled",
        why="A stop that is cut short by a second deadline must not undo the first.",
        needs={Capability.NAK},
    )
    async def test_shut_drain_cancelled(self, kit: Kit) -> None:
        """A drain that is cancelled has ended the iteration; verdicts go on to count until it is drained or closed."""
        for turns in range(1, 7):
            subscription = await kit.feed(b"1", consumer_name="", ack_wait=_LONG)
            message = await kit.receive(subscription)
            draining = asyncio.ensure_future(subscription.drain(_LONG))
            for _ in range(turns):
                await asyncio.sleep(0)
            draining.cancel()
            await kit.within(asyncio.wait([draining]), "a cancelled drain")
            assert draining.cancelled()
            assert await kit.within(anext(subscription, None), "the iteration") is None
            assert await message.ack()
            await kit.within(subscription.drain(_LONG), "draining again")

    @case("shut.drain_idle", why="Most of the time there is nothing to wait for.", needs={Capability.FANOUT})
    async def test_shut_drain_idle(self, kit: Kit) -> None:
        """A drain with nothing handed out, or all settled, or before the first use, ends at once and closes."""
        used = await kit.feed(b"1", b"2")
        await kit.read(used, 2)
        unused = kit.backend.consumer(used.options).subscribe()
        for subscription in (used, await kit.subscription(""), unused):
            await kit.within(subscription.drain(_LONG), "draining")
            assert subscription.closed
        assert await kit.within(anext(unused, None), "the iteration") is None

    @case(
        "shut.drain_consumer",
        why="A service stops as a whole, and has one time for all of it.",
        needs={Capability.NAK, Capability.FANOUT},
    )
    async def test_shut_drain_consumer(self, kit: Kit) -> None:
        """Consumer.drain drains all its subscriptions at the same time, refuses new ones at once, then closes."""
        options = (await kit.subscription("", ack_wait=_LONG)).options
        consumer = kit.backend.consumer(options)
        members = [await consumer.subscribe().__aenter__() for _ in range(2)]
        await kit.publish(b"1")
        held: list[Message] = [await kit.receive(member) for member in members]
        draining = asyncio.ensure_future(consumer.drain(_LONG))
        await asyncio.wait([draining], timeout=kit.timing.quiet)
        ended = asyncio.gather(*(anext(member, None) for member in members))
        assert await kit.within(ended, "the iterations") == [None, None]
        with kit.raises(ClosedError):
            consumer.subscribe()
        for message in held:
            assert not draining.done()
            assert await message.ack()
        await kit.within(draining, "draining")
        assert consumer.closed

    @case(
        "shut.sigterm",
        why="This is how every service is stopped, several times a day.",
        needs={Capability.CROSS_PROCESS, Capability.DURABLE},
        knobs={Knob.SIGNAL},
    )
    async def test_shut_sigterm(self, kit: Kit) -> None:
        """A process that drains at SIGTERM lets its handler finish and ends with 0; the message does not come back."""
        await (await kit.subscription()).aclose()
        await kit.publish(b"1")
        service = await kit.spawn("serve")
        assert await service.line() == "got 1"
        service.process.terminate()
        assert await service.line() == "acked True"
        assert await service.ended() == 0
        await kit.publish(b"sentinel")
        assert (await kit.receive(await kit.subscription())).data == b"sentinel"
