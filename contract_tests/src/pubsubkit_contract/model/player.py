"""Plays a history on a backend, reads everything at its end, and keeps a record."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from pubsubkit.driver import Capability
from pubsubkit_contract.model.history import CONSUMERS, MEMBERS, PUBLISHERS, members
from pubsubkit_contract.model.membership import Membership
from pubsubkit_contract.model.producers import Producers
from pubsubkit_contract.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pubsubkit import Backend
    from pubsubkit_contract.kit import Kit
    from pubsubkit_contract.model.history import Step

__all__ = ["Player"]

_EVERYBODY = "b.x"
"""The end of a subject that every filter selects."""
_ACK_WAIT = 6
"""The ``ack_wait`` of all consumers, in units of ``kit.short``."""


class Player:
    """The publishers and members of one history.

    :param backend: the connection that they use.
    :param disturb: what a step ``disturb`` does; None for a history without any.
    """

    def __init__(self, kit: Kit, backend: Backend, disturb: Callable[[], Awaitable[None]] | None = None) -> None:
        able = backend.capabilities
        consumers = dict.fromkeys(MEMBERS[member] for member in members(able))
        self.record: Record = Record(
            ack_wait=kit.short * _ACK_WAIT,
            counts=Capability.DELIVERY_COUNT in able,
            ordered=Capability.ORDERING in able,
            unique=disturb is None or Capability.DEDUPLICATION in able,
            calm=disturb is None,
            filters={name: CONSUMERS[name] and kit.subject(CONSUMERS[name]) for name in consumers},
        )
        self._kit = kit
        self._disturb = disturb
        self._producers = Producers(kit, backend, self.record)
        self._members = Membership(kit, backend, self.record)

    async def open(self) -> None:
        """Create the stream; call it first."""
        await self._producers.open()

    async def play(self, step: Step) -> None:
        """Do one step, or skip it where it cannot be done."""
        if step.action in ("publish", "publish_many"):
            await self._producers.publish(step.actor, step.tail, step.number if step.action == "publish_many" else 1)
        elif step.action == "disturb" and self._disturb:
            await self._disturb()
        elif step.action == "wait":
            await asyncio.sleep(self.record.ack_wait * 1.1)
        elif step.action == "open":
            await self._members.join(step.actor)
        elif step.actor in self._members.open:
            await self._act(step)

    async def drain(self) -> None:
        """Read and ack all that is left, then see what comes back until ``ack_wait`` has provably run out."""
        for consumer in self.record.filters:
            await self._leave_one(consumer)
        await self._read_out()
        self.record.read_at = len(self.record.events)
        await self._producers.publish(PUBLISHERS[0], _EVERYBODY, 1)
        canary = self.record.published[-1].data
        await asyncio.gather(*(self._see_twice(member, canary) for member in self._members.open))
        await self._read_out()
        info = await self._members.insist(partial(self._kit.backend.stream_info, self._kit.stream))
        self.record.stored = info.messages

    async def _act(self, step: Step) -> None:
        if step.action == "close":
            await self._members.leave(step.actor)
        elif step.action != "receive":
            await self._members.settle(step.actor, step.action, step.number)
        elif self._members.available(MEMBERS[step.actor]):
            await self._members.receive(step.actor)

    async def _leave_one(self, consumer: str) -> None:
        """Leave one member of *consumer* open, one that was there before if possible: it must not be stuck."""
        there = [member for member in self._members.open if MEMBERS[member] == consumer]
        for member in there[1:]:
            await self._members.leave(member)
        if not there:
            await self._members.join(f"{consumer}0")

    async def _read_out(self) -> None:
        """Read and ack until every consumer has settled everything, or nothing comes for the cap."""
        deadline = time.monotonic() + self._kit.cap
        while time.monotonic() < deadline:
            came = [await self._members.receive(member) for member in self._members.open]
            for member in self._members.open:
                await self._members.ack_all(member)
            if any(came):
                deadline = time.monotonic() + self._kit.cap
            elif await self._finished():
                return

    async def _see_twice(self, member: str, canary: bytes) -> None:
        """Let the canary come twice: in between ``ack_wait`` runs out."""
        seen, deadline = 0, time.monotonic() + self._kit.cap
        while seen < 2 and time.monotonic() < deadline:
            delivered = await self._members.receive(member)
            seen += delivered is not None and delivered.data == canary
        assert seen == 2, f"{member} got the canary {seen} times, without a verdict"

    async def _finished(self) -> bool:
        for consumer in self.record.filters:
            asking = partial(self._kit.backend.consumer_info, self._kit.stream, consumer)
            info = await self._members.insist(asking)
            self.record.left[consumer] = info.num_pending, info.num_ack_pending
        settled = not any(self._members.missing(consumer) for consumer in self.record.filters)
        return settled and all(left == (0, 0) for left in self.record.left.values())
