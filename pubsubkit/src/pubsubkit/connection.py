"""What a backend shares with its publishers and consumers."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from pubsubkit.errors import ClosedError, UnsupportedError

if TYPE_CHECKING:
    from pubsubkit.closing import Closing
    from pubsubkit.driver import Capability, Driver
    from pubsubkit.hooks import Hooks

__all__ = ["Connection", "Phase"]


class Phase(Enum):
    """The life of a backend."""

    NEW = auto()
    OPEN = auto()
    CLOSED = auto()


class Connection:
    """A driver with its hooks, whether it may be used, and who uses it."""

    __slots__ = ("driver", "hooks", "phase", "users")

    def __init__(self, driver: Driver, hooks: Hooks) -> None:
        self.driver: Driver = driver
        self.hooks: Hooks = hooks
        self.phase: Phase = Phase.NEW
        self.users: set[Closing] = set()

    def check_open(self) -> None:
        """Raise :class:`ClosedError` when the backend is closed or was not opened."""
        if self.phase is Phase.NEW:
            raise ClosedError("the backend is not open; use `async with connect(...) as backend`")
        if self.phase is Phase.CLOSED:
            raise ClosedError("the backend is closed")

    def require(self, capability: Capability) -> None:
        """Raise :class:`UnsupportedError` when the backend does not have *capability*."""
        if capability not in self.driver.capabilities:
            raise UnsupportedError(f"{self.driver.address} does not support {capability.value}")
