"""A received message and its settlement."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Protocol, final

from pubsubkit.cloudevents import from_message
from pubsubkit.driver import Capability, MessageMetadata, Settlement, Verdict
from pubsubkit.options import check_wait

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloudevents.core.v1.event import CloudEvent

    from pubsubkit.driver import Delivery
    from pubsubkit.options import ConsumerOptions

__all__ = ["Message"]

_ACK = Settlement(Verdict.ACK)
_CONFIRMED_ACK = Settlement(Verdict.ACK, confirm=True)
IN_PROGRESS: Settlement = Settlement(Verdict.IN_PROGRESS)


class Settler(Protocol):
    """What a message needs of the subscription that received it."""

    @property
    def options(self) -> ConsumerOptions:
        """The consumer's options."""
        ...

    def require(self, capability: Capability) -> None:
        """Raise :class:`UnsupportedError` when the backend does not have *capability*."""

    async def settle(self, message: Message, settlement: Settlement) -> bool:
        """Hand a verdict to the broker; False, and nothing done, when the message is settled."""
        ...


@final
class Message:
    """One delivery of a message.

    Give one verdict per message: :meth:`ack`, :meth:`nak`, :meth:`nak_with_delay` or :meth:`term`.  The first verdict
    wins and returns True; later ones do nothing and return False.  A verdict on a message that the subscription has
    given back (it was closed) also returns False.

    All verdicts raise :class:`UnsupportedError` when the backend does not have the verdict, and
    :class:`TransientError` when it could not be handed to the broker: the message is then without a verdict again.
    A verdict that is cancelled may or may not have reached the broker; it can be given again.
    """

    __slots__ = ("_subscription", "data", "delivery", "leased", "settled", "subject")

    data: bytes
    """The payload."""
    subject: str
    """The full subject, prefix included."""
    settled: bool
    """Whether a verdict was given, or the message was given back; for reading."""

    def __init__(self, delivery: Delivery, subscription: Settler) -> None:
        self.data = delivery.data
        self.subject = delivery.subject
        self.delivery: Delivery = delivery
        self._subscription = subscription
        self.leased: float = monotonic()
        self.settled = False

    def __repr__(self) -> str:
        meta = self.metadata
        place = f"stream={meta.stream!r} sequence={meta.sequence} num_delivered={meta.num_delivered}"
        return f"<Message {self.subject!r} {len(self.data)} bytes {place}>"

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that the publisher set, exactly as they were; empty when there are none."""
        return self.delivery.headers

    @property
    def metadata(self) -> MessageMetadata:
        """Number of deliveries, time, stream, consumer and sequence of this delivery."""
        return self.delivery.metadata

    def event(self) -> CloudEvent:
        """Return the CloudEvent that the message carries, in either mode.

        Its data are bytes as they were sent, never decoded, and extensions are text; see :mod:`pubsubkit.cloudevents`.

        :raises MalformedEventError: the message is no valid CloudEvent 1.0; it is still without a verdict.
        :raises ConfigurationError: the SDK is not installed.
        """
        return from_message(self)

    async def ack(self, *, confirm: bool = False) -> bool:
        """The message was processed: do not deliver it again.

        :param confirm: return only when the broker has recorded it.  Without it the ack is on its way when this
            returns, and closing the subscription waits for it; a crash before may deliver the message again.
        """
        if confirm:
            self._subscription.require(Capability.CONFIRMED_ACK)
        return await self._subscription.settle(self, _CONFIRMED_ACK if confirm else _ACK)

    async def nak(self, *, reason: str = "", error: str = "") -> bool:
        """The message was not processed: deliver it again, at once or after the consumer's ``backoff``.

        With ``dead_letter``, a nak of the last delivery that ``max_deliver`` permits moves the message at once.  When
        that fails it comes again after some seconds, to be moved then.

        :param reason: one line that a dead letter tells.
        :param error: the type of the error behind it, which a dead letter tells.
        """
        delays = self._subscription.options.backoff
        seconds = delays[min(self.metadata.num_delivered, len(delays)) - 1] if delays else 0.0
        return await self.nak_with_delay(seconds, reason=reason, error=error)

    async def nak_with_delay(self, seconds: float, *, reason: str = "", error: str = "") -> bool:
        """The message was not processed: deliver it again after *seconds*; 0 is at once.

        :param reason: as for :meth:`nak`.
        :param error: as for :meth:`nak`.
        :raises InvalidArgumentError: *seconds* is no number from 0 to 1e9.
        """
        check_wait("delay", seconds)
        self._subscription.require(Capability.NAK_DELAY if seconds else Capability.NAK)
        return await self._subscription.settle(
            self, Settlement(Verdict.NAK, delay=seconds, reason=_one_line(reason), error=error)
        )

    async def term(self, reason: str = "", *, error: str = "") -> bool:
        """The message can never be processed: do not deliver it again; with ``dead_letter``, move it there.

        :param reason: one line that operators see where the broker reports it, and in the dead letter.
        :param error: the type of the error behind it, which a dead letter tells.
        :raises PubSubError: the dead letter could not be stored; the message is without a verdict.
        """
        self._subscription.require(Capability.TERM)
        return await self._subscription.settle(self, Settlement(Verdict.TERM, reason=_one_line(reason), error=error))

    async def in_progress(self) -> bool:
        """The message is still being processed: ``ack_wait`` begins anew.  False when it is settled already."""
        self._subscription.require(Capability.IN_PROGRESS)
        return await self._subscription.settle(self, IN_PROGRESS)

    def seal(self) -> None:
        """Let later verdicts do nothing: the subscription gives the message back."""
        self.settled = True


def _one_line(text: str) -> str:
    return " ".join(text.split())
