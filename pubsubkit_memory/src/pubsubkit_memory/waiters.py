"""Those who wait for a message, first come, first served; none of them is lost by a cancellation."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Waiters"]


class Waiters:
    """A queue of blocked receivers.

    Waking one hands it nothing: it takes its message itself when it runs, so that one that was cancelled in between
    leaves the message where it was.  Whoever was woken calls :meth:`leave`, and sees to it that another is woken when
    it took nothing.
    """

    __slots__ = ("queue", "woken")

    def __init__(self) -> None:
        self.queue: deque[asyncio.Future[None]] = deque()
        """Those that were not woken."""
        self.woken: set[asyncio.Future[None]] = set()
        """Those that were woken and did not run yet."""

    def join(self, *, first: bool) -> asyncio.Future[None]:
        """Queue up, at the head for one that was woken in vain; await what it returns."""
        waiter = asyncio.get_running_loop().create_future()
        if first:
            self.queue.appendleft(waiter)
        else:
            self.queue.append(waiter)
        return waiter

    def leave(self, waiter: asyncio.Future[None]) -> None:
        """Stop waiting, woken or not."""
        if waiter in self.woken:
            self.woken.discard(waiter)
        elif waiter in self.queue:
            self.queue.remove(waiter)

    def wake(self, count: int) -> None:
        """Wake from the head until *count* are woken."""
        while self.queue and len(self.woken) < count:
            waiter = self.queue.popleft()
            if _alive(waiter):
                self.woken.add(waiter)
                waiter.set_result(None)

    def wake_all(self) -> None:
        """Wake everyone."""
        self.wake(len(self.woken) + len(self.queue))

    def reset(self) -> None:
        """Forget everyone: their event loop is gone."""
        self.queue.clear()
        self.woken.clear()


def _alive(waiter: asyncio.Future[None]) -> bool:
    return not waiter.done() and not waiter.get_loop().is_closed()
