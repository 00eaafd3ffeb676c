"""One delivery of a stored message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pubsubkit.driver import Delivery, MessageMetadata, Verdict

if TYPE_CHECKING:
    from pubsubkit.driver import ConsumerSpec, Settlement
    from pubsubkit_memory.log import StoredMessage

__all__ = ["MemoryDelivery"]

_NAK = Verdict.NAK
_IN_PROGRESS = Verdict.IN_PROGRESS


class Owner(Protocol):
    """What a delivery needs of its consumer."""

    spec: ConsumerSpec

    def finish(self, sequence: int) -> None:
        """Never deliver it again."""

    def give_back(self, delivery: MemoryDelivery, delay: float) -> None:
        """Deliver it again after *delay* seconds."""

    def extend(self, delivery: MemoryDelivery) -> None:
        """Begin ``ack_wait`` anew."""


class MemoryDelivery(Delivery):
    """A message that was leased to a member of a consumer.

    A handle whose message was delivered again since is stale: its ack and term still settle the message, its nak and
    in_progress do nothing, as the newer delivery decides.
    """

    __slots__ = ("_owner", "data", "key", "leased_at", "message", "num_delivered", "subject")

    def __init__(self, message: StoredMessage, owner: Owner, num_delivered: int) -> None:
        self.subject: str = message.subject
        self.data: bytes = message.data
        self.key: int = message.sequence  # pyright: ignore[reportIncompatibleMethodOverride] - read at every verdict
        """The sequence number."""
        self.message: StoredMessage = message
        """The message itself, which the deliveries of all consumers share."""
        self.num_delivered: int = num_delivered
        self.leased_at: float = 0.0
        """When ``ack_wait`` began, by the broker's clock."""
        self._owner = owner

    @property
    def headers(self) -> dict[str, str]:
        """A copy, so that what a handler does to it stays with the handler."""
        return dict(self.message.headers or {})

    @property
    def metadata(self) -> MessageMetadata:
        """What the broker says of this delivery."""
        message, spec = self.message, self._owner.spec
        return MessageMetadata(
            num_delivered=self.num_delivered,
            timestamp=message.timestamp,
            subject=message.subject,
            stream=spec.stream,
            consumer=spec.name,
            sequence=message.sequence,
            message_id=message.message_id,
        )

    async def settle(self, settlement: Settlement) -> None:
        """Record the verdict; this never waits, so that every ack is a confirmed one."""
        verdict = settlement.verdict
        if verdict is _NAK:
            self._owner.give_back(self, settlement.delay)
        elif verdict is _IN_PROGRESS:
            self._owner.extend(self)
        else:
            self._owner.finish(self.message.sequence)
