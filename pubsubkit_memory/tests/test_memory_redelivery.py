"""Settlement: what comes again, when, how often, and what does not.

"Must not come again" is shown by a canary: a second message that is left alone.  When it comes again, the clock that
would have brought the first one has provably run.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

SHORT = 0.06


@pytest.fixture
async def member(lab: Any) -> Any:
    """A member with a short ack_wait of a stream with two messages."""
    await lab.stream()
    await lab.publish(b"subject", b"canary")
    return await lab.member(ack_wait=SHORT)


async def test_ack_wait(lab: Any, member: Any) -> None:
    """A message without a verdict comes again after ack_wait, not before, with the next count."""
    started = time.monotonic()
    await lab.read(member, 2, None)
    again = await lab.take(member)
    assert time.monotonic() - started >= SHORT * 0.9
    assert (again.data, again.metadata.num_delivered) == (b"subject", 2)
    await again.settle(lab.ack)
    assert (await lab.take(member)).data == b"canary"
    third = await lab.take(member)
    assert (third.data, third.metadata.num_delivered) == (b"canary", 3)


@pytest.mark.parametrize("verdict", ["ack", "term"])
async def test_final(lab: Any, member: Any, verdict: str) -> None:
    """An acked or terminated message never comes again, though its neighbour does."""
    await (await lab.take(member)).settle(getattr(lab, verdict))
    await lab.take(member)
    for _ in range(2):
        assert (await lab.take(member)).data == b"canary"
    assert await lab.counts() == (0, 1)


async def test_confirmed_ack(lab: Any, member: Any) -> None:
    """A confirmed ack is an ack."""
    await (await lab.take(member)).settle(lab.ack._replace(confirm=True))
    assert await lab.counts() == (1, 0)


async def test_ack_out_of_order(lab: Any, member: Any) -> None:
    """Only the message that was acked is settled, whatever the order."""
    _, canary = await lab.take(member), await lab.take(member)
    await canary.settle(lab.ack)
    assert await lab.read(member, 1) == [b"subject"]
    await lab.nothing(member)


async def test_nak_at_once(lab: Any) -> None:
    """A nak brings the message back at once, before new ones, with counts 1, 2, 3 …"""
    await lab.stream()
    await lab.publish(b"1", b"2")
    member = await lab.member()
    for count in range(1, 6):
        delivery = await lab.take(member)
        assert (delivery.data, delivery.metadata.num_delivered) == (b"1", count)
        await delivery.settle(lab.nak)
    assert await lab.read(member, 2) == [b"1", b"2"]
    await lab.publish(b"3")
    assert (await lab.take(member)).metadata.num_delivered == 1


async def test_nak_with_delay(lab: Any) -> None:
    """A delayed nak comes again after its delay and blocks no others meanwhile."""
    await lab.stream()
    await lab.publish(b"1", b"2")
    member = await lab.member()
    started = time.monotonic()
    await (await lab.take(member)).settle(lab.nak._replace(delay=SHORT))
    assert await lab.read(member, 1) == [b"2"]
    again = await lab.take(member)
    assert time.monotonic() - started >= SHORT * 0.9
    assert (again.data, again.metadata.num_delivered) == (b"1", 2)


async def test_nak_delays_in_their_order(lab: Any) -> None:
    """Delays count from their naks: the shorter one is over first."""
    await lab.stream()
    await lab.publish(b"long", b"short")
    member = await lab.member()
    await (await lab.take(member)).settle(lab.nak._replace(delay=2 * SHORT))
    await (await lab.take(member)).settle(lab.nak._replace(delay=SHORT))
    assert await lab.read(member, 2) == [b"short", b"long"]


async def test_nothing_overtakes(lab: Any) -> None:
    """With max_in_flight=1 a nak'ed message comes next, delayed or not, and so does one that timed out."""
    await lab.stream()
    await lab.publish(b"1", b"2")
    member = await lab.member(max_in_flight=1, ack_wait=SHORT)
    await (await lab.take(member)).settle(lab.nak)
    await (await lab.take(member)).settle(lab.nak._replace(delay=SHORT))
    await lab.take(member)
    assert await lab.read(member, 2) == [b"1", b"2"]


