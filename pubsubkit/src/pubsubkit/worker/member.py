"""One member of a consumer at work: takes messages when there is a free place, and settles each by its handler."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pubsubkit.errors import ClosedError, TransientError
from pubsubkit.hooks import processing
from pubsubkit.options import LONGEST_SECONDS
from pubsubkit.retry import Backoff
from pubsubkit.worker.lanes import Lanes
from pubsubkit.worker.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Coroutine, Hashable

    from pubsubkit.consumer import Consumer
    from pubsubkit.message import Message
    from pubsubkit.worker.halt import Halt
    from pubsubkit.worker.handler import Handler
    from pubsubkit.worker.threads import Threads

__all__ = ["Member"]

logger: logging.Logger = logging.getLogger("pubsubkit.worker")

_CANCEL_SECONDS = 2.0
_AGAIN_SECONDS = 5.0
_SETTLE_AGAIN = Backoff(initial=0.1, maximum=5.0)


class Member:
    """One subscription of a handler's consumer.

    A message holds one of ``concurrency`` places from when it is taken until its verdict was given, also while it waits
    for others of its key; no more are asked for than places are free.
    """

    def __init__(self, handler: Handler, consumer: Consumer, threads: Threads) -> None:
        self._handler = handler
        self._policy = handler.policy
        self._consumer = consumer
        self._subscription = consumer.subscribe()
        self._threads = threads
        self._places = asyncio.Semaphore(self._policy.concurrency)
        self._lanes = Lanes()
        # What is on its way at a stop has used up a delivery, which may be the only one before it is a dead letter.
        self._keeps_chances = bool(self._policy.dead_letter) and self._policy.max_deliver == 1
        self._late: dict[Message, asyncio.Future[BaseException | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.held: int = 0
        """How many messages have a place."""

    @property
    def consuming(self) -> bool:
        """Whether, as far as this side can tell, the broker is serving it."""
        return self._subscription.consuming

    async def join(self) -> None:
        """Join the consumer, which is created when it is missing; raises what entering a :class:`Subscription` does."""
        await self._subscription.__aenter__()

    async def pull(self) -> None:
        """Take messages and start handling them, until cancelled; raises what iterating does."""
        while True:
            await self._places.acquire()
            self._subscription.limit(1 if self._keeps_chances else self._policy.concurrency - self.held)
            message = await anext(self._subscription, None)
            if message is None:
                raise ClosedError("the backend was closed while the worker ran")
            self._take(message)

    async def leave(self, halt: Halt, grace: float) -> None:
        """Give back what no handler has seen, let the others finish within *grace* seconds, and close.

        A waiting message whose last delivery this is stays in its lane and is handled: given back it would be a dead
        letter that no handler has seen.
        """
        waiting = self._lanes.take(self._may_come_again)
        self.held -= len(waiting)
        draining = asyncio.ensure_future(self._subscription.drain(LONGEST_SECONDS, release=waiting))
        if self._tasks:
            await halt.unless_forced(asyncio.wait([*self._tasks]), grace)
        await self._cut_off()
        await self._consumer.aclose()
        await draining

    async def _cut_off(self) -> None:
        if not self._tasks:
            return
        late = [*self._tasks]
        logger.warning("%d of handler %s were cut off; their messages come again", len(late), self._handler.name)
        for task in late:
            task.cancel()
        await asyncio.wait(late, timeout=_CANCEL_SECONDS)

    def _may_come_again(self, message: Message) -> bool:
        most = self._policy.max_deliver
        return most is None or message.metadata.num_delivered < most

    def _take(self, message: Message) -> None:
        self.held += 1
        key = self._policy.key
        if key is None:
            self._spawn(self._handle(message))
            return
        try:
            lane = key(message)
            free = self._lanes.enter(lane, message)
        except Exception as error:  # noqa: BLE001 - the application's function failed: the message is not handled
            self._spawn(self._handle(message, error))
        else:
            if free:
                self._spawn(self._handle_lane(lane, message))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle_lane(self, key: Hashable, first: Message) -> None:
        message: Message | None = first
        while message is not None:
            if self._subscription.holds(message):
                await self._handle(message)
            else:
                logger.info("%r waited until its lease was over: it comes again", message.subject)
                self._free()
            message = self._lanes.next(key)

    async def _handle(self, message: Message, error: Exception | None = None) -> None:
        """Handle *message*, or settle it by the *error* that came before; then its place is free."""
        try:
            await self._settle(message, await self._attempt(message) if error is None else error)
            if message in self._late:
                await self._late.pop(message)
        finally:
            self._free()

    def _free(self) -> None:
        self.held -= 1
        self._places.release()

    async def _attempt(self, message: Message) -> BaseException | None:
        """Let the handler handle it; return what it raised."""
        try:
            with processing(self._subscription.hooks, message.delivery):
                await self._call(message, self._handler.decode(message))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return error  # of something that the handler itself waited for
        except Exception as error:  # noqa: BLE001 - whatever it is, the message was not handled
            return error
        return None

    async def _call(self, message: Message, value: object) -> None:
        handler, timeout = self._handler, self._policy.timeout
        if handler.is_async:
            async with asyncio.timeout(timeout):
                await handler.function(value)
            return
        ended = self._threads.call(handler.function, value)
        await asyncio.wait({ended}, timeout=timeout)
        if not ended.done():
            self._late[message] = ended
            raise TimeoutError
        if (error := ended.result()) is not None:
            raise error

    async def _settle(self, message: Message, error: BaseException | None) -> None:
        """Give the verdict; while the broker cannot be reached it is tried again, and the place stays taken."""
        outcome = None if error is None else Outcome(message, self._policy, error)
        if outcome is not None:
            outcome.log(self._handler.name)
        attempt = 0
        while True:
            try:
                await (message.ack() if outcome is None else outcome.settle())
            except TransientError as failure:
                attempt += 1
                logger.info("no verdict on %r yet: %s", message.subject, failure)
                await _SETTLE_AGAIN.sleep(_SETTLE_AGAIN.delay(attempt))
            except Exception as failure:  # noqa: BLE001 - whatever it is, the next of its key must not wait for it
                await self._give_up(message, failure)
                return
            else:
                return

    async def _give_up(self, message: Message, failure: Exception) -> None:
        """The verdict was refused, because no dead letter could be stored for example."""
        logger.warning("no verdict on %r, it comes again: %s", message.subject, failure)
        try:
            await message.nak_with_delay(_AGAIN_SECONDS)
        except Exception as error:  # noqa: BLE001 - as above
            logger.info("%r comes again when its lease ends: %s", message.subject, error)
