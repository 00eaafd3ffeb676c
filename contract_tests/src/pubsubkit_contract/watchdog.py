"""Ends a case whose backend blocks the event loop, which no timeout of asyncio can."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["interrupting"]

_AGAIN_SECONDS = 1.0


@contextmanager
def interrupting(seconds: float) -> Generator[None]:
    """Raise :class:`AssertionError` in whatever runs after *seconds*, and again each second, until the block ends.

    It does nothing outside of the main thread, on Windows, or where SIGALRM is in use, as by pytest-timeout.
    """
    able = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not able or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        raise AssertionError(f"the backend blocked the event loop; the case did not end within {seconds:g} s")

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