async def test_max_in_flight(lab: Any) -> None:
    """No more than max_in_flight are without a verdict over all members; each kind of end frees a place."""
    await lab.stream()
    await lab.publish(*(b"%d" % number for number in range(6)))
    one, two = await lab.member(max_in_flight=2), await lab.member(max_in_flight=2)
    first, second = await lab.take(one), await lab.take(two)
    for member, verdict, delivery in ((one, lab.ack, first), (two, lab.term, second)):
        waiting = await lab.blocked(member)
        await delivery.settle(verdict)
        await waiting
    assert await lab.counts() == (2, 2)


async def test_nak_when_full(lab: Any) -> None:
    """A message that comes again needs no free place: everything gets through."""
    await lab.stream()
    await lab.publish(*(b"%d" % number for number in range(20)))
    member = await lab.member(max_in_flight=2)
    held = [await lab.take(member), await lab.take(member)]
    await held[0].settle(lab.nak)
    assert await lab.read(member, 1) == [b"0"]
    await held[1].settle(lab.ack)
    assert len(await lab.read(member, 18)) == 18
    assert await lab.counts() == (0, 0)


async def test_in_progress(lab: Any) -> None:
    """in_progress begins ack_wait anew; the canary without it comes again each time."""
    await lab.stream()
    await lab.publish(b"kept", b"canary")
    member = await lab.member(ack_wait=30)
    kept = await lab.take(member)
    await lab.take(member)
    for _ in range(5):
        lab.advance(20)
        await kept.settle(lab.in_progress)
        lab.advance(20)
        assert (await lab.take(member)).data == b"canary"
        await lab.nothing(member)
    lab.advance(20)
    assert (await lab.take(member)).data == b"kept"


async def test_in_progress_is_no_verdict(lab: Any, member: Any) -> None:
    """A message that was in progress comes again when nothing follows."""
    delivery = await lab.take(member)
    await delivery.settle(lab.in_progress)
    await lab.read(member, 1)
    assert (await lab.take(member)).metadata.num_delivered == 2


@pytest.mark.parametrize("how", ["nak", "delay", "timeout"])
async def test_max_deliver(lab: Any, member: Any, how: str) -> None:
    """A message is delivered max_deliver times and never again, and then holds no place in flight."""
    await lab.driver.update_consumer(lab.spec(ack_wait=SHORT, max_deliver=2, max_in_flight=1))
    for count in (1, 2):
        delivery = await lab.take(member)
        assert (delivery.data, delivery.metadata.num_delivered) == (b"subject", count)
        if how != "timeout":
            await delivery.settle(lab.nak._replace(delay=SHORT if how == "delay" else 0.0))
    assert await lab.read(member, 1, lab.nak) == [b"canary"]
    assert await lab.read(member, 1) == [b"canary"]
    assert await lab.counts() == (0, 0)


async def test_last_delayed_nak(lab: Any) -> None:
    """A delayed nak of the last delivery ends the message at once: there is nothing to wait for."""
    await lab.stream()
    await lab.publish(b"1")
    await (await lab.take(await lab.member(max_deliver=1))).settle(lab.nak._replace(delay=60))
    assert await lab.counts() == (0, 0)


async def test_late_ack(lab: Any) -> None:
    """An ack after ack_wait, before anybody got the message again, settles it; the canary comes again."""
    await lab.stream()
    await lab.publish(b"late", b"canary")
    member = await lab.member(ack_wait=30)
    late, _ = await lab.take(member), await lab.take(member)
    lab.advance(31)
    await asyncio.sleep(0)
    await late.settle(lab.ack)
    assert await lab.read(member, 1) == [b"canary"]
    await lab.nothing(member)
    assert await lab.counts() == (0, 0)


