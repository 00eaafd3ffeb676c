"""What is started by entering it, and ends with the block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Started"]


class Started(ABC):
    """An async context manager around :meth:`start` and :meth:`stop`; a start that fails leaves nothing running."""

    @abstractmethod
    async def start(self) -> None:
        """Start it."""

    @abstractmethod
    async def stop(self, *, crash: bool = False) -> None:
        """End it, by force with *crash*."""

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop(crash=True)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
