"""Hands messages to the driver, tries transient failures again, and reports each message's final outcome once."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from typing import TYPE_CHECKING

from pubsubkit.driver import Capability
from pubsubkit.errors import PubSubError, TransientError
from pubsubkit.logs import log_about, outgoing_fields
from pubsubkit.receipt import PublishReceipt
from pubsubkit.translate import portable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from pubsubkit.driver import Driver, OutgoingMessage
    from pubsubkit.hooks import Hooks
    from pubsubkit.options import PublisherOptions

    Confirmation = Awaitable[Sequence[PublishReceipt | Exception]]

__all__ = ["Ending", "Outcome", "Sender"]

logger: logging.Logger = logging.getLogger("pubsubkit.publisher")

Outcome = PublishReceipt | PubSubError
Ending = tuple[int, Outcome]
"""The index of a message in its batch, with its final outcome."""


class Sender:
    """The sending half of one publisher."""

    def __init__(self, driver: Driver, hooks: Hooks, options: PublisherOptions) -> None:
        self._driver = driver
        self._hooks = hooks
        self._options = options
        self._ids = map(f"{secrets.token_hex(8)}-{{}}".format, itertools.count(1))
        self.identifies: bool = options.retry_attempts > 0 and Capability.DEDUPLICATION in driver.capabilities
        """Whether a message without an id gets one: when it may be sent more than once and the broker goes by ids."""
        self._closing = asyncio.Event()
        self._under_way = 0
        self._idle = asyncio.Event()
        self.observed: bool = options.on_publish is not None or hooks.published is not None
        """Whether anybody listens, so that outcomes are to be reported."""
        self.follows_up: bool = self.observed or options.retry_attempts > 0
        """Whether there is more to do than one :meth:`attempt`."""

    def new_message_id(self) -> str | None:
        """An id for a message without one, when the sender :attr:`identifies`."""
        return next(self._ids) if self.identifies else None

    async def close(self) -> None:
        """Start no further attempt, and return when those under way have ended."""
        self._closing.set()
        while self._under_way:
            self._idle.clear()
            await self._idle.wait()

    async def send_one(self, message: OutgoingMessage, started: float) -> Outcome:
        """Send *message* until it is stored or has failed for good; return which.

        :param started: the reading of ``time.perf_counter`` when the publish began.
        """
        ended: list[Ending] = []
        await self.send((message,), started, ended.extend)
        return ended[0][1]

    async def send(
        self, messages: Sequence[OutgoingMessage], started: float, done: Callable[[Sequence[Ending]], None]
    ) -> None:
        """Send *messages*; call *done* with final outcomes as soon as they are known, each once."""
        left = dict(enumerate(messages))
        self._under_way += 1

        def finish(ended: Sequence[Ending]) -> None:
            done(ended)
            for index, outcome in ended:
                message = left.pop(index)
                if self.observed:
                    self.report(message, outcome if isinstance(outcome, PubSubError) else None, started)

        try:
            for attempt in itertools.count(1):
                ended, retried = self._sort(left, await self.attempt(tuple(left.values())), attempt)
                finish(ended)
                if not retried:
                    return
                if not await self._pause(messages, retried, attempt):
                    finish(tuple(retried.items()))
                    return
        except BaseException as error:
            for message in left.values():
                self.report(message, error, started)
            raise
        finally:
            self._end()

    def _sort(
        self, left: Iterable[int], outcomes: Sequence[Outcome], attempt: int
    ) -> tuple[Sequence[Ending], dict[int, TransientError]]:
        """Tell the outcomes that are final from the failures to try again."""
        pairs = tuple(zip(left, outcomes, strict=True))
        if attempt > self._options.retry_attempts:
            return pairs, {}
        retried = {index: outcome for index, outcome in pairs if isinstance(outcome, TransientError)}
        return tuple(pair for pair in pairs if pair[0] not in retried), retried

    def report(self, message: OutgoingMessage, error: BaseException | None, started: float) -> None:
        """Tell ``on_publish`` and the hook how a publish ended."""
        latency = time.perf_counter() - started
        if self._options.on_publish is not None:
            try:
                self._options.on_publish(message.subject, error, latency)
            except Exception:
                fields = outgoing_fields(self._options.stream_name, message)
                logger.exception("on_publish failed for subject %s", message.subject, extra=fields)
        if self._hooks.published is not None:
            self._hooks.published(
                stream=self._options.stream_name,
                subject=message.subject,
                size=len(message.data),
                message_id=message.message_id,
                headers=dict(message.headers or {}),
                error=error,
                latency=latency,
            )

    def _end(self) -> None:
        self._under_way -= 1
        if self._closing.is_set():
            self._idle.set()

    async def attempt(self, messages: Sequence[OutgoingMessage], sent: Confirmation | None = None) -> Sequence[Outcome]:
        """Send *messages* once, unless they were *sent* already, and return their outcomes, which nobody is told."""
        self._under_way += 1
        try:
            outcomes = await (self._driver.send(messages, self._options.timeout) if sent is None else sent)
            if len(outcomes) != len(messages):
                outcomes = [_broken(f"gave {len(outcomes)} outcomes for {len(messages)} messages")] * len(messages)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            outcomes = [_broken("was cancelled, though nobody cancelled the publish")] * len(messages)
        except Exception as error:  # noqa: BLE001 - translated, never swallowed
            outcomes = [error] * len(messages)
        finally:
            self._end()
        for outcome in outcomes:
            if outcome.__class__ is not PublishReceipt:
                return [self._outcome(*pair) for pair in zip(messages, outcomes, strict=True)]
        return outcomes  # type: ignore[return-value]

    def _outcome(self, message: OutgoingMessage, outcome: PublishReceipt | Exception) -> Outcome:
        if isinstance(outcome, PublishReceipt):
            return outcome
        return portable(outcome, self._driver, f"publish to {message.subject!r}")

    async def _pause(
        self, messages: Sequence[OutgoingMessage], failed: Mapping[int, TransientError], attempt: int
    ) -> bool:
        """Announce and wait for the next attempt; False when the publisher is closing and there is to be none."""
        if self._closing.is_set():
            return False
        delay = self._options.retry_backoff.delay(attempt)
        for index, error in failed.items():
            self._announce(messages[index], error, attempt, delay)
        waits = [asyncio.ensure_future(self._options.retry_backoff.sleep(delay))]
        waits.append(asyncio.ensure_future(self._closing.wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if waits[0].done():
                waits[0].result()
        finally:
            for wait in waits:
                wait.cancel()
        return not self._closing.is_set()

    def _announce(self, message: OutgoingMessage, error: TransientError, attempt: int, delay: float) -> None:
        fields = outgoing_fields(self._options.stream_name, message)
        text = "publish to %s failed (attempt %d), again in %.3f s: %s"
        log_about(logger, logging.DEBUG, fields, text, message.subject, attempt, delay, error)
        if self._hooks.retrying is not None:
            stream, subject = self._options.stream_name, message.subject
            self._hooks.retrying(stream=stream, subject=subject, error=error, attempt=attempt, delay=delay)


def _broken(how: str) -> PubSubError:
    return PubSubError(f"the driver {how}; they may have been stored")
