"""Closing: idempotent, bounded, and nothing is usable afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pubsubkit import ClosedError, ConsumerOptions, NotFoundError, PublisherOptions
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import CAP, payloads, read, receive

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["ShutdownCases"]


class ShutdownCases:
    """Closing ends iteration, loses nothing and never hangs."""

    @case("shut.idempotent")
    async def test_close_idempotent(self, kit: Kit) -> None:
        """Closing twice, or five times at once, is fine everywhere."""
        publisher, subscription = await kit.publisher(), await kit.subscription()
        consumer = kit.backend.consumer(ConsumerOptions(stream_name=kit.stream))
        for closable in (subscription, consumer, publisher, kit.backend):
            await asyncio.gather(*(closable.aclose() for _ in range(5)))
            await closable.aclose()

    @case("shut.ends_iteration")
    async def test_close_ends_iteration(self, kit: Kit) -> None:
        """A blocked iteration ends when its subscription is closed."""
        subscription = await kit.subscription()
        waiting = asyncio.ensure_future(anext(subscription, None))
        await asyncio.sleep(0)
        await subscription.aclose()
        async with asyncio.timeout(CAP):
            assert await waiting is None

    @case("shut.woken_receive")
    async def test_close_right_after_arrival(self, kit: Kit) -> None:
        """A message that arrives at the moment of closing is not lost with the receive that was waiting for it."""
        publisher = await kit.publisher()
        for number in range(20):
            first = await kit.subscription(ack_wait=60)
            waiting = asyncio.ensure_future(anext(first, None))
            for _ in range(3):
                await asyncio.sleep(0)
            publishing = asyncio.ensure_future(publisher.publish(kit.subject("x"), b"%d" % number))
            for _ in range(number % 8):
                await asyncio.sleep(0)
            await asyncio.gather(publishing, first.aclose())
            await waiting
            second = await kit.subscription(ack_wait=60)
            assert payloads(await read(second, 1)) == [b"%d" % number]
            await second.aclose()

    @case("shut.use_after")
    async def test_use_after_close(self, kit: Kit) -> None:
        """Everything raises ClosedError after close, and names what was closed."""
        publisher, subscription = await kit.publisher(), await kit.subscription()
        await publisher.publish(kit.subject("x"), b"x")
        message = await receive(subscription)
        await kit.backend.aclose()
        with pytest.raises(ClosedError, match="publisher"):
            await publisher.publish(kit.subject("x"), b"x")
        with pytest.raises(ClosedError, match="publisher"):
            await publisher.publish_soon(kit.subject("x"), b"x")
        for use in (
            lambda: kit.backend.publisher(PublisherOptions(stream_name="x")),
            lambda: kit.backend.consumer(ConsumerOptions(stream_name="x")),
        ):
            with pytest.raises(ClosedError, match="backend"):
                use()
        with pytest.raises(ClosedError):
            await kit.backend.open()
        assert await anext(subscription, None) is None
        assert not await message.ack()

    @case("shut.flush")
    async def test_close_flushes(self, kit: Kit) -> None:
        """Closing a publisher waits for everything of publish_soon."""
        publisher = await kit.publisher()
        for number in range(100):
            await publisher.publish_soon(kit.subject("x"), b"%d" % number)
        await publisher.aclose()
        assert (await kit.backend.stream_info(kit.stream)).messages == 100

    @case("dur.ack_survives_close")
    async def test_acks_survive_close(self, kit: Kit) -> None:
        """Acks given right before close have reached the broker."""
        await kit.publish(*(b"%d" % number for number in range(30)))
        subscription = await kit.subscription(ack_wait=60)
        await read(subscription, 30)
        await subscription.aclose()
        info = await kit.backend.consumer_info(kit.stream, "d")
        assert (info.num_pending, info.num_ack_pending) == (0, 0)

    @case("can.iteration_break")
    async def test_break_gives_back(self, kit: Kit) -> None:
        """Breaking out of the loop and leaving gives unsettled messages back."""
        await kit.publish(b"1", b"2")
        async with kit.backend.consumer(ConsumerOptions(stream_name=kit.stream, consumer_name="d")) as consumer:
            async with consumer.subscribe() as subscription:
                async for message in subscription:
                    assert message.data == b"1"
                    break
            async with consumer.subscribe() as subscription:
                assert sorted(payloads(await read(subscription, 2))) == [b"1", b"2"]

    @case("shut.deleted_underneath")
    async def test_deleted_underneath(self, kit: Kit) -> None:
        """When the consumer is deleted under an open subscription the iteration raises, it never just stops."""
        await kit.publisher()
        subscription = await kit.subscription()
        waiting = asyncio.ensure_future(receive(subscription))
        await asyncio.wait([waiting], timeout=0.05)
        await kit.backend.delete_consumer(kit.stream, "d")
        with pytest.raises(NotFoundError):
            await waiting

    @case("shut.health")
    async def test_health(self, kit: Kit) -> None:
        """Health tells connected from consuming, and never raises."""
        health = await kit.backend.health()
        assert health.connected
        assert health.consuming is None
        subscription = await kit.subscription()
        assert (await kit.backend.health()).consuming is True
        await subscription.aclose()
        await kit.backend.aclose()
        health = await kit.backend.health()
        assert not health.connected
        assert "closed" in health.error
