"""One delivery of a JetStream message."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from pubsubkit.driver import Delivery, MessageMetadata, Settlement, Verdict
from pubsubkit.errors import TransientError
from pubsubkit_nats.codec import header_text, nanoseconds, timestamp
from pubsubkit_nats.direct import join_flush
from pubsubkit_nats.versions import takes_reasons

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pubsubkit_nats.frames import Headers
    from pubsubkit_nats.link import Link

__all__ = ["NatsDelivery"]

_ACK = b"+ACK"
_NAK = b"-NAK"
_STORED_NAK = b'-NAK {"delay": 1}'
_LAST = "max_deliver reached"
_IN_PROGRESS = b"+WPI"
_NO_SEQUENCE = 2**62
_MESSAGE_ID = "Nats-Msg-Id"
_RESERVED = "nats-"


class NatsDelivery(Delivery):
    """A message of a pull; its reply subject ``$JS.ACK.…`` carries the metadata (ADR-15) and takes the verdict."""

    __slots__ = ("_fields", "_headers", "_link", "_max_deliver", "_reply", "data", "lease", "subject", "waiting")

    def __init__(
        self, subject: str, reply: str, data: bytes, headers: Headers, link: Link, max_deliver: int | None
    ) -> None:
        self.subject: str = subject
        self.data: bytes = data
        self.lease: float = 0.0
        """When the lease of ``ack_wait`` was last known to begin, by the loop's clock."""
        self.waiting: bool = True
        """Whether it is still in the buffer."""
        self._reply = reply
        self._headers = headers
        self._link = link
        self._max_deliver = max_deliver
        fields = reply.split(".")
        # With a domain and account two more tokens stand before the stream.
        self._fields = fields[2:] if len(fields) == 9 else fields[4:]
        """``stream, consumer, delivered, stream seq, consumer seq, time in ns, pending, …``."""

    @property
    def key(self) -> object:
        """The stream sequence, as text."""
        return self._fields[3]

    @property
    def headers(self) -> Mapping[str, str]:
        """The publisher's headers: those whose names the broker does not reserve."""
        return {
            name: header_text(value)
            for name, value in (self._headers or {}).items()
            if not name.lower().startswith(_RESERVED)
        }

    @property
    def num_delivered(self) -> int:
        """How often the message was delivered by its consumer, this time included."""
        return int(self._fields[2])

    @property
    def metadata(self) -> MessageMetadata:
        """Read from the reply subject."""
        stream, consumer, delivered, sequence, _, nanos, *_ = self._fields
        message_id = (self._headers or {}).get(_MESSAGE_ID)
        return MessageMetadata(
            num_delivered=int(delivered),
            timestamp=timestamp(int(nanos)),
            subject=self.subject,
            stream=stream,
            consumer=consumer,
            sequence=int(sequence),
            message_id=None if message_id is None else header_text(message_id),
        )

    async def settle(self, settlement: Settlement) -> None:
        """Send the verdict; with ``confirm`` wait until the consumer's leader has recorded it."""
        if settlement.confirm:
            await self._link.request(self._reply, _ACK)
        else:
            await self._send(self._frame(settlement))

    def settle_now(self, settlement: Settlement) -> bool:
        """Send the verdict with what is about to be sent anyway."""
        return not settlement.confirm and join_flush(self._link.client, self._reply, self._frame(settlement))

    async def give_back(self, *, seen: bool) -> None:
        """Return a message without a verdict; one that no handler has *seen* is never the worse for it.

        A nak with a delay is written to the consumer's state, and so outlives a restart of the server, but takes
        some milliseconds, in which new messages would overtake; a plain one works at once but is only in the server's
        memory.  Together they do both, and count as one delivery.
        """
        if seen and self._is_last():
            await self._send(self._term(_LAST))
        else:
            await self._send(_STORED_NAK)
            await self._send(_NAK)

    async def wait_for_verdicts(self) -> None:
        """Return when the consumer's leader has dealt with every verdict that this connection has sent it.

        It deals with them one after the other, so it answers a question behind them; the question is about a message
        that no stream has, so that it disturbs nobody.
        """
        fields = self._reply.split(".")
        fields[5 if len(fields) == 9 else 7] = str(_NO_SEQUENCE)
        await self._link.request(".".join(fields), _IN_PROGRESS)

    def _is_last(self) -> bool:
        """Whether ``max_deliver`` is used up; the consumer's own limit may have been raised for unseen messages."""
        return self._max_deliver is not None and self.num_delivered >= self._max_deliver

    async def _send(self, frame: bytes) -> None:
        link = self._link
        if join_flush(link.client, self._reply, frame):
            return
        if not link.congested:
            await link.client.publish(self._reply, frame)
            return
        seconds = link.options.request_timeout
        try:
            async with asyncio.timeout(seconds):
                await link.wait_ready()
                await link.client.publish(self._reply, frame)
        except TimeoutError as error:
            raise TransientError(f"no connection, or no room in it, for {seconds:g} s") from error

    def _frame(self, settlement: Settlement) -> bytes:
        if settlement.verdict is Verdict.ACK:
            return _ACK
        if settlement.verdict is Verdict.NAK:
            if self._is_last():
                return self._term(_LAST)
            if not settlement.delay:
                return _NAK
            return _NAK + b" " + json.dumps({"delay": nanoseconds(settlement.delay)}).encode()
        if settlement.verdict is Verdict.TERM:
            return self._term(settlement.reason)
        return _IN_PROGRESS

    def _term(self, reason: str) -> bytes:
        return f"+TERM {reason}".encode() if reason and takes_reasons(self._link.server_version) else b"+TERM"
