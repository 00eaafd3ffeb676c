"""Dead letters: a message that nobody could handle is moved to a stream of its own, where it can be looked at.

The limit is kept here and not by the broker, whose consumer has none.  A broker that has reached its limit delivers the
message no more, so that nobody could move it: also not a margin later, when moving has failed that often.
A message is moved in the order store, have it confirmed, terminate the original.  Whatever fails in between, it
comes again and is moved again, under the same message id, which a broker that de-duplicates stores once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pubsubkit.driver import Capability, OutgoingMessage, Settlement, Verdict
from pubsubkit.errors import ConflictError, PubSubError
from pubsubkit.logs import delivery_fields, log_about
from pubsubkit.options import PublisherOptions, StreamOptions
from pubsubkit.payload import message_size
from pubsubkit.provision import ensure_stream
from pubsubkit.redaction import redact
from pubsubkit.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pubsubkit.connection import Connection
    from pubsubkit.driver import Delivery, Driver
    from pubsubkit.ledger import Ledger
    from pubsubkit.options import ConsumerOptions

__all__ = ["NEEDED", "PREFIX", "DeadLetters", "ensure_dead_letters"]

logger: logging.Logger = logging.getLogger("pubsubkit.consumer")

NEEDED = (Capability.TERM, Capability.HEADERS, Capability.DELIVERY_COUNT)
"""What a backend must have for dead letters."""
PREFIX = "Pubsubkit-Dead-Letter-"
"""Begins the name of every header that says where a dead letter came from."""

_AGAIN_SECONDS = 5.0
_REASON_CHARACTERS = 1000
_WINDOW_SECONDS = 120.0
_EXHAUSTED = "max_deliver reached"
_NAK = Settlement(Verdict.NAK)


class DeadLetters:
    """Moves the messages of one subscription."""

    def __init__(self, connection: Connection, options: ConsumerOptions) -> None:
        self._driver = connection.driver
        self._stream = options.dead_letter
        self._most = options.max_deliver or 0
        self._sender = Sender(connection.driver, connection.hooks, PublisherOptions(stream_name=options.dead_letter))
        self._moving: set[asyncio.Future[None]] = set()

    async def takes(self, delivery: Delivery, ledger: Ledger) -> bool:
        """Move a delivery beyond the limit instead of handing it out; whether it was one.

        Cancelling it leaves the move to end by itself.
        """
        if delivery.metadata.num_delivered <= self._most:
            return False
        ledger.under_way += 1
        move = asyncio.ensure_future(self._take(delivery, ledger))
        self._moving.add(move)
        move.add_done_callback(self._moving.discard)
        await asyncio.wait([move])
        return True

    async def settle(self, delivery: Delivery, settlement: Settlement) -> None:
        """Tell the broker a verdict; before the last one on a message that was not handled, move the message.

        A nak of the last permitted delivery whose move fails is a nak with a delay; a term raises and has no effect.
        """
        verdict, count = settlement.verdict, delivery.metadata.num_delivered
        if verdict is not Verdict.TERM and (verdict is not Verdict.NAK or count < self._most):
            await delivery.settle(settlement)
            return
        reason = _clean(_why(settlement))
        outcome = await self._sender.send_one(self._copy(delivery, reason, settlement.error), time.perf_counter())
        if not isinstance(outcome, PubSubError):
            await delivery.settle(Settlement(Verdict.TERM, reason=reason))
            return
        text = "%r stays in stream %s: no dead letter: %s"
        _warn(delivery, text, delivery.subject, delivery.metadata.stream, outcome)
        if verdict is Verdict.TERM:
            raise outcome
        if Capability.NAK_DELAY in self._driver.capabilities:
            await delivery.settle(Settlement(Verdict.NAK, delay=_AGAIN_SECONDS))

    async def _take(self, delivery: Delivery, ledger: Ledger) -> None:
        try:
            await self.settle(delivery, _NAK)
        except Exception as error:  # noqa: BLE001 - the message has no verdict, and comes again after its ack_wait
            text = redact(str(error)) or type(error).__name__
            _warn(delivery, "%r could not be settled: %s", delivery.subject, text)
        finally:
            ledger.end()

    def _copy(self, delivery: Delivery, reason: str, error: str) -> OutgoingMessage:
        """What is stored: all of the original, and where it came from as far as that fits beside it."""
        headers, origin = delivery.headers, self._origin(delivery, reason, error)
        most, subject = self._driver.max_payload, f"{self._stream}.{delivery.subject}"
        unique = self._message_id(delivery)
        if message_size(delivery.data, {**headers, **origin}, unique) <= most:
            return OutgoingMessage(subject, delivery.data, {**headers, **origin}, unique)
        _warn(delivery, "the dead letter %r has no room for its origin, which is %s", subject, origin)
        if message_size(delivery.data, headers, unique) > most:
            unique = None
        return OutgoingMessage(subject, delivery.data, headers or None, unique)

    def _origin(self, delivery: Delivery, reason: str, error: str) -> Mapping[str, str]:
        meta = delivery.metadata
        values = {
            "Subject": delivery.subject,
            "Stream": meta.stream,
            "Consumer": meta.consumer,
            "Sequence": str(meta.sequence),
            "Deliveries": str(min(meta.num_delivered, self._most)),
            "Reason": reason,
            "Time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        if error:
            values["Error"] = _clean(error)
        return {f"{PREFIX}{name}": value for name, value in values.items()}

    def _message_id(self, delivery: Delivery) -> str | None:
        """The same for all deliveries of a message; the time tells it from one of a stream that was made anew."""
        if Capability.DEDUPLICATION not in self._driver.capabilities:
            return None
        meta = delivery.metadata
        return f"{meta.stream}:{meta.consumer}:{meta.sequence}:{meta.timestamp.isoformat()}"


async def ensure_dead_letters(driver: Driver, options: ConsumerOptions, source: StreamOptions) -> None:
    """Make sure that the stream of dead letters exists and keeps them as safe as *source* keeps the originals.

    A new one de-duplicates for longer than a message takes to come again.

    :raises NotFoundError: it is missing and ``options.manage`` is ``none``.
    :raises ConflictError: it exists and holds other subjects or is less durable than *source*.
    """
    wanted = StreamOptions(name=options.dead_letter, storage=source.storage, replicas=source.replicas)
    if options.manage != "none" and await driver.stream_info(wanted.name) is None:
        window = max(_WINDOW_SECONDS, 2 * options.ack_wait)
        with suppress(ConflictError):  # somebody else made it at the same time, or the next line tells what is wrong
            await driver.create_stream(dataclasses.replace(wanted, duplicate_window=window))
    await ensure_stream(driver, wanted, options.manage)


def _why(settlement: Settlement) -> str:
    if settlement.verdict is Verdict.TERM:
        return settlement.reason or "terminated"
    return f"{_EXHAUSTED}: {settlement.reason}" if settlement.reason else _EXHAUSTED


def _warn(delivery: Delivery, text: str, *arguments: object) -> None:
    log_about(logger, logging.WARNING, delivery_fields(delivery), text, *arguments)


def _clean(reason: str) -> str:
    """A reason as the value of a header: no control characters, nothing that is no text, not too long."""
    text = " ".join(reason[:_REASON_CHARACTERS].split())
    return text.encode(errors="replace").decode().replace("\0", "?")
