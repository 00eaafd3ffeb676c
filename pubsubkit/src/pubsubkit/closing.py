"""One way to close: idempotent, shared by concurrent callers, and carried to its end when a caller is cancelled."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Closing"]


class Closing(ABC):
    """Base of what is closed by ``aclose()`` or by leaving ``async with``."""

    def __init__(self) -> None:
        self._close_task: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether closing has begun."""
        return self._close_task is not None

    async def aclose(self) -> None:
        """Close.  May be called again, also concurrently: every call returns when closing has ended.

        Cancelling a call leaves the closing to go on by itself.
        """
        if self._close_task is None:
            self._close_task = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._close_task)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @abstractmethod
    async def _close(self) -> None:
        """Close; called once."""
