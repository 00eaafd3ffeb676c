"""The request to stop, which may come at any time, and to stop at once, which may follow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Halt"]

_CANCEL_SECONDS = 1.0


class Halt:
    """Whether a run was asked to stop."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._forced = asyncio.Event()

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return self._asked.is_set()

    def ask(self, *, force: bool) -> None:
        """Stop; with *force*, wait for no handler."""
        self._asked.set()
        if force:
            self._forced.set()

    async def until_asked(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work*, which is cancelled when the request comes; raise what it raised."""
        await _race(work, self._asked, None)

    async def wait(self, seconds: float) -> None:
        """Return after *seconds*, or on the request."""
        await self.until_asked(asyncio.sleep(seconds))

    async def unless_forced(self, work: Coroutine[Any, Any, Any], seconds: float) -> None:
        """Run *work* for *seconds* at the most; on the request to stop at once it is cancelled."""
        await _race(work, self._forced, seconds)


async def _race(work: Coroutine[Any, Any, Any], against: asyncio.Event, seconds: float | None) -> None:
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(against.wait())
    try:
        await asyncio.wait({task, watch}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watch.cancel()
        while not task.done():
            # Once is not enough: asyncio.wait_for of Python 3.11 can lose a cancellation.
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
    if not task.cancelled():
        task.result()
