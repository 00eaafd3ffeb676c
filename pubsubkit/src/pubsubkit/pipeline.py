"""Publishing with many messages under way: batches in order, through a bounded window."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from pubsubkit.errors import PublishBatchError, PubSubError
from pubsubkit.window import PublishFuture, Window

if TYPE_CHECKING:
    from pubsubkit.driver import OutgoingMessage
    from pubsubkit.sender import Sender

__all__ = ["Pipeline"]

_BATCH = 64


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
        self.window = Window(size)
        self.backlog = 0
        """How many messages wait to be handed to the driver."""
        self._sender = sender
        self._batch: _Batch | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: list[PublishFuture] = []

    async def put(self, message: OutgoingMessage, window: Window) -> PublishFuture:
        """Wait for room in *window*, take *message* and return the future of its receipt."""
        await window.acquire()
        if self._batch is not None and self._batch.window is not window:
            self._cut()
        loop = asyncio.get_running_loop()
        if self._batch is None:
            self._batch = _Batch(window)
            loop.call_soon(self._cut)
        future = PublishFuture(loop=loop)
        self._batch.messages.append(message)
        self._batch.futures.append(future)
        self.backlog += 1
        if len(self._batch.messages) >= _BATCH:
            self._cut()
        return future

    async def drain(self) -> None:
        """Wait until nothing is under way."""
        self._cut()
        while self._tasks:
            await asyncio.wait(self._tasks)

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
        self.backlog -= len(batch.messages)
        try:
            outcomes = await self._sender.deliver(batch.messages, batch.started)
        except BaseException:
            for future in batch.futures:
                future.cancel()
            raise
        finally:
            batch.window.release(len(batch.messages))
        failed: list[PublishFuture] = []
        for future, outcome in zip(batch.futures, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, PubSubError):
                future.set_exception(outcome)
                failed.append(future)
            else:
                future.set_result(outcome)
        if failed:
            self._failed = [future for future in self._failed if not future.observed] + failed
