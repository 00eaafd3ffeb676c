"""The bounded window of messages that wait for the broker's confirmation."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from pubsubkit.driver import PublishReceipt
from pubsubkit.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["PublishFuture", "Window"]


class PublishFuture(asyncio.Future[PublishReceipt]):
    """The outcome of one ``publish_soon``; it knows whether somebody looked, so that ``flush`` need not repeat it."""

    observed: bool = False

    def __await__(self) -> Generator[Any, None, PublishReceipt]:
        self.observed = True
        return super().__await__()

    __iter__ = __await__

    def result(self) -> PublishReceipt:
        """The receipt, or raise why there is none."""
        self.observed = True
        return super().result()

    def exception(self) -> BaseException | None:
        """Why there is no receipt; None when there is one."""
        self.observed = True
        return super().exception()


class Window:
    """Counts free places; who waits for one is served in the order of arrival."""

    __slots__ = ("_closed", "_free", "waiters")

    def __init__(self, size: int) -> None:
        self._free = size
        self.waiters: deque[asyncio.Future[None]] = deque()
        """Who waits for a place, or was called to take one and did not run yet."""
        self._closed = False

    async def acquire(self) -> None:
        """Take a place, waiting for one if need be.  Cancelling leaves no place taken.

        :raises ClosedError: the window was closed.
        """
        if self._closed:
            raise ClosedError("the publisher is closed")
        if self._free and not self.waiters:
            self._free -= 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        try:
            await waiter
            self._free -= 1
        finally:
            self.waiters.remove(waiter)
            self._call()

    def release(self, count: int) -> None:
        """Give *count* places back."""
        self._free += count
        self._call()

    def close(self) -> None:
        """Refuse everyone who waits or comes later."""
        self._closed = True
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(ClosedError("the publisher was closed while this message waited for room"))

    def _call(self) -> None:
        """Call as many of those who wait as there are places."""
        for waiter in islice(self.waiters, self._free):
            if not waiter.done():
                waiter.set_result(None)
