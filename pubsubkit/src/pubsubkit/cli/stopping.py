"""Ctrl-C and SIGTERM: the first one asks a command to stop gracefully, the second one ends the process."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from pubsubkit.signals import catching

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Coroutine, Generator

__all__ = ["Stop", "Stopped", "catching_signals", "run"]

_T = TypeVar("_T")
_CANCEL_SECONDS = 1.0


class Stopped(Exception):  # noqa: N818 - a request, not a fault
    """What was being waited for was given up, because the command was asked to stop."""

    def __init__(self, number: signal.Signals | None) -> None:
        super().__init__(f"stopped by {number.name}" if number else "stopped")
        self.signal = number


class Stop:
    """The request to stop, which may come at any time."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        """The signal that asked, if it was one."""
        self._asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def asked(self) -> bool:
        """Whether the request has come."""
        return self._asked.done()

    def ask(self, number: signal.Signals | None = None) -> None:
        """Make the request; *number* is the signal behind it."""
        self.signal = self.signal or number
        if not self._asked.done():
            self._asked.set_result(None)

    async def race(self, work: Coroutine[Any, Any, _T], timeout: float | None = None) -> _T:
        """Return the result of *work*, which is cancelled when the request or the timeout comes first.

        :param timeout: seconds; None for no limit.
        :raises Stopped: the request came first, or was there before.
        :raises TimeoutError: the timeout came first.
        """
        task = asyncio.ensure_future(work)
        either: set[asyncio.Future[Any]] = {task, self._asked}
        try:
            await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            while not task.done():
                # Once is not enough: asyncio.wait_for of Python 3.11 can lose a cancellation.
                task.cancel()
                await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
        if self.asked:
            raise Stopped(self.signal)
        raise TimeoutError


def run(command: Callable[[Stop], Coroutine[Any, Any, _T]]) -> _T:
    """Run a command in an event loop of its own and return its exit code, or what else it returns."""

    async def guarded() -> _T:
        with catching_signals() as stop:
            return await command(stop)

    return asyncio.run(guarded())


@contextmanager
def catching_signals() -> Generator[Stop]:
    """Turn the first SIGINT or SIGTERM into a request to stop; a second one does what it did before."""
    stop = Stop()

    def on_signal(number: signal.Signals) -> None:
        restore()
        stop.ask(number)

    with catching(on_signal) as restore:
        yield stop
