"""Settlement: ack, nak, delay, term, in progress, ack wait, delivery counts."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pubsubkit import InvalidArgumentError
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import SHORT, payloads, read, receive

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["SettlementCases"]

_EARLY = 0.01


class SettlementCases:
    """A verdict is final, and what has none comes back.

    "Must not come back" is shown by a canary: a twin without a verdict.  When the canary is delivered again the clock
    of redelivery has provably run.
    """

    @case("ack.final")
    async def test_ack_final(self, kit: Kit) -> None:
        """An acked message does not come back, while its unacked canary does."""
        await kit.publish(b"acked", b"canary")
        subscription = await kit.subscription(ack_wait=SHORT)
        acked, _ = await read(subscription, 2, ack=False)
        assert await acked.ack()
        again = await receive(subscription)
        assert (again.data, again.metadata.num_delivered) == (b"canary", 2)

    @case("ack.only_that_one")
    async def test_ack_only_that_one(self, kit: Kit) -> None:
        """Acking the second of three brings the first and the third back."""
        await kit.publish(b"1", b"2", b"3")
        subscription = await kit.subscription(ack_wait=SHORT)
        _, second, _ = await read(subscription, 3, ack=False)
        await second.ack()
        assert sorted(payloads(await read(subscription, 2))) == [b"1", b"3"]

    @case("ack.idempotent")
    async def test_ack_idempotent(self, kit: Kit) -> None:
        """The first verdict wins: later ones return False and change nothing."""
        await kit.publish(b"once", b"sentinel")
        subscription = await kit.subscription()
        message = await receive(subscription)
        assert await message.ack()
        assert [await message.ack(), await message.nak(), await message.term(), await message.in_progress()] == [
            False
        ] * 4
        assert (await receive(subscription)).data == b"sentinel"

    @case("settle.concurrent")
    async def test_settle_concurrent(self, kit: Kit) -> None:
        """Of concurrent verdicts exactly one wins."""
        await kit.publish(b"x")
        message = await receive(await kit.subscription())
        assert sorted(await asyncio.gather(message.ack(), message.nak(), message.term())) == [False, False, True]

    @case("ack.confirm")
    async def test_ack_confirm(self, kit: Kit) -> None:
        """ack(confirm=True) returns when the broker has recorded it."""
        await kit.publish(b"x")
        message = await receive(await kit.subscription())
        assert (await kit.backend.consumer_info(kit.stream, "d")).num_ack_pending == 1
        assert await message.ack(confirm=True)
        assert (await kit.backend.consumer_info(kit.stream, "d")).num_ack_pending == 0

    @case("nak.repeat")
    async def test_nak_repeat(self, kit: Kit) -> None:
        """Each nak brings the message back, unchanged, with the next delivery count and the first time stamp."""
        publisher = await kit.publisher()
        await publisher.publish(kit.subject("x"), b"x", headers={"a": "b"})
        subscription = await kit.subscription()
        seen: list[tuple[bytes, dict[str, str], int, datetime]] = []
        for _ in range(5):
            message = await receive(subscription)
            seen.append(
                (message.data, dict(message.headers), message.metadata.num_delivered, message.metadata.timestamp)
            )
            assert await message.nak()
        assert [row[:3] for row in seen] == [(b"x", {"a": "b"}, number) for number in range(1, 6)]
        assert len({row[3] for row in seen}) == 1

    @case("nak.delay")
    async def test_nak_delay(self, kit: Kit) -> None:
        """A delayed nak comes back after the delay, not before, and does not hold up the next message."""
        await kit.publish(b"later", b"next")
        subscription = await kit.subscription()
        message = await receive(subscription)
        started = time.monotonic()
        await message.nak_with_delay(SHORT)
        assert (await receive(subscription)).data == b"next"
        again = await receive(subscription)
        assert time.monotonic() - started >= SHORT - _EARLY
        assert (again.data, again.metadata.num_delivered) == (b"later", 2)

    @case("nak.delay_invalid")
    async def test_nak_delay_invalid(self, kit: Kit) -> None:
        """A negative or infinite delay is refused and the message stays without a verdict; zero is at once."""
        await kit.publish(b"x")
        subscription = await kit.subscription()
        message = await receive(subscription)
        for delay in (-1, float("nan"), float("inf"), "1"):
            with pytest.raises(InvalidArgumentError):
                await message.nak_with_delay(delay)  # type: ignore[arg-type]
        assert await message.nak_with_delay(0)
        assert (await receive(subscription)).metadata.num_delivered == 2

    @case("nak.backoff")
    async def test_nak_backoff(self, kit: Kit) -> None:
        """A plain nak waits as the consumer's backoff says; its last entry serves all later deliveries."""
        await kit.publish(b"x")
        subscription = await kit.subscription(backoff=(SHORT, 0.0))
        message = await receive(subscription)
        started = time.monotonic()
        await message.nak()
        message = await receive(subscription)
        assert time.monotonic() - started >= SHORT - _EARLY
        await message.nak()
        message = await receive(subscription)
        await message.nak()
        assert (await receive(subscription)).metadata.num_delivered == 4

    @case("term.final")
    async def test_term_final(self, kit: Kit) -> None:
        """A terminated message does not come back, while its canary does."""
        await kit.publish(b"bad", b"canary")
        subscription = await kit.subscription(ack_wait=SHORT)
        bad, _ = await read(subscription, 2, ack=False)
        assert await bad.term("cannot be parsed")
        assert (await receive(subscription)).data == b"canary"

    @case("extend.works")
    async def test_in_progress(self, kit: Kit) -> None:
        """in_progress keeps a message from being delivered again, while its canary comes back."""
        await kit.publish(b"slow", b"canary")
        subscription = await kit.subscription(ack_wait=0.4)
        slow, _ = await read(subscription, 2, ack=False)
        waiting = asyncio.ensure_future(receive(subscription))
        while not waiting.done():
            await asyncio.wait([waiting], timeout=0.1)
            assert await slow.in_progress()
        assert waiting.result().data == b"canary"
        assert await slow.ack(confirm=True)

    @case("redel.ack_wait")
    async def test_ack_wait(self, kit: Kit) -> None:
        """A message without a verdict comes back after ack_wait, not before."""
        await kit.publish(b"x")
        subscription = await kit.subscription(ack_wait=SHORT)
        await receive(subscription)
        started = time.monotonic()
        again = await receive(subscription)
        assert time.monotonic() - started >= SHORT * 0.8
        assert again.metadata.num_delivered == 2

    @case("redel.max_deliver")
    async def test_max_deliver(self, kit: Kit) -> None:
        """A message is delivered max_deliver times, whether nak'ed or left, and then never again."""
        await kit.publish(b"poison")
        subscription = await kit.subscription(ack_wait=SHORT, max_deliver=2)
        await receive(subscription)
        assert await (await receive(subscription)).nak()
        await kit.publish(b"canary")
        first, second = await read(subscription, 2, ack=False)
        assert (first.data, second.data) == (b"canary", b"canary")

    @case("settle.stale")
    async def test_stale_handle(self, kit: Kit) -> None:
        """Settling an old delivery never loses the message, and does nothing after the newer one was acked."""
        await kit.publish(b"x")
        subscription = await kit.subscription(ack_wait=SHORT)
        old = await receive(subscription)
        new = await receive(subscription)
        assert await new.ack(confirm=True)
        await old.nak()
        await kit.publish(b"sentinel")
        assert (await receive(subscription)).data == b"sentinel"

    @case("meta.fields")
    async def test_metadata(self, kit: Kit) -> None:
        """Metadata tell stream, consumer, sequence, count and when the message was stored, in UTC."""
        before = datetime.now(UTC) - timedelta(seconds=1)
        await kit.publish(b"1", b"2")
        messages = await read(await kit.subscription(), 2)
        for number, message in enumerate(messages, 1):
            meta = message.metadata
            assert (meta.stream, meta.consumer, meta.sequence) == (kit.stream, "d", number)
            assert (meta.num_delivered, meta.subject, meta.message_id) == (1, kit.subject("x"), None)
            assert before <= meta.timestamp <= datetime.now(UTC) + timedelta(seconds=1)
            assert meta.timestamp.utcoffset() == timedelta(0)
