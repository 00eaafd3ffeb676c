"""Ends a case from outside: one whose backend blocks the event loop, which no timeout of asyncio can, or at Ctrl-C."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator

__all__ = ["cancelling", "interrupting"]

_AGAIN_SECONDS = 1.0


@contextmanager
def interrupting(loop: asyncio.AbstractEventLoop, seconds: float) -> Generator[None]:
    """In this block, raise :class:`AssertionError` in whatever has kept *loop* from running for *seconds*.

    It is raised again each second until the loop runs.  Nothing is done outside of the main thread, on Windows, or
    where SIGALRM is in use, as by pytest-timeout.
    """
    able = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not able or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        raise AssertionError(f"the backend blocked the event loop for {seconds:g} s")

    beating: asyncio.Handle

    def beat() -> None:
        nonlocal beating
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
        beating = loop.call_later(seconds / 4, beat)

    signal.signal(signal.SIGALRM, interrupt)
    beating = loop.call_soon(beat)
    try:
        yield
    finally:
        beating.cancel()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


@contextmanager
def cancelling(task: asyncio.Task[object]) -> Generator[Callable[[], bool]]:
    """In this block the first Ctrl-C cancels *task*, which needs the loop to run; gives whether there was one.

    Another one raises :class:`KeyboardInterrupt` in whatever runs, so that it ends what blocks the loop.  The first one
    does not, as that would end whichever task happens to run.  Nothing is done outside of the main thread, or where
    somebody else handles Ctrl-C.
    """
    asked: asyncio.Handle | None = None

    def interrupt(_number: int, _frame: object) -> None:
        nonlocal asked
        if asked is not None:
            asked.cancel()  # where the loop could not run, or it would cut the cleaning up
            raise KeyboardInterrupt
        asked = task.get_loop().call_soon_threadsafe(task.cancel)

    able = threading.current_thread() is threading.main_thread()
    if not able or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: asked is not None
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
