"""One run of a worker."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pubsubkit.backend import Backend
from pubsubkit.errors import TransientError
from pubsubkit.worker.halt import Halt
from pubsubkit.worker.state import WorkerHealth, WorkerState
from pubsubkit.worker.supervisor import AGAIN, Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from pubsubkit.worker.handler import Handler

__all__ = ["Run"]

logger: logging.Logger = logging.getLogger("pubsubkit.worker")

_LIVE_SECONDS = 60.0
"""For so long a worker without its broker is thought to get it back without being started anew."""


class Run:
    """What lives from the start of a worker to its end.

    :param source: the backend, which is left open, or what makes one.
    :param grace: seconds for which handlers may finish.
    """

    def __init__(self, handlers: Sequence[Handler], source: Backend | Callable[[], Backend], grace: float) -> None:
        self.halt: Halt = Halt()
        self.tried: asyncio.Event = asyncio.Event()
        """Set when every handler has once joined its consumer or failed to."""
        self._source = source
        self._tries = 0
        self._supervisors = [Supervisor(handler, self.halt, grace, self._count_try) for handler in handlers]

    async def main(self) -> None:
        """Run until stopped.

        :raises PubSubError: what trying again cannot mend; the other handlers have stopped gracefully.
        """
        async with self._opened() as backend:
            if backend is None:
                return
            tasks = [asyncio.ensure_future(supervisor.run(backend)) for supervisor in self._supervisors]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            self.halt.ask(force=False)
            await asyncio.wait(tasks)
        errors = [error for task in tasks if (error := task.exception()) is not None]
        if errors:
            raise errors[0]

    def health(self) -> WorkerHealth:
        """How it is at this moment."""
        handlers = tuple(supervisor.look() for supervisor in self._supervisors)
        ready = not self.halt.asked and all(handler.consuming for handler in handlers)
        lost_for = max(supervisor.lost_for() for supervisor in self._supervisors)
        state = WorkerState.RUNNING if ready else WorkerState.DEGRADED
        return WorkerHealth(
            state=WorkerState.STOPPED if self.halt.asked else state,
            live=self.halt.asked or lost_for < _LIVE_SECONDS,
            ready=ready,
            handlers=handlers,
        )

    def _count_try(self) -> None:
        self._tries += 1
        if self._tries >= len(self._supervisors):
            self.tried.set()

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[Backend | None]:
        """The backend; None when it was not there before the request to stop."""
        if isinstance(self._source, Backend):
            yield self._source
            return
        backend = await self._connect(self._source)
        try:
            yield backend
        finally:
            if backend is not None:
                await backend.aclose()

    async def _connect(self, make: Callable[[], Backend]) -> Backend | None:
        attempt = 0
        while not self.halt.asked:
            backend = make()
            try:
                await self.halt.until_asked(_open(backend))
            except TransientError as error:
                attempt += 1
                self.tried.set()
                logger.warning("no broker, next try in %.1f s: %s", seconds := AGAIN.delay(attempt), error)
                await self.halt.wait(seconds)
            else:
                return backend
        return None


async def _open(backend: Backend) -> None:
    await backend.open()
