"""Faults under a consumer: lost connections, deleted consumers and streams, and closing while the broker is away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from pubsubkit import NotFoundError, PublishBatchError, PubSubError, TransientError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.harness import Knob
from pubsubkit_contract.kit import payloads
from pubsubkit_contract.recovery import served, until

if TYPE_CHECKING:
    from pubsubkit import Backend, Publisher
    from pubsubkit_contract.kit import Kit

__all__ = ["InterruptionCases"]

_LONG = 60.0


class InterruptionCases(Cases):
    """A consumer goes on where it can, and says so where it cannot."""

    @case(
        "flt.resubscribe",
        why="A consumer that looks alive and gets nothing is the outage that nobody is called for.",
        needs={Capability.REMOTE},
        knobs={Knob.PROXY},
    )
    async def test_flt_resubscribe(self, kit: Kit) -> None:
        """A receive that waits while its connection is cut, four times, gets the next message."""
        proxy, through = await kit.proxy()
        subscription = await kit.subscription(backend=through)
        for data in (b"1", b"2", b"3", b"4"):
            waiting = asyncio.ensure_future(kit.receive(subscription))
            await asyncio.sleep(0)
            await proxy.cut()
            await kit.within(served(through), "reconnecting")
            await kit.publish(data)
            message = await waiting
            assert message.data == data
            await message.ack(confirm=Capability.CONFIRMED_ACK in through.capabilities)

    @case(
        "flt.receive_silent",
        why="A consumer publishes nothing, so no failed publish tells it that the connection is dead.",
        needs={Capability.REMOTE, Capability.DURABLE},
        knobs={Knob.PROXY},
    )
    async def test_flt_receive_silent(self, kit: Kit) -> None:
        """A receive on a connection that has fallen silent gets what is published when a new connection can be made."""
        proxy, through = await kit.proxy()
        subscription = await kit.subscription(backend=through, ack_wait=max(0.3, 2 * kit.short))
        waiting = asyncio.ensure_future(kit.receive(subscription))
        proxy.mute()
        await kit.within(until(lambda: _unserved(through)), "noticing the silent connection")
        proxy.flow()
        await kit.within(served(through), "reconnecting")
        await kit.publish(b"x")
        assert (await waiting).data == b"x"

    @case(
        "flt.settle_across_cut",
        why="A handler that takes a minute will often end on another connection than it began on.",
        needs={Capability.REMOTE, Capability.DURABLE, Capability.ACK_WAIT, Capability.CONFIRMED_ACK},
        knobs={Knob.PROXY},
    )
    async def test_flt_settle_across_cut(self, kit: Kit) -> None:
        """A confirmed ack of a message that came before the connection was lost either counts or raises; it never
        returns True and is forgotten.
        """
        proxy, through = await kit.proxy()
        subscription = await kit.subscription(backend=through, ack_wait=max(0.8, 5 * kit.short))
        await kit.publish(b"acked", b"canary")
        acked, canary = await kit.read(subscription, 2, ack=False)
        assert (acked.data, canary.data) == (b"acked", b"canary")
        await proxy.cut()
        counts = False
        with suppress(TransientError):
            await kit.within(served(through), "reconnecting")
            counts = await kit.within(acked.ack(confirm=True), "the ack")
        kit.note(f"the ack returned {counts}")
        again = payloads(await kit.read(subscription, 1 if counts else 2))
        assert sorted(again) == ([b"canary"] if counts else [b"acked", b"canary"])

    @case(
        "flt.confirm_down",
        why="An ack that is only believed to have been recorded lets a payment be made twice.",
        needs={Capability.REMOTE, Capability.DURABLE, Capability.CONFIRMED_ACK},
        knobs={Knob.PROXY},
    )
    async def test_flt_confirm_down(self, kit: Kit) -> None:
        """While the broker is away a confirmed ack raises TransientError and leaves the message without a verdict."""
        proxy, through = await kit.proxy()
        subscription = await kit.subscription(backend=through, ack_wait=_LONG)
        await kit.publish(b"x")
        message = await kit.receive(subscription)
        await proxy.refuse()
        await kit.within(until(lambda: _unserved(through)), "noticing the loss")
        with kit.raises(TransientError):
            await kit.within(message.ack(confirm=True), "the ack")
        assert not message.settled
        await proxy.accept()

    @case(
        "flt.consumer_deleted",
        why="An operator who deletes a consumer leaves services behind that wait for ever and report nothing.",
        needs={Capability.DURABLE},
    )
    async def test_flt_consumer_deleted(self, kit: Kit) -> None:
        """A receive that waits while its consumer is deleted raises NotFoundError, and so does the next one."""
        subscription = await kit.subscription("d")
        waiting = await kit.nothing(subscription)
        assert await (await kit.connect()).delete_consumer(kit.stream, "d")
        with kit.raises(NotFoundError):
            await kit.within(waiting, "the receive of a deleted consumer")
        with kit.raises(NotFoundError):
            await kit.within(anext(subscription), "the next receive")

    @case(
        "flt.consumer_deleted_between",
        why="Most of the time a service is in its handler; the deletion must be seen when it asks for more.",
        needs={Capability.DURABLE},
    )
    async def test_flt_consumer_deleted_between(self, kit: Kit) -> None:
        """The first receive after the consumer was deleted raises NotFoundError, also while a message is held."""
        subscription = await kit.subscription("d", channel_buf_size=1)
        await kit.publish(b"x")
        message = await kit.receive(subscription)
        assert await (await kit.connect()).delete_consumer(kit.stream, "d")
        with kit.raises(NotFoundError):
            await kit.within(anext(subscription), "the receive of a deleted consumer")
        with suppress(NotFoundError, TransientError):
            await kit.within(message.ack(), "the ack of a deleted consumer's message")

    @case(
        "flt.consumer_deleted_health",
        why="A pod that gets nothing any more must be restarted, not kept.",
        needs={Capability.DURABLE},
    )
    async def test_flt_consumer_deleted_health(self, kit: Kit) -> None:
        """When a consumer was deleted under a receive, health says that the backend is connected and not consuming."""
        subscription = await kit.subscription("d")
        waiting = await kit.nothing(subscription)
        assert await kit.backend.delete_consumer(kit.stream, "d")
        with suppress(PubSubError):
            await kit.within(waiting, "the receive of a deleted consumer")
        health = await kit.backend.health()
        kit.note(f"{health}")
        assert (health.connected, health.consuming) == (True, False)

    @case(
        "flt.consumer_deleted_down",
        why="What happened during an outage must be found out after it.",
        needs={Capability.REMOTE, Capability.DURABLE},
        knobs={Knob.PROXY},
    )
    async def test_flt_consumer_deleted_down(self, kit: Kit) -> None:
        """A receive whose consumer is deleted while the connection is lost raises NotFoundError when it is back."""
        proxy, through = await kit.proxy()
        subscription = await kit.subscription("d", backend=through)
        waiting = await kit.nothing(subscription)
        await proxy.refuse()
        assert await kit.backend.delete_consumer(kit.stream, "d")
        await proxy.accept()
        with kit.raises(NotFoundError):
            await kit.within(waiting, "the receive of a deleted consumer")

    @case("flt.stream_deleted", why="A deleted stream is an operator's mistake that must be heard of at once.")
    async def test_flt_stream_deleted(self, kit: Kit) -> None:
        """When the stream is deleted, a receive that waits and the next publish raise NotFoundError."""
        subscription = await kit.subscription()
        publisher = await kit.publisher()
        await publisher.publish(kit.subject("x"), b"x")
        await (await kit.receive(subscription)).ack()
        waiting = await kit.nothing(subscription)
        assert await (await kit.connect()).delete_stream(kit.stream)
        with kit.raises(NotFoundError):
            await kit.within(publisher.publish(kit.subject("x"), b"y"), "publish into a deleted stream")
        with kit.raises(NotFoundError):
            await kit.within(waiting, "the receive from a deleted stream")

    @case(
        "flt.close_while_down",
        why="A pod that cannot end because its broker is gone is killed, with all that it still had to do.",
        needs={Capability.REMOTE},
        knobs={Knob.PROXY},
    )
    async def test_flt_close_while_down(self, kit: Kit) -> None:
        """While the broker is away, closing a subscription that holds a message, a publisher and the backend ends
        in time; only messages that were lost may be raised.
        """
        proxy, through = await kit.proxy()
        publisher = await _at_work(kit, through)
        await proxy.refuse()
        await kit.within(until(lambda: _unserved(through)), "noticing the loss")
        await _close(kit, through, publisher)

    @case(
        "flt.close_while_silent",
        why="An open connection on which nothing comes back is where a close that waits for an answer hangs.",
        needs={Capability.REMOTE},
        knobs={Knob.PROXY},
    )
    async def test_flt_close_while_silent(self, kit: Kit) -> None:
        """The same where the connection stays open and no byte passes any more."""
        proxy, through = await kit.proxy()
        publisher = await _at_work(kit, through)
        proxy.blackhole()
        await _close(kit, through, publisher)


async def _at_work(kit: Kit, backend: Backend) -> Publisher:
    """Leave a subscription that holds one message open on *backend*; return a publisher."""
    subscription = await kit.subscription(backend=backend, channel_buf_size=2)
    publisher = await kit.publisher(backend, timeout=kit.timing.reply)
    await publisher.publish(kit.subject("x"), b"x")
    await kit.receive(subscription)
    return publisher


async def _close(kit: Kit, backend: Backend, publisher: Publisher) -> None:
    await publisher.publish_soon(kit.subject("x"), b"lost")
    with suppress(PublishBatchError):
        await kit.within(backend.aclose(), "closing")
    kit.note("closed")


async def _unserved(backend: Backend) -> bool:
    return not (await backend.health()).connected
