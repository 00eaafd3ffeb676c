"""Publishing with many messages under way: batches in order, through a bounded window."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from pubsubkit.errors import PublishBatchError, PubSubError, TransientError
from pubsubkit.window import PublishFuture, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit.driver import OutgoingMessage
    from pubsubkit.sender import Ending, Sender

__all__ = ["Pipeline"]

_BATCH = 64
_PRUNE = 1024


class _Batch:
    """Messages that go to the driver together."""

    __slots__ = ("futures", "messages", "started", "window")

    def __init__(self, window: Window) -> None:
        self.messages: list[OutgoingMessage] = []
        self.futures: list[PublishFuture] = []
        self.started = time.perf_counter()
        self.window = window


class Pipeline:
    """Collects what is put in one turn of the event loop, at most 64 messages, and sends it as one batch."""

    def __init__(self, sender: Sender, size: int) -> None:
        self.window: Window = Window(size)
        self.ahead: int = 0
        """How many messages wait for room, or to be handed to the driver."""
        self._sender = sender
        self._batch: _Batch | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: list[PublishFuture] = []
        self._prune_at = _PRUNE

    async def put(self, message: OutgoingMessage, window: Window) -> PublishFuture:
        """Wait for room in *window*, take *message* and return the future of its receipt."""
        self.ahead += 1
        try:
            await window.acquire()
        except BaseException:
            self.ahead -= 1
            raise
        if self._batch is not None and self._batch.window is not window:
            self._cut()
        loop = asyncio.get_running_loop()
        if self._batch is None:
            self._batch = _Batch(window)
            loop.call_soon(self._cut)
        future = PublishFuture(loop=loop)
        self._batch.messages.append(message)
        self._batch.futures.append(future)
        if len(self._batch.messages) >= _BATCH:
            self._cut()
        return future

    async def drain(self) -> None:
        """Wait until nothing is under way."""
        self._cut()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cancel(self) -> None:
        """Give up what is under way; it counts as failed."""
        for task in self._tasks:
            task.cancel()

    def raise_unseen(self) -> None:
        """Raise the failures whose futures nobody looked at, once."""
        unseen = [future for future in self._failed if not future.observed]
        self._failed.clear()
        errors = [error for future in unseen if isinstance(error := future.exception(), PubSubError)]
        if errors:
            raise PublishBatchError(errors)

    def _cut(self) -> None:
        if self._batch is not None:
            task = asyncio.get_running_loop().create_task(self._run(self._batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._batch = None

    async def _run(self, batch: _Batch) -> None:
        self.ahead -= len(batch.messages)

        def done(ended: Sequence[Ending]) -> None:
            batch.window.release(len(ended))
            for index, outcome in ended:
                future = batch.futures[index]
                if future.done():
                    continue
                if isinstance(outcome, PubSubError):
                    future.set_exception(outcome)
                    self._note_failure(future)
                else:
                    future.set_result(outcome)

        try:
            await self._sender.send(batch.messages, batch.started, done)
        except BaseException as error:
            failure = TransientError(f"publishing was cut short: {error!r}; the message may have been stored")
            failure.__cause__ = error
            done([(index, failure) for index, future in enumerate(batch.futures) if not future.done()])
            if not isinstance(error, Exception):
                raise

    def _note_failure(self, future: PublishFuture) -> None:
        self._failed.append(future)
        if len(self._failed) >= self._prune_at:
            self._failed = [future for future in self._failed if not future.observed]
            self._prune_at = max(_PRUNE, 2 * len(self._failed))
