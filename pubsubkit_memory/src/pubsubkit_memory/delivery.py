"""One delivery of a stored message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pubsubkit.driver import Delivery, MessageMetadata, Verdict
from pubsubkit_memory.log import moment

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

    __slots__ = (
        "_message",
        "_owner",
        "data",
        "key",
        "leased_at",
        "num_delivered",
        "subject",
    )

    subject: str
    data: bytes

    def __init__(self, message: StoredMessage, owner: Owner, num_delivered: int, leased_at: float) -> None:
        self.subject, self.data, _, _, sequence, _, _ = self._message = message
        self.key: int = sequence  # pyright: ignore[reportIncompatibleMethodOverride] - read at every verdict
        """The sequence number."""
        self.num_delivered: int = num_delivered
        self.leased_at: float = leased_at
        """When ``ack_wait`` began, by the broker's clock."""
        self._owner = owner

    @property
    def headers(self) -> dict[str, str]:
        """A copy, so that what a handler does to it stays with the handler."""
        _, _, headers, *_ = self._message
        return dict(headers or {})

    @property
    def metadata(self) -> MessageMetadata:
        """What the broker says of this delivery."""
        spec = self._owner.spec
        _, _, _, message_id, _, _, stored_ns = self._message
        return MessageMetadata(
            num_delivered=self.num_delivered,
            timestamp=moment(stored_ns),
            subject=self.subject,
            stream=spec.stream,
            consumer=spec.name,
            sequence=self.key,
            message_id=message_id,
        )

    async def settle(self, settlement: Settlement) -> None:
        """Record the verdict; this never waits, so that every ack is a confirmed one."""
        self._record(settlement)

    def _record(self, settlement: Settlement) -> bool:
        verdict = settlement.verdict
        if verdict is _NAK:
            self._owner.give_back(self, settlement.delay)
        elif verdict is _IN_PROGRESS:
            self._owner.extend(self)
        else:
            self._owner.finish(self.key)
        return True

    settle_now = _record
