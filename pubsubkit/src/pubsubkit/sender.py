"""Hands batches to the driver, tries transient failures again, and reports each message's final outcome once."""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from typing import TYPE_CHECKING

from pubsubkit.driver import PublishReceipt
from pubsubkit.errors import PubSubError, TransientError
from pubsubkit.translate import portable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit.driver import Driver, OutgoingMessage
    from pubsubkit.hooks import Hooks
    from pubsubkit.options import PublisherOptions

__all__ = ["Outcome", "Sender"]

logger = logging.getLogger("pubsubkit.publisher")

Outcome = PublishReceipt | PubSubError


class Sender:
    """The sending half of one publisher."""

    def __init__(self, driver: Driver, hooks: Hooks, options: PublisherOptions) -> None:
        self._driver = driver
        self._hooks = hooks
        self._options = options
        self._ids = map(f"{secrets.token_hex(8)}-{{}}".format, itertools.count(1))
        self.observed = options.on_publish is not None or hooks.published is not None
        """Whether anybody listens, so that times need to be taken."""
        self.closing = False
        """Set to try nothing again."""

    def new_message_id(self) -> str | None:
        """An id for a message without one, when it may be sent more than once."""
        return next(self._ids) if self._options.retry_attempts else None

    async def deliver(self, messages: Sequence[OutgoingMessage], started: float) -> Sequence[Outcome]:
        """Send *messages* until each is stored or has failed for good; return their outcomes in the same order.

        :param started: the reading of ``time.perf_counter`` when the publish began.
        """
        try:
            outcomes = await self._attempt(messages)
            if self._options.retry_attempts:
                outcomes = await self._retry(messages, outcomes)
        except BaseException as error:
            for message in messages:
                self.report(message, error, started)
            raise
        if self.observed:
            for message, outcome in zip(messages, outcomes, strict=True):
                self.report(message, outcome if isinstance(outcome, PubSubError) else None, started)
        return outcomes

    def report(self, message: OutgoingMessage, error: BaseException | None, started: float) -> None:
        """Tell ``on_publish`` and the hook how a publish ended."""
        latency = time.perf_counter() - started
        if self._options.on_publish is not None:
            try:
                self._options.on_publish(message.subject, error, latency)
            except Exception:
                logger.exception("on_publish failed for subject %s", message.subject)
        if self._hooks.published is not None:
            self._hooks.published(
                stream=self._options.stream_name,
                subject=message.subject,
                size=len(message.data),
                message_id=message.message_id,
                error=error,
                latency=latency,
            )

    async def _attempt(self, messages: Sequence[OutgoingMessage]) -> Sequence[Outcome]:
        try:
            outcomes = await self._driver.send(messages, self._options.timeout)
        except Exception as error:  # noqa: BLE001 - translated, never swallowed
            outcomes = [error] * len(messages)
        for outcome in outcomes:
            if outcome.__class__ is not PublishReceipt:
                return [self._outcome(*pair) for pair in zip(messages, outcomes, strict=True)]
        return outcomes  # type: ignore[return-value]

    def _outcome(self, message: OutgoingMessage, outcome: PublishReceipt | Exception) -> Outcome:
        if isinstance(outcome, PublishReceipt):
            return outcome
        return portable(outcome, self._driver, f"publish to {message.subject!r}")

    async def _retry(self, messages: Sequence[OutgoingMessage], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        for attempt in range(1, self._options.retry_attempts + 1):
            again = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, TransientError)]
            if not again or self.closing:
                break
            delay = self._options.retry_backoff.delay(attempt)
            for index in again:
                self._announce(messages[index], outcomes[index], attempt, delay)
            await self._options.retry_backoff.sleep(delay)
            merged = list(outcomes)
            for index, outcome in zip(again, await self._attempt([messages[i] for i in again]), strict=True):
                merged[index] = outcome
            outcomes = merged
        return outcomes

    def _announce(self, message: OutgoingMessage, error: Outcome, attempt: int, delay: float) -> None:
        logger.debug("publish to %s failed (attempt %d), again in %.3f s: %s", message.subject, attempt, delay, error)
        if self._hooks.retrying is not None:
            stream, subject = self._options.stream_name, message.subject
            self._hooks.retrying(stream=stream, subject=subject, error=error, attempt=attempt, delay=delay)
