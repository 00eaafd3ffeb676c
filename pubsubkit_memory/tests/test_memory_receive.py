"""Receiving: fairness, cancellation, closing, and turns for others."""

from __future__ import annotations

import asyncio
from typing import Any

CAP = 10.0


async def test_live(lab: Any) -> None:
    """A message published right after subscribing is received, also by one that waits already."""
    await lab.stream()
    member = await lab.member()
    for _ in range(50):
        waiting = await lab.blocked(member)
        await lab.publish(b"x")
        await (await waiting).settle(lab.ack)


async def test_waiters_in_order(lab: Any) -> None:
    """Members that wait are served in the order in which they came."""
    await lab.stream()
    members = [await lab.member() for _ in range(4)]
    waiting = [await lab.blocked(member) for member in members]
    await lab.publish(b"1", b"2", b"3", b"4")
    assert [delivery.data for delivery in await asyncio.gather(*waiting)] == [b"1", b"2", b"3", b"4"]


async def test_no_barging(lab: Any) -> None:
    """A member that comes while another was woken does not take the other's message."""
    await lab.stream()
    patient, late = await lab.member(), await lab.member()
    waiting = await lab.blocked(patient)
    await lab.publish(b"1")
    barging = asyncio.ensure_future(late.receive())
    assert (await waiting).data == b"1"
    assert not barging.done()
    await lab.publish(b"2")
    assert (await barging).data == b"2"


async def test_competing(lab: Any) -> None:
    """Members of one durable share its messages: each one once, and everyone gets some."""
    await lab.stream()
    members = [await lab.member() for _ in range(3)]
    got: list[list[bytes]] = [[], [], []]

    async def work(index: int) -> None:
        while (delivery := await members[index].receive()) is not None:
            got[index].append(delivery.data)
            await delivery.settle(lab.ack)
            if sum(map(len, got)) == 600:
                for member in members:
                    await member.aclose([])

    working = asyncio.gather(*(work(index) for index in range(3)))
    for number in range(600):
        await lab.publish(b"%d" % number)
    async with asyncio.timeout(CAP):
        await working
    assert sorted(data for each in got for data in each) == sorted(b"%d" % number for number in range(600))
    assert all(got)


async def test_idle_member_hoards_nothing(lab: Any) -> None:
    """A member that does not ask holds nothing back from the others."""
    await lab.stream()
    await lab.publish(*(b"%d" % number for number in range(10)))
    stalled, other = await lab.member(), await lab.member()
    await lab.take(stalled)
    assert len(await lab.read(other, 9)) == 9


async def test_two_tasks_on_one_member(lab: Any) -> None:
    """Several tasks may receive from one member; each message goes to one."""
    await lab.stream()
    member = await lab.member()
    waiting = [await lab.blocked(member) for _ in range(3)]
    await lab.publish(b"1", b"2", b"3")
    assert [delivery.data for delivery in await asyncio.gather(*waiting)] == [b"1", b"2", b"3"]


async def test_cancel_at_every_turn(lab: Any) -> None:
    """Cancelling a receive at any point beside a publish loses nothing; the next call has it at once."""
    await lab.stream()
    member = await lab.member()
    got: list[bytes] = []
    for number in range(300):
        waiting = asyncio.ensure_future(member.receive())
        publishing = asyncio.ensure_future(lab.publish(b"%d" % number))
        for _ in range(number % 6):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting], timeout=CAP)
        if not waiting.cancelled():
            got.append(waiting.result().data)
            await waiting.result().settle(lab.ack)
        await publishing
    got += await lab.read(member, 300 - len(got))
    assert sorted(got) == sorted(b"%d" % number for number in range(300))
    await lab.nothing(member)


async def test_cancelled_waiter_passes_on(lab: Any) -> None:
    """One that was woken and is cancelled before it runs wakes the next."""
    await lab.stream()
    members = [await lab.member() for _ in range(3)]
    waiting = [await lab.blocked(member) for member in members]
    await lab.publish(b"1")
    waiting[0].cancel()
    waiting[1].cancel()
    async with asyncio.timeout(CAP):
        assert (await waiting[2]).data == b"1"
    assert all(task.cancelled() for task in waiting[:2])


async def test_woken_in_vain(lab: Any) -> None:
    """One whose message was settled before it ran keeps its place before those that came later."""
    await lab.stream()
    await lab.publish(b"1")
    members = [await lab.member() for _ in range(2)]
    held = await lab.take(members[0])
    waiting = [await lab.blocked(member) for member in members]
    await held.settle(lab.nak)
    await held.settle(lab.ack)
    for _ in range(3):
        await asyncio.sleep(0)
    await lab.publish(b"2")
    async with asyncio.timeout(CAP):
        assert (await waiting[0]).data == b"2"
    assert not waiting[1].done()
    await lab.publish(b"3")
    assert (await waiting[1]).data == b"3"


