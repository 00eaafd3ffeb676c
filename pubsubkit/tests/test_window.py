"""The window alone: places are neither lost nor doubled, and nobody jumps the queue."""

import asyncio

import pytest

from pubsubkit import ClosedError
from pubsubkit.window import Window

DEADLINE = 5.0


async def queue_up(window: Window, served: list[int], count: int) -> list[asyncio.Task[None]]:
    """Start *count* tasks that wait for a place, in this order, and note when they get it."""

    async def wait(number: int) -> None:
        await window.acquire()
        served.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(count)]
    await asyncio.sleep(0)  # each runs up to its wait
    assert served == []
    return tasks


async def test_places_are_counted():
    """As many places as the size says are given without waiting, and the next one waits for a release."""
    window = Window(2)
    async with asyncio.timeout(DEADLINE):
        await window.acquire()
        await window.acquire()
        third = asyncio.create_task(window.acquire())
        await asyncio.sleep(0)
        assert not third.done()
        window.release(1)
        await third


async def test_a_granted_place_comes_back_when_the_waiter_is_cancelled():
    """Who is cancelled after a place was granted to it, but before it ran, gives the place back."""
    window = Window(1)
    await window.acquire()
    (waiter,) = await queue_up(window, [], 1)
    window.release(1)
    waiter.cancel()
    await asyncio.wait([waiter], timeout=DEADLINE)
    assert waiter.cancelled()
    async with asyncio.timeout(DEADLINE):
        await window.acquire()


async def test_a_granted_place_goes_to_the_next_when_the_waiter_is_cancelled():
    """The place of a cancelled waiter wakes the one behind it."""
    window, served = Window(1), list[int]()
    await window.acquire()
    tasks = await queue_up(window, served, 2)
    window.release(1)
    tasks[0].cancel()
    async with asyncio.timeout(DEADLINE):
        await tasks[1]
    assert served == [1]


async def test_a_waiter_cancelled_in_the_queue_takes_no_place():
    """Cancelling a waiter that was granted nothing neither costs nor makes a place."""
    window, served = Window(1), list[int]()
    await window.acquire()
    tasks = await queue_up(window, served, 3)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1], timeout=DEADLINE)
    window.release(1)
    async with asyncio.timeout(DEADLINE):
        await tasks[1]
        assert not tasks[2].done()
        window.release(1)
        await tasks[2]
    assert served == [1, 2]


async def test_a_newcomer_does_not_overtake():
    """A place that was released to a waiter is not taken by one who comes before the waiter runs."""
    window, served = Window(1), list[int]()
    await window.acquire()
    (waiter,) = await queue_up(window, served, 1)
    window.release(1)

    async def come() -> None:
        await window.acquire()
        served.append(99)

    coming = come()
    coming.send(None)  # runs at once, before the waiter
    assert served == []
    coming.close()
    async with asyncio.timeout(DEADLINE):
        await waiter
    assert served == [0]


async def test_waiters_are_served_in_order():
    """Waiters get their places in the order in which they came, also when several are released at once."""
    window, served = Window(3), list[int]()
    for _ in range(3):
        await window.acquire()
    tasks = await queue_up(window, served, 5)
    async with asyncio.timeout(DEADLINE):
        window.release(2)
        await asyncio.wait(tasks[:2])
        assert served == [0, 1]
        window.release(3)
        await asyncio.wait(tasks)
    assert served == [0, 1, 2, 3, 4]


async def test_close_refuses_all():
    """Closing refuses who waits and who comes later, but not who was granted a place already."""
    window, served = Window(1), list[int]()
    await window.acquire()
    tasks = await queue_up(window, served, 2)
    window.release(1)
    window.close()
    async with asyncio.timeout(DEADLINE):
        await tasks[0]
        with pytest.raises(ClosedError, match="waited for room"):
            await tasks[1]
        with pytest.raises(ClosedError, match="closed"):
            await window.acquire()
    assert served == [0]


async def test_cancelling_a_refused_waiter_makes_no_place():
    """A waiter that is refused and cancelled in the same turn gives back no place, as it had none."""
    window = Window(1)
    await window.acquire()
    (waiter,) = await queue_up(window, [], 1)
    window.close()
    waiter.cancel()
    await asyncio.wait([waiter], timeout=DEADLINE)
    assert waiter.cancelled()


async def test_a_newcomer_does_not_overtake_who_was_called():
    """Who was called to a place and did not run yet comes before who asks now, also when there is a second place."""
    window = Window(2)
    await window.acquire()
    await window.acquire()
    served: list[int] = []
    (waiter,) = await queue_up(window, served, 1)
    window.release(2)

    async def newcomer() -> None:
        await window.acquire()
        served.append(2)

    async with asyncio.timeout(DEADLINE):
        await newcomer()
        await waiter
    assert served == [0, 2]
