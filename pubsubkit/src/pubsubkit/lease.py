"""Keeps the messages that handlers hold from being delivered again."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from pubsubkit.errors import PubSubError
from pubsubkit.logs import delivery_fields, log_about

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pubsubkit.ledger import Ledger
    from pubsubkit.message import Message

__all__ = ["keep_leases"]

logger: logging.Logger = logging.getLogger("pubsubkit.consumer")

_PARTS = 5
"""Into so many parts ``ack_wait`` is cut; a lease is extended in its second part, and once more in its third if that
failed.  The last two are for a message that waited in a buffer, where a third of its ``ack_wait`` may have gone."""


async def keep_leases(ledger: Ledger, extend: Callable[[Message], Awaitable[object]], most: float) -> None:
    """Extend the leases of all messages in *ledger* before they run out, until cancelled.

    :param extend: tells the broker that a message is in progress.
    :param most: seconds after which a message's lease is no longer extended; a handler that hangs must not keep it.
    """
    part = ledger.ack_wait / _PARTS
    taken: dict[Message, float] = {}
    while True:
        await asyncio.sleep(part)
        now = time.monotonic()
        taken = {message: taken.get(message, message.leased) for message in ledger.leased()}
        for message, since in taken.items():
            if message.leased <= now - part and now - since < most:
                try:
                    await extend(message)
                except PubSubError as error:
                    fields = delivery_fields(message.delivery)
                    text = "the lease of %r was not extended: %s"
                    log_about(logger, logging.INFO, fields, text, message.subject, error)