async def test_closed_waiter_passes_on(lab: Any) -> None:
    """One that was woken and whose member is closed before it runs wakes the next."""
    await lab.stream()
    closing, other = await lab.member(), await lab.member()
    waiting = [await lab.blocked(closing), await lab.blocked(other)]
    await lab.publish(b"1")
    await closing.aclose([])
    async with asyncio.timeout(CAP):
        assert await waiting[0] is None
        assert (await waiting[1]).data == b"1"


async def test_cancelled_waiters_leave_no_trace(lab: Any) -> None:
    """A receive that is cancelled while it waits is forgotten."""
    await lab.stream()
    member = await lab.member()
    for _ in range(10):
        await lab.nothing(member)
    assert (len(member._consumer.waiters.queue), member._consumer.waiters.woken, member._blocked) == (0, set(), set())


async def test_timeouts_race(lab: Any) -> None:
    """Timeouts around receive that race with publishes lose and duplicate nothing."""
    await lab.stream()
    members = [await lab.member() for _ in range(3)]
    got: list[bytes] = []

    async def work(member: Any) -> None:
        while len(got) < 300:
            try:
                async with asyncio.timeout(0.0005):
                    delivery = await member.receive()
            except TimeoutError:
                continue
            got.append(delivery.data)
            await delivery.settle(lab.ack)

    async def publish() -> None:
        for number in range(300):
            await lab.publish(b"%d" % number)
            await asyncio.sleep(0.0001 * (number % 8))

    async with asyncio.timeout(CAP):
        await asyncio.gather(publish(), *(work(member) for member in members))
    assert sorted(got) == sorted(b"%d" % number for number in range(300))
    assert await lab.counts() == (0, 0)


async def test_close_wakes(lab: Any) -> None:
    """Closing ends a blocked receive and every later one with None, messages or not."""
    await lab.stream()
    member = await lab.member()
    waiting = [await lab.blocked(member), await lab.blocked(member)]
    assert member.consuming
    await member.aclose([])
    async with asyncio.timeout(CAP):
        assert await asyncio.gather(*waiting) == [None, None]
    await lab.publish(b"1")
    assert await member.receive() is None
    assert not member.consuming
    assert await lab.read(await lab.member(), 1) == [b"1"]


async def test_close_gives_back(lab: Any) -> None:
    """What closing gives back goes to others at once, in order, before new messages; the rest stays leased."""
    await lab.stream()
    await lab.publish(b"1", b"2", b"3", b"4")
    closing, other = await lab.member(), await lab.member()
    held = [await lab.take(closing) for _ in range(3)]
    await closing.aclose(held[:2])
    assert await lab.read(other, 3) == [b"1", b"2", b"4"]
    await lab.nothing(other)
    await held[2].settle(lab.ack)
    assert await lab.counts() == (0, 0)


async def test_closed_member_takes_nothing(lab: Any) -> None:
    """A closed member steals no messages from the others."""
    await lab.stream()
    closed, other = await lab.member(), await lab.member()
    waiting = await lab.blocked(closed)
    await closed.aclose([])
    await waiting
    await lab.publish(*(b"%d" % number for number in range(6)))
    assert len(await lab.read(other, 6)) == 6


async def test_publishing_gives_turns(lab: Any) -> None:
    """A loop that only publishes lets consumers work and timeouts fire."""
    await lab.stream()
    member = await lab.member()
    waiting = await lab.blocked(member)
    sent = 0
    try:
        async with asyncio.timeout(0.05):
            while True:
                await lab.send("s.x", b"")
                sent += 1
                assert waiting.done() or sent <= 200
    except TimeoutError:
        assert waiting.done()


async def test_receiving_gives_turns(lab: Any) -> None:
    """A loop over a backlog lets others work, and cancelling it at such a turn loses nothing."""
    await lab.stream()
    await lab.publish(*(b"" for _ in range(1000)))
    member = await lab.member()
    got = 0

    async def work() -> None:
        nonlocal got
        while True:
            await (await member.receive()).settle(lab.ack)
            got += 1

    working = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0 < got < 1000
    working.cancel()
    await asyncio.wait([working], timeout=CAP)
    assert await lab.counts() == (1000 - got, 0)


async def test_send_keeps_order(lab: Any) -> None:
    """Sends that start one after the other are stored in that order, also where one of them gives a turn."""
    await lab.stream()
    sends = (lab.publish(b"%d" % number) for number in range(500))
    await asyncio.gather(*sends)
    assert await lab.read(await lab.member(), 500) == [b"%d" % number for number in range(500)]


async def test_stuck_consumer_blocks_nobody(lab: Any) -> None:
    """A consumer that is stuck with one message holds up neither publishers nor other consumers."""
    await lab.stream()
    stuck, free = await lab.member("stuck", max_in_flight=1), await lab.member("free")
    await lab.publish(b"")
    await lab.take(stuck)
    await lab.publish(*(b"" for _ in range(300)))
    assert len(await lab.read(free, 301)) == 301
