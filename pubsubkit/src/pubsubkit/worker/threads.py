"""Threads for handlers that block."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Threads"]


class Threads:
    """As many threads as there are calls at the same time, kept for the next ones.

    They are daemons, other than those of asyncio: a handler that hangs must not keep the process from ending.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._busy = 0
        self._count = 0

    def call(self, function: Callable[[object], object], value: object) -> asyncio.Future[BaseException | None]:
        """Call *function* in a thread, in a copy of the context; the future gets what it raised.

        Cancelling the future does not stop the thread.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[BaseException | None] = loop.create_future()
        context = contextvars.copy_context()

        def finish(error: BaseException | None) -> None:
            self._busy -= 1
            if not ended.done():
                ended.set_result(error)

        def work() -> None:
            error: BaseException | None = None
            try:
                _check_done(context.run(function, value))
            except BaseException as raised:  # noqa: BLE001 - handed to who waits
                error = raised
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(finish, error)

        self._busy += 1
        if self._busy > self._count:
            self._count += 1
            threading.Thread(target=self._serve, name="pubsubkit-handler", daemon=True).start()
        self._work.put(work)
        return ended

    def close(self) -> None:
        """Let every thread end after what it does."""
        for _ in range(self._count):
            self._work.put(None)
        self._count = 0

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _check_done(result: object) -> None:
    """Raise when the call has run nothing, as that of a plain function around an async one."""
    if inspect.iscoroutine(result):
        result.close()
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError(f"the handler returned a {type(result).__name__}, which nobody runs; make it an async def")