@pytest.mark.parametrize("verdict", ["ack", "term"])
async def test_stale_ack(lab: Any, member: Any, verdict: str) -> None:
    """The ack or term of an old handle settles the message, also while a newer delivery or a delay is under way."""
    stale = await lab.take(member)
    canary = await lab.take(member)
    newer = await lab.take(member)
    assert newer.key == stale.key
    await stale.settle(getattr(lab, verdict))
    await newer.settle(lab.nak)
    await canary.settle(lab.ack)
    assert await lab.counts() == (0, 0)
    await lab.publish(b"delayed")
    delayed = await lab.take(member)
    await delayed.settle(lab.nak._replace(delay=60))
    await delayed.settle(getattr(lab, verdict))
    assert await lab.counts() == (0, 0)


async def test_stale_nak(lab: Any, member: Any) -> None:
    """The nak of an old handle neither loses the message nor disturbs the newer delivery."""
    stale = await lab.take(member)
    await (await lab.take(member)).settle(lab.ack)
    newer = await lab.take(member)
    await stale.settle(lab.nak)
    await stale.settle(lab.in_progress)
    await lab.nothing(member)
    third = await lab.take(member)
    assert (third.key, third.metadata.num_delivered) == (newer.key, 3)
    await third.settle(lab.ack)
    for old in (stale, newer):
        await old.settle(lab.nak)
        await old.settle(lab.nak._replace(delay=SHORT))
        await old.settle(lab.in_progress)
    await lab.nothing(member)
    assert await lab.counts() == (0, 0)


async def test_handle_is_a_snapshot(lab: Any, member: Any) -> None:
    """A handle goes on saying what it said when the message is delivered again."""
    first = await lab.take(member)
    await first.settle(lab.nak)
    second = await lab.take(member)
    assert first is not second
    assert (first.metadata.num_delivered, second.metadata.num_delivered) == (1, 2)


async def test_dropped_while_out(lab: Any) -> None:
    """What a limit dropped while it was leased, delayed or to come again is not delivered and holds no place."""
    await lab.stream(max_messages=3)
    await lab.publish(b"1", b"2", b"3")
    member = await lab.member(max_in_flight=3)
    nak, delayed, _ = [await lab.take(member) for _ in range(3)]
    await nak.settle(lab.nak)
    await delayed.settle(lab.nak._replace(delay=10))
    await lab.publish(b"4", b"5", b"6")
    assert await lab.read(member, 3) == [b"4", b"5", b"6"]
    assert await lab.counts() == (0, 2)
    lab.advance(60)
    await lab.nothing(member)
    assert await lab.counts() == (0, 0)


async def test_other_member_gets_it(lab: Any) -> None:
    """What one member leaves without a verdict goes to another that waits."""
    await lab.stream()
    await lab.publish(b"1")
    one, two = await lab.member(ack_wait=SHORT), await lab.member(ack_wait=SHORT)
    await lab.take(one)
    waiting = await lab.blocked(two)
    async with asyncio.timeout(10):
        again = await waiting
    assert again.metadata.num_delivered == 2


async def test_one_deadline_per_consumer(lab: Any) -> None:
    """A thousand leases are one timer; acked messages leave nothing behind."""
    await lab.stream()
    timers = lab.driver.native.timers
    member = await lab.member()
    for _ in range(3):
        await lab.publish(*(b"" for _ in range(1000)))
        held = [await lab.take(member) for _ in range(1000)]
        assert len(timers) == 1
        for delivery in held:
            await delivery.settle(lab.ack)
        assert len(timers) == 1
    assert not member._consumer._leases


async def test_settled_delays_leave_nothing(lab: Any) -> None:
    """Delayed messages that are settled by an old handle do not pile up among the deadlines."""
    await lab.stream()
    member = await lab.member()
    for _ in range(1000):
        await lab.publish(b"")
        delivery = await lab.take(member)
        await delivery.settle(lab.nak._replace(delay=3600))
        await delivery.settle(lab.ack)
    assert len(lab.driver.native.timers) < 150


async def test_many_expire_at_once(lab: Any) -> None:
    """Many leases of many consumers that run out together all come again."""
    await lab.stream()
    await lab.publish(*(b"%d" % number for number in range(50)))
    members = [await lab.member(f"d{index}", ack_wait=SHORT) for index in range(20)]
    for member in members:
        await lab.read(member, 50, None)
    for member in members:
        assert len(set(await lab.read(member, 50))) == 50
        await lab.nothing(member)
