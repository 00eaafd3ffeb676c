"""Plays a history on a backend, drains the consumers at its end, and keeps a record."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pubsubkit import Backoff, PublishBatchError, PublishReceipt, Storage, TransientError
from pubsubkit.driver import Capability
from pubsubkit.subjects import matches
from pubsubkit_contract.model.history import CONSUMERS, MEMBERS, PUBLISHERS, members
from pubsubkit_contract.model.record import Closed, Delivered, Published, Record, Settled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pubsubkit import Backend, Message, Publisher, PubSubError, Subscription
    from pubsubkit_contract.kit import Kit
    from pubsubkit_contract.model.history import Step

__all__ = ["Player"]

_QUICK = Backoff(initial=0.02, maximum=0.1)
_EVERYBODY = "b.x"
"""The end of a subject that every filter selects."""
_POLL_SECONDS = 0.02
_T = TypeVar("_T")


class Player:
    """The publishers and members of one history.

    :param backend: the connection that they use.
    :param disturb: what a step ``disturb`` does; None for a history without any.
    """

    def __init__(self, kit: Kit, backend: Backend, disturb: Callable[[], Awaitable[None]] | None = None) -> None:
        able = backend.capabilities
        self._kit = kit
        self._backend = backend
        self._disturb = disturb
        self._named = Capability.DEDUPLICATION in able
        self._publishers: dict[str, Publisher] = {}
        self._sent = dict.fromkeys(PUBLISHERS, 0)
        self._open: dict[str, tuple[str, Subscription]] = {}
        self._held: dict[str, list[tuple[Message, Delivered]]] = {}
        self._opened = 0
        self._consumers = dict.fromkeys(MEMBERS[member] for member in members(able))
        self._settled: dict[str, set[bytes]] = {name: set() for name in self._consumers}
        self._observer = kit.backend
        self.record = Record(
            ack_wait=kit.short * 6,
            counts=Capability.DELIVERY_COUNT in able,
            ordered=Capability.ORDERING in able,
            unique=disturb is None or self._named,
            calm=disturb is None,
            filters={name: CONSUMERS[name] and kit.subject(CONSUMERS[name]) for name in self._consumers},
        )

    async def open(self) -> None:
        """Open the publishers, which create the stream, and make the consumers, so that both know what to expect."""
        again: dict[str, Any] = {"retry_attempts": 200, "retry_backoff": _QUICK} if self._named else {}
        for name in PUBLISHERS:
            self._publishers[name] = await self._kit.publisher(self._backend, storage=Storage.FILE, **again)

    async def play(self, step: Step) -> None:
        """Do one step, or skip it where it cannot be done."""
        if step.action in ("publish", "publish_many"):
            await self._publish(step.actor, step.tail, step.number if step.action == "publish_many" else 1)
        elif step.action == "disturb" and self._disturb:
            await self._disturb()
        elif step.action == "wait":
            await asyncio.sleep(self.record.ack_wait * 1.1)
        elif step.action == "open":
            await self._join(step.actor)
        elif step.actor in self._open:
            await self._act(step)

    async def drain(self) -> None:
        """Read and ack all that is left, then see what comes back until ``ack_wait`` has provably run out."""
        for consumer in self._consumers:
            await self._leave_one(consumer)
        await self._read_out()
        self.record.read_at = len(self.record.events)
        await self._publish(PUBLISHERS[0], _EVERYBODY, 1)
        canary = self.record.published[-1].data
        await asyncio.gather(*(self._see_again(member, canary) for member in self._open))
        await self._read_out()
        self.record.stored = (await self._observer.stream_info(self._kit.stream)).messages

    async def _act(self, step: Step) -> None:
        held = self._held[step.actor]
        if step.action == "receive":
            if self._available(MEMBERS[step.actor]):
                await self._receive(step.actor)
        elif step.action == "close":
            await self._leave(step.actor)
        elif held:
            await self._settle(*held.pop(step.number % len(held)), step.action, step.number / 100)

    async def _publish(self, name: str, tail: str, count: int) -> None:
        first = self._sent[name]
        self._sent[name] += count
        subject = self._kit.subject(tail)
        batch = [(subject, b"%s/%d" % (name.encode(), number)) for number in range(first, self._sent[name])]
        outcomes: list[PublishReceipt | PubSubError] = []
        try:
            if count == 1:
                outcomes += [await self._kit.within(self._publishers[name].publish(*batch[0]), "publish")]
            else:
                outcomes += await self._kit.within(self._publishers[name].publish_many(batch), "publish_many")
        except PublishBatchError as error:
            outcomes += error.outcomes
        except TransientError as error:
            outcomes += [error]
        for number, (message, outcome) in enumerate(zip(batch, outcomes, strict=False), first):
            sequence = outcome.sequence if isinstance(outcome, PublishReceipt) else None
            assert sequence or not self.record.calm, f"publishing {message[1]!r} failed: {outcome!r}"
            self.record.events.append(Published(name, number, *message, sequence))

    async def _join(self, member: str) -> None:
        if member in self._open:
            return
        consumer = MEMBERS[member]
        options: dict[str, Any] = {"ack_wait": self.record.ack_wait, "channel_buf_size": 2}
        if self.record.filters[consumer]:
            options["filter_subject"] = self.record.filters[consumer]
        opening = self._insist(lambda: self._kit.subscription(consumer, backend=self._backend, **options))
        self._opened += 1
        self._open[member] = f"{member}.{self._opened}", await self._kit.within(opening, "opening a member")
        self._held[member] = []

    async def _leave(self, member: str) -> None:
        name, subscription = self._open.pop(member)
        del self._held[member]
        self.record.events.append(Closed(MEMBERS[member], name))
        await self._kit.within(subscription.aclose(), "closing a member")

    async def _leave_one(self, consumer: str) -> None:
        """Leave one member of *consumer* open, one that was there before if possible: it must not be stuck."""
        there = [member for member in self._open if MEMBERS[member] == consumer]
        for member in there[1:]:
            await self._leave(member)
        if not there:
            await self._join(f"{consumer}0")

    async def _receive(self, member: str) -> bool:
        """Receive one message, if one comes soon."""
        name, subscription = self._open[member]
        consumer = MEMBERS[member]
        try:
            async with asyncio.timeout(self._kit.timing.quiet / 2):
                message = await anext(subscription)
        except TimeoutError:
            return False
        count, sequence = message.metadata.num_delivered, message.metadata.sequence
        delivered = Delivered(consumer, name, message.subject, message.data, count, sequence, time.monotonic())
        self.record.events.append(delivered)
        self._held[member].append((message, delivered))
        return True

    async def _settle(self, message: Message, delivered: Delivered, action: str, delay: float) -> None:
        verdict, settle = {
            "ack": ("ack", message.ack),
            "confirm": ("ack", partial(message.ack, confirm=True)),
            "nak": ("nak", message.nak),
            "nak_later": ("nak", partial(message.nak_with_delay, delay * self._kit.short)),
            "term": ("term", message.term),
        }[action]
        waits = delay * self._kit.short if action == "nak_later" else 0.0
        sure = self.record.calm or action == "confirm"
        started = time.monotonic()
        try:
            if not await self._kit.within(settle(), action):
                return
        except TransientError:
            assert not self.record.calm, f"{action} of {message.data!r} failed"
            sure = False
        self.record.events.append(Settled(delivered, verdict, started, waits, sure))
        if verdict != "nak":
            self._settled[delivered.consumer].add(message.data)

    async def _read_out(self) -> None:
        """Read and ack until every consumer has settled everything, or nothing comes for the cap."""
        deadline = time.monotonic() + self._kit.cap
        while time.monotonic() < deadline:
            came = [await self._receive(member) for member in tuple(self._open)]
            for member in self._open:
                await self._ack_all(member)
            if any(came):
                deadline = time.monotonic() + self._kit.cap
            elif await self._finished():
                return

    async def _ack_all(self, member: str) -> None:
        confirm = Capability.CONFIRMED_ACK in self._backend.capabilities
        while self._held[member]:
            await self._settle(*self._held[member].pop(), "confirm" if confirm else "ack", 0.0)

    async def _see_again(self, member: str, canary: bytes) -> None:
        """Let the canary come twice: in between ``ack_wait`` runs out."""
        seen, deadline = 0, time.monotonic() + self._kit.cap
        while seen < 2 and time.monotonic() < deadline:
            if await self._receive(member):
                seen += self._held[member][-1][1].data == canary
        assert seen == 2, f"{member} got the canary {seen} times, without a verdict"

    async def _finished(self) -> bool:
        for consumer in self._consumers:
            info = await self._insist(partial(self._observer.consumer_info, self._kit.stream, consumer))
            self.record.left[consumer] = info.num_pending, info.num_ack_pending
        settled = all(self._wanted(consumer) <= self._settled[consumer] for consumer in self._consumers)
        return settled and all(left == (0, 0) for left in self.record.left.values())

    def _wanted(self, consumer: str) -> set[bytes]:
        pattern = self.record.filters[consumer] or ">"
        confirmed = (message for message in self.record.published if message.sequence is not None)
        return {message.data for message in confirmed if matches(pattern, message.subject)}

    def _available(self, consumer: str) -> bool:
        """Whether, as far as is known, a message is there that no member holds."""
        held = sum(len(self._held[member]) for member in self._open if MEMBERS[member] == consumer)
        return len(self._wanted(consumer) - self._settled[consumer]) > held or not self.record.calm

    async def _insist(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do *work* again while the broker is away."""
        while True:
            try:
                return await work()
            except TransientError:
                if self.record.calm:
                    raise
                await asyncio.sleep(_POLL_SECONDS)
