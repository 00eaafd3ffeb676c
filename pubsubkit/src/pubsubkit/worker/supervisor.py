"""Keeps one handler consuming."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from pubsubkit.driver import Capability
from pubsubkit.errors import TransientError
from pubsubkit.retry import Backoff
from pubsubkit.worker.member import Member
from pubsubkit.worker.state import HandlerHealth
from pubsubkit.worker.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from pubsubkit.backend import Backend
    from pubsubkit.worker.halt import Halt
    from pubsubkit.worker.handler import Handler

__all__ = ["AGAIN", "Supervisor"]

logger: logging.Logger = logging.getLogger("pubsubkit.worker")

AGAIN = Backoff(initial=0.25, maximum=15.0)
"""The waits before what failed for want of the broker is tried again."""


class Supervisor:
    """Runs one handler until it is to stop, and joins its consumer again when that failed.

    :param tried: called each time joining has succeeded or failed.
    """

    def __init__(self, handler: Handler, halt: Halt, grace: float, tried: Callable[[], None]) -> None:
        self._handler = handler
        self._halt = halt
        self._grace = grace
        self._tried = tried
        self._member: Member | None = None
        self._joined = False
        self._error = ""
        self._lost_since: float | None = None

    async def run(self, backend: Backend) -> None:
        """Consume; return once stopped.

        :raises PubSubError: what trying again cannot mend, such as a consumer that was deleted.
        """
        threads, attempt = Threads(), 0
        try:
            while not self._halt.asked:
                self._joined = False
                try:
                    await self._serve(backend, threads)
                except TransientError as error:
                    attempt = 1 if self._joined else attempt + 1
                    await self._pause(error, AGAIN.delay(attempt))
        finally:
            threads.close()

    def look(self) -> HandlerHealth:
        """How it is at this moment."""
        policy, member = self._handler.policy, self._member
        return HandlerHealth(
            name=self._handler.name,
            stream=policy.stream_name,
            consumer=policy.durable,
            consuming=self.consuming,
            held=member.held if member else 0,
            error=self._error,
        )

    @property
    def consuming(self) -> bool:
        """Whether, as far as this side can tell, the broker is serving it."""
        return self._member is not None and self._member.consuming

    def lost_for(self) -> float:
        """Seconds for which it was not consuming whenever somebody looked."""
        if self.consuming:
            self._lost_since = None
            return 0.0
        now = time.monotonic()
        self._lost_since = now if self._lost_since is None else self._lost_since
        return now - self._lost_since

    async def _serve(self, backend: Backend, threads: Threads) -> None:
        leases = Capability.IN_PROGRESS in backend.capabilities
        consumer = backend.consumer(self._handler.policy.consumer_options(leases=leases))
        self._member = Member(self._handler, consumer, threads)
        try:
            await self._halt.until_asked(self._consume(self._member))
        finally:
            await self._member.leave(self._halt, self._grace)
            self._member = None

    async def _consume(self, member: Member) -> None:
        await member.join()
        self._joined, self._error = True, ""
        self._tried()
        policy = self._handler.policy
        name = f"{policy.stream_name}/{policy.durable or '(ephemeral)'}"
        logger.info("handler %s consumes %s, %d at the same time", self._handler.name, name, policy.concurrency)
        await member.pull()

    async def _pause(self, error: TransientError, seconds: float) -> None:
        self._error = str(error)
        self._tried()
        logger.warning("handler %s gets no messages, next try in %.1f s: %s", self._handler.name, seconds, error)
        await self._halt.wait(seconds)
