"""Sees what a piece of work leaves behind in this process."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Leftovers"]

_DESCRIPTORS = Path("/proc/self/fd")
_POLL_SECONDS = 0.005


class Leftovers(logging.Handler):
    """Watches tasks, threads, open files and sockets, warnings, the log and the event loop's complaints.

    A context manager; after its block :meth:`check` tells what is left.

    :param cap: seconds within which what ends by itself must have ended.
    """

    def __init__(self, cap: float) -> None:
        super().__init__(logging.WARNING)
        self.complaints: list[str] = []
        """What was logged by ``pubsubkit`` at WARNING or above, warned of, or reported to the event loop."""
        self._cap = cap
        self._warnings = warnings.catch_warnings(record=True)
        self._warned: list[warnings.WarningMessage] | None = None

    def __enter__(self) -> Self:
        gc.collect()
        self._tasks, self._threads, self._files = asyncio.all_tasks(), set(threading.enumerate()), _open_files()
        self._loop = asyncio.get_running_loop()
        self._handler = self._loop.get_exception_handler()
        self._loop.set_exception_handler(self._on_exception)
        self._warned = self._warnings.__enter__()
        warnings.simplefilter("always", ResourceWarning)
        self._disabled = logging.root.manager.disable
        logging.disable(logging.NOTSET)
        logging.getLogger("pubsubkit").addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.collect()
        logging.getLogger("pubsubkit").removeHandler(self)
        logging.disable(self._disabled)
        self._loop.set_exception_handler(self._handler)
        self._warnings.__exit__(kind, error, trace)
        self.complaints += [f"{seen.category.__name__}: {seen.message}" for seen in self._warned or ()]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what was logged."""
        self.complaints.append(f"{record.levelname} {record.name}: {record.getMessage()}")

    async def settle(self) -> list[str]:
        """Wait until nothing is left, at most the cap; return what is."""
        try:
            async with asyncio.timeout(self._cap):
                while self._left():  # noqa: ASYNC110 - there is no event for the end of a file
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            return self._left()
        return []

    def _left(self) -> list[str]:
        tasks = asyncio.all_tasks() - self._tasks - {asyncio.current_task()}
        left = [f"task {task.get_name()} in {task.get_coro()!r}" for task in tasks]
        left += [f"thread {thread.name}" for thread in set(threading.enumerate()) - self._threads]
        return left + [f"open {name}" for name in _open_files() - self._files]

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:  # noqa: ARG002
        self.complaints.append(f"event loop: {context.get('message')}: {context.get('exception')!r}")


def _open_files() -> set[str]:
    """The targets of this process's file descriptors; of a socket its number, which is its own."""
    if not _DESCRIPTORS.is_dir():
        return set()
    found: set[str] = set()
    for entry in _DESCRIPTORS.iterdir():
        with suppress(OSError):  # the one that lists the others is gone by now
            found.add(str(entry.readlink()))
    return {name for name in found if not name.startswith("/proc/")}
