"""The members of the consumers of a history."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pubsubkit import TransientError
from pubsubkit.driver import Capability
from pubsubkit.subjects import matches
from pubsubkit_contract.model.history import MEMBERS
from pubsubkit_contract.model.record import Closed, Delivered, Settled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pubsubkit import Backend, Message, Subscription
    from pubsubkit_contract.kit import Kit
    from pubsubkit_contract.model.record import Record

__all__ = ["Membership"]

_POLL_SECONDS = 0.02
_T = TypeVar("_T")


class Membership:
    """Opens and closes members, receives and settles, and records all of it."""

    def __init__(self, kit: Kit, backend: Backend, record: Record) -> None:
        self.open: dict[str, Subscription] = {}
        """The members that are open, by name."""
        self.settled: dict[str, set[bytes]] = {consumer: set() for consumer in record.filters}
        """What each consumer has acked or terminated."""
        self._kit = kit
        self._backend = backend
        self._record = record
        self._names: dict[str, str] = {}
        self._held: dict[str, list[tuple[Message, Delivered]]] = {}
        self._opened = 0

    async def join(self, member: str) -> None:
        """Open a member, unless it is."""
        if member in self.open:
            return
        consumer = MEMBERS[member]
        options: dict[str, Any] = {"ack_wait": self._record.ack_wait, "channel_buf_size": 2}
        if self._record.filters[consumer]:
            options["filter_subject"] = self._record.filters[consumer]
        opening = self.insist(lambda: self._kit.subscription(consumer, backend=self._backend, **options))
        self.open[member] = await self._kit.within(opening, "opening a member")
        self._opened += 1
        self._names[member] = f"{member}.{self._opened}"
        self._held[member] = []

    async def leave(self, member: str) -> None:
        """Close a member with all that it holds."""
        del self._held[member]
        self._record.events.append(Closed(MEMBERS[member], self._names[member]))
        await self._kit.within(self.open.pop(member).aclose(), "closing a member")

    async def receive(self, member: str) -> Delivered | None:
        """Receive one message, if one comes soon."""
        try:
            async with asyncio.timeout(self._kit.timing.quiet / 2):
                message = await anext(self.open[member])
        except TimeoutError:
            return None
        meta = message.metadata
        place = MEMBERS[member], self._names[member], message.subject, message.data
        delivered = Delivered(*place, meta.num_delivered, meta.sequence, time.monotonic())
        self._record.events.append(delivered)
        self._held[member].append((message, delivered))
        return delivered

    async def settle(self, member: str, action: str, number: int = -1) -> bool:
        """Settle one of the messages that a member holds; False when it holds none.

        :param number: which, counted round; also the delay in hundredths of ``kit.short``.
        """
        held = self._held[member]
        if not held:
            return False
        message, delivered = held.pop(number % len(held))
        delay = self._kit.short * number / 100 if action == "nak_later" else 0.0
        actions: dict[str, Callable[[], Awaitable[bool]]] = {
            "ack": message.ack,
            "confirm": partial(message.ack, confirm=True),
            "nak": message.nak,
            "nak_later": partial(message.nak_with_delay, delay),
            "term": message.term,
        }
        sure, started = self._record.calm or action == "confirm", time.monotonic()
        try:
            if not await self._kit.within(actions[action](), action):
                return True
        except TransientError:
            assert not self._record.calm, f"{action} of {message.data!r} failed"
            sure = False
        verdict = {"confirm": "ack", "nak_later": "nak"}.get(action, action)
        self._record.events.append(Settled(delivered, verdict, started, delay, sure))
        if verdict != "nak":
            self.settled[delivered.consumer].add(message.data)
        return True

    async def ack_all(self, member: str) -> None:
        """Ack all that a member holds, confirmed where that is possible."""
        confirm = Capability.CONFIRMED_ACK in self._backend.capabilities
        while await self.settle(member, "confirm" if confirm else "ack"):
            pass

    def missing(self, consumer: str) -> set[bytes]:
        """The confirmed messages that *consumer* has not settled."""
        pattern = self._record.filters[consumer] or ">"
        confirmed = (message for message in self._record.published if message.sequence is not None)
        return {message.data for message in confirmed if matches(pattern, message.subject)} - self.settled[consumer]

    def available(self, consumer: str) -> bool:
        """Whether, as far as is known, a message is there that no member holds."""
        held = sum(len(self._held[member]) for member in self.open if MEMBERS[member] == consumer)
        return len(self.missing(consumer)) > held or not self._record.calm

    async def insist(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do *work* again while the broker is away."""
        while True:
            try:
                return await work()
            except TransientError:
                if self._record.calm:
                    raise
                await asyncio.sleep(_POLL_SECONDS)
