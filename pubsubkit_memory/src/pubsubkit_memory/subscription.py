"""One member of a consumer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit.driver import DriverSubscription, Settlement, Verdict
from pubsubkit.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit.driver import Delivery
    from pubsubkit_memory.consumer import Consumer
    from pubsubkit_memory.delivery import MemoryDelivery

__all__ = ["MemorySubscription"]

_TURNS = 128
"""How many messages are taken before others get a turn of the event loop."""
_GIVE_BACK = Settlement(Verdict.NAK)


class MemorySubscription(DriverSubscription):
    """Takes messages straight from the broker, one for each call: there is no buffer."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._closed = False
        self._turns = 0
        self._blocked: set[asyncio.Future[None]] = set()

    @property
    def consuming(self) -> bool:
        """Neither closed nor deleted."""
        return not self._closed and not self._consumer.deleted

    def receive_now(self) -> MemoryDelivery | None:
        """Take the next message, unless others are to get a turn first."""
        self._turns += 1
        if self._closed or self._turns >= _TURNS or self._consumer.waiters.woken:
            return None
        return self._consumer.take()

    async def receive(self) -> MemoryDelivery | None:
        """Take the next message or wait for one; between taking and returning it nothing can be cancelled."""
        self._turns += 1
        if self._turns >= _TURNS:
            self._turns = 0
            await asyncio.sleep(0)
        delivery = None if self._closed else self._consumer.take_unclaimed()
        waited = False
        while delivery is None and not self._closed:
            if self._consumer.deleted:
                raise NotFoundError(f"consumer {self._consumer.spec.stream}/{self._consumer.spec.name} was deleted")
            delivery = await self._wait(first=waited)
            waited = True
        return delivery

    async def aclose(self, held: Sequence[Delivery]) -> None:
        """End :meth:`receive` and give *held* back."""
        self._closed = True
        for delivery in held:
            await delivery.settle(_GIVE_BACK)
        for waiter in self._blocked:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait(self, *, first: bool) -> MemoryDelivery | None:
        """Wait for a turn and use it; who is cancelled, closed or woken in vain passes it on."""
        waiters = self._consumer.waiters
        waiter = waiters.join(first=first)
        self._blocked.add(waiter)
        delivery = None
        try:
            await waiter
            if not self._closed:
                delivery = self._consumer.take()
        finally:
            self._blocked.discard(waiter)
            waiters.leave(waiter)
            if delivery is None:
                self._consumer.wake()
        return delivery
