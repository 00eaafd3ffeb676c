"""SIGINT and SIGTERM in an event loop."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["catching"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def catching(handle: Callable[[signal.Signals], None]) -> Generator[Callable[[], None]]:
    """Call *handle* in the running loop for every SIGINT and SIGTERM; for the main thread only.

    It yields the function that lets signals do what they did before, which leaving the block does as well.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            _release(loop, number)
            signal.signal(number, handler or signal.SIG_DFL)

    for number in _SIGNALS:
        _catch(loop, number, partial(handle, number))
    try:
        yield restore
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
