"""How a worker is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["HandlerHealth", "WorkerHealth", "WorkerState"]


class WorkerState(StrEnum):
    """What a worker is doing."""

    RUNNING = "running"
    """The broker serves every handler."""
    DEGRADED = "degraded"
    """A handler gets no messages: its connection is lost or was not there yet, and is tried again."""
    STOPPED = "stopped"
    """No messages are taken: it was not started, is stopping, or has ended."""


@dataclass(frozen=True, kw_only=True)
class HandlerHealth:
    """How one handler is."""

    name: str
    stream: str
    consumer: str
    consuming: bool
    """The broker serves it, as far as this side can tell."""
    held: int
    """Messages that are being handled or wait for their key."""
    error: str
    """Why it does not consume; empty when it does, or when nothing has told."""


@dataclass(frozen=True, kw_only=True)
class WorkerHealth:
    """What :meth:`Worker.health` found."""

    state: WorkerState
    live: bool
    """It runs, and no handler has been without the broker for long.  False: start the process anew."""
    ready: bool
    """Every handler is served by the broker at this moment."""
    handlers: tuple[HandlerHealth, ...] = ()
