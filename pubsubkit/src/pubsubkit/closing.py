"""One way to close: idempotent, shared by concurrent callers, and carried to its end when a caller is cancelled."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from pubsubkit.errors import PublishBatchError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Closing"]

logger: logging.Logger = logging.getLogger("pubsubkit.publisher")


class Closing(ABC):
    """Base of what is closed by ``aclose()`` or by leaving ``async with``."""

    def __init__(self) -> None:
        self._close_begun = False
        self._close_task: asyncio.Future[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether closing has begun."""
        return self._close_begun

    async def aclose(self) -> None:
        """Close.  May be called again, also concurrently: every call returns when closing has ended.

        Cancelling a call leaves the closing to go on by itself.
        """
        self._close_begun = True
        if self._close_task is None:
            self._close_task = asyncio.ensure_future(self._close())
        await asyncio.shield(self._close_task)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; lost messages are raised unless the block has raised already, which they never hide."""
        try:
            await self.aclose()
        except PublishBatchError as failure:
            if error is None:
                raise
            logger.error("lost while closing: %s", failure)  # noqa: TRY400 - the block's own error goes on

    @abstractmethod
    async def _close(self) -> None:
        """Close; called once."""
