"""What becomes of a message that was not handled."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, final

from pubsubkit.errors import DecodeError
from pubsubkit.labels import type_name
from pubsubkit.logs import delivery_fields, log_about
from pubsubkit.worker.verdicts import Reject, RetryAfter

if TYPE_CHECKING:
    from pubsubkit.message import Message
    from pubsubkit.worker.policy import Policy

__all__ = ["Outcome"]

logger: logging.Logger = logging.getLogger("pubsubkit.worker")

_REASON_CHARACTERS = 1000


@final
class Outcome:
    """The verdict on a message whose handler raised *error*, by its policy."""

    def __init__(self, message: Message, policy: Policy, error: BaseException) -> None:
        self._message = message
        self._policy = policy
        self._error = error
        cause = error.__cause__ if isinstance(error, Reject) else None
        self._type = type_name(error if cause is None else cause)
        self._text = _one_line(error)
        self._rejected = isinstance(error, (Reject, *policy.retry.non_retryable)) or (
            isinstance(error, DecodeError) and policy.on_malformed == "reject"
        )

    async def settle(self) -> None:
        """Tell the broker, or move the message; raises what the verdicts of :class:`Message` do."""
        message, reason = self._message, self._text or self._type
        if self._rejected:
            await message.term(reason, error=self._type)
        elif isinstance(self._error, RetryAfter):
            await message.nak_with_delay(self._error.seconds, reason=reason, error=self._type)
        else:
            await message.nak(reason=reason, error=self._type)

    def log(self, handler: str) -> None:
        """Write one line, and for who debugs the traceback.

        The text of an error may hold what the payload holds, so only the worker's own are shown.
        """
        meta, most = self._message.metadata, self._policy.max_deliver
        known = isinstance(self._error, Reject | RetryAfter | DecodeError)
        log_about(
            logger,
            logging.WARNING,
            {**delivery_fields(self._message.delivery), "error_type": self._type},
            "handler %s: %s on %r of %s/%s, delivery %d%s: %s",
            handler,
            f"{self._type}: {self._text}" if known else self._type,
            self._message.subject,
            meta.stream,
            meta.consumer,
            meta.num_delivered,
            f" of {most}" if most else "",
            self._consequence(),
        )
        if not known:
            with suppress(Exception):  # as in log_about
                logger.debug("the error of handler %s", handler, exc_info=self._error)

    def _consequence(self) -> str:
        policy, count = self._policy, self._message.metadata.num_delivered
        if self._rejected or (policy.max_deliver and count >= policy.max_deliver):
            return f"it is moved to {policy.dead_letter}" if policy.dead_letter else "it is dropped"
        if isinstance(self._error, RetryAfter):
            return f"it comes again in {self._error.seconds:g} s"
        delays = policy.retry.backoff
        return f"it comes again in {delays[min(count, len(delays)) - 1] if delays else 0:g} s"


def _one_line(error: BaseException) -> str:
    """What an error says, as something that every broker takes for a reason."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the application's error cannot even be printed
        return ""
    return " ".join(text[:_REASON_CHARACTERS].split()).encode(errors="replace").decode()
