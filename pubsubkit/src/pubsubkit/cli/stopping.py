"""Ctrl-C and SIGTERM: the first one asks a command to stop gracefully, the second one ends the process."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

__all__ = ["Stop", "Stopped", "catching_signals", "run"]

_T = TypeVar("_T")
_CANCEL_SECONDS = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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


def run(command: Callable[[Stop], Coroutine[Any, Any, int]]) -> int:
    """Run a command in an event loop of its own and return its exit code."""

    async def guarded() -> int:
        with catching_signals() as stop:
            return await command(stop)

    return asyncio.run(guarded())


@contextmanager
def catching_signals() -> Generator[Stop]:
    """Turn the first SIGINT or SIGTERM into a request to stop; a second one does what it did before."""
    loop = asyncio.get_running_loop()
    stop = Stop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            _release(loop, number)
            signal.signal(number, handler or signal.SIG_DFL)

    def on_signal(number: signal.Signals) -> None:
        restore()
        stop.ask(number)

    for number in _SIGNALS:
        _catch(loop, number, partial(on_signal, number))
    try:
        yield stop
    finally:
        restore()


def _catch(loop: asyncio.AbstractEventLoop, number: signal.Signals, handle: Callable[[], None]) -> None:
    try:
        loop.add_signal_handler(number, handle)
    except NotImplementedError:  # Windows

        def wake(_number: int, _frame: object) -> None:
            loop.call_soon_threadsafe(handle)

        signal.signal(number, wake)


def _release(loop: asyncio.AbstractEventLoop, number: signal.Signals) -> None:
    try:
        loop.remove_signal_handler(number)
    except NotImplementedError:  # Windows
        return
