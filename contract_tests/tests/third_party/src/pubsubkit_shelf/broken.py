"""Drivers that claim more than they keep: the contract suite must find them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pubsubkit import Capability, Verdict
from pubsubkit_shelf.driver import ShelfDelivery, ShelfDriver

if TYPE_CHECKING:
    from pubsubkit.driver import Settlement

__all__ = ["ForgetfulDriver", "LyingDriver"]


class _Untermed(ShelfDelivery):
    __slots__ = ()

    async def settle(self, settlement: Settlement) -> None:
        if settlement.verdict is not Verdict.TERM:
            await super().settle(settlement)


class LyingDriver(ShelfDriver):
    """``lying://name``: claims ``term``, which does nothing."""

    DELIVERY = _Untermed
    capabilities = ShelfDriver.capabilities | {Capability.TERM}


class _Forgotten(ShelfDelivery):
    __slots__ = ()

    async def settle(self, settlement: Settlement) -> None:
        if settlement.verdict is Verdict.NAK and self._number == 2:
            settlement = settlement._replace(verdict=Verdict.ACK)
        await super().settle(settlement)


class ForgetfulDriver(ShelfDriver):
    """``forgetful://name``: takes the second nak of a message for an ack."""

    DELIVERY = _Forgotten
