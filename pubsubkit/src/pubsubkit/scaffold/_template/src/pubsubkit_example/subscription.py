"""Deliveries, and one member of a consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pubsubkit.driver import Delivery, DriverSubscription, MessageMetadata, Settlement, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ExampleDelivery", "ExampleSubscription"]


class ExampleDelivery(Delivery):
    """One delivery of one message.

    :param subject: the full subject.
    :param data: the payload.
    """

    __slots__ = ("data", "subject")

    def __init__(self, subject: str, data: bytes) -> None:
        self.subject: str = subject
        self.data: bytes = data

    @property
    def key(self) -> object:
        """The same for all deliveries of one message, such as its sequence number."""
        raise NotImplementedError("ExampleDelivery.key is to be written")

    @property
    def headers(self) -> Mapping[str, str]:
        """The publisher's headers only."""
        raise NotImplementedError("ExampleDelivery.headers is to be written")

    @property
    def metadata(self) -> MessageMetadata:
        """What the broker says of this delivery."""
        raise NotImplementedError("ExampleDelivery.metadata is to be written")

    async def settle(self, settlement: Settlement) -> None:
        """Tell the broker; with ``settlement.confirm`` return when it has recorded it."""
        match settlement.verdict:
            case Verdict.ACK:
                raise NotImplementedError("ExampleDelivery.settle: ack is to be written")
            case Verdict.NAK:
                raise NotImplementedError("ExampleDelivery.settle: nak, after settlement.delay seconds")
            case Verdict.TERM:
                raise NotImplementedError("ExampleDelivery.settle: term is to be written")
            case Verdict.IN_PROGRESS:
                raise NotImplementedError("ExampleDelivery.settle: in progress begins ack_wait anew")


class ExampleSubscription(DriverSubscription):
    """One member of a consumer."""

    async def receive(self) -> ExampleDelivery | None:
        """Wait for the next delivery; None once :meth:`aclose` has begun.  Cancelling it loses nothing."""
        raise NotImplementedError("ExampleSubscription.receive is to be written")

    async def aclose(self, held: Sequence[Delivery]) -> None:
        """End :meth:`receive`; give back *held*, then what is in the buffer, and let all verdicts reach the broker."""
        raise NotImplementedError("ExampleSubscription.aclose is to be written")

    @property
    def consuming(self) -> bool:
        """Whether the broker is serving this member, as far as this side can tell."""
        raise NotImplementedError("ExampleSubscription.consuming is to be written")
