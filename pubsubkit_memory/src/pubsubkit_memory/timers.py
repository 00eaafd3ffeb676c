"""Deadlines: one heap, and one armed handle of the event loop, for all redeliveries of a broker."""

from __future__ import annotations

import asyncio
import math
import time
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Timer", "Timers"]

_TOLERATED = 64


class Timer:
    """One deadline."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when: float = when
        self.call: Callable[[], None] | None = call
        """What to do; None once it was done or cancelled."""


class Timers:
    """Calls back at deadlines while it runs on an event loop; what fell due in between is called at the next start.

    Times are seconds of a clock that is the running loop's, moved so that it does not jump when the loop is another.
    """

    __slots__ = ("_armed_for", "_clock", "_count", "_dead", "_handle", "_heap", "_loop", "_offset", "moved_ns", "now")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._dead = 0
        self._clock = time.monotonic
        self._offset = 0.0
        self.now: Callable[[], float] = self._clock
        """Tells the present, in seconds."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._armed_for = 0.0
        self.moved_ns: int = 0
        """Nanoseconds by which :meth:`advance` has put the clock forward, the wall clock with it."""

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def armed(self) -> bool:
        """Whether the loop will call back."""
        return self._handle is not None

    def advance(self, seconds: float) -> None:
        """Put the clock forward; what falls due by that is called in the running loop's next turn."""
        self._set(self._clock, self._offset + seconds)
        self.moved_ns += round(seconds * 1e9)
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._arm()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run on *loop* from now on."""
        self.stop()
        plain = type(loop).time is asyncio.BaseEventLoop.time  # which is time.monotonic, and a call more
        self._follow(time.monotonic if plain else loop.time)
        self._loop = loop
        self._arm()

    def stop(self) -> None:
        """Leave the loop, which may be closed already; deadlines are kept."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop = None
        self._follow(time.monotonic)

    def at(self, when: float, call: Callable[[], None]) -> Timer:
        """Have *call* called at *when*."""
        timer = Timer(when, call)
        self._count += 1  # of two equal deadlines the earlier one comes first
        heappush(self._heap, (when, self._count, timer))
        self._arm()
        return timer

    def cancel(self, timer: Timer) -> None:
        """Forget a deadline; does nothing when it is over."""
        if timer.call is None:
            return
        timer.call = None
        self._dead += 1
        if self._dead > _TOLERATED and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            heapify(self._heap)
            self._dead = 0

    def _follow(self, clock: Callable[[], float]) -> None:
        if clock is not self._clock:
            self._set(clock, self.now() - clock())

    def _set(self, clock: Callable[[], float], offset: float) -> None:
        self._clock = clock
        self._offset = offset
        self.now = (lambda: clock() + offset) if offset else clock

    def _arm(self) -> None:
        if self._loop is None or not self._heap:
            return
        when = self._heap[0][0]
        if self._handle is not None:
            if self._armed_for <= when:
                return
            self._handle.cancel()
        self._armed_for = when
        self._handle = self._loop.call_at(when - self._offset, self._fire)

    def _fire(self) -> None:
        self._armed_for = -math.inf  # what the calls add is armed for at the end, once
        now = self.now()
        try:
            while self._heap and self._heap[0][0] <= now:
                timer = heappop(self._heap)[2]
                call, timer.call = timer.call, None
                if call is None:
                    self._dead -= 1
                else:
                    call()
        finally:
            self._handle = None
            self._arm()
