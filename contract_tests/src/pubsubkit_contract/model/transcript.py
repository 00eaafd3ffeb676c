"""Plays a strict history on a backend and writes down what its members observe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pubsubkit_contract.model.history import CONSUMERS, MEMBERS
from pubsubkit_contract.model.reference import Entry, Reference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pubsubkit import Message, Publisher, Subscription
    from pubsubkit_contract.kit import Kit
    from pubsubkit_contract.model.history import Step

__all__ = ["transcript"]

_LONG = 60.0


async def transcript(kit: Kit, steps: Iterable[Step]) -> tuple[list[Entry], list[Entry]]:
    """Return what the reference says that members observe, and what they did; stop at the first difference."""
    reference, wanted, got = Reference(), list[Entry](), list[Entry]()
    actors = _Actors(kit, await kit.publisher())
    for step in steps:
        outcome = reference.apply(step)
        if isinstance(outcome, Entry):
            wanted.append(outcome)
            got.append(await actors.receive(step.actor))
            if wanted != got:
                break
        elif outcome:
            await actors.do(step)
    return wanted, got


class _Actors:
    """One publisher, and the members of strict consumers."""

    def __init__(self, kit: Kit, publisher: Publisher) -> None:
        self._kit = kit
        self._publisher = publisher
        self._open: dict[str, Subscription] = {}
        self._held: dict[str, Message] = {}
        self._sent: list[tuple[str, bytes]] = []
        self._ids: dict[str, str] = {}

    async def receive(self, member: str) -> Entry:
        """Receive what the reference says is there."""
        message = self._held[member] = await self._kit.receive(self._open[member])
        tail = message.subject.removeprefix(f"{self._kit.stream}.")
        return Entry(member, tail, message.data.decode(), message.metadata.num_delivered)

    async def do(self, step: Step) -> None:
        """Do any other step."""
        if step.action == "publish":
            self._sent.append((self._kit.subject(step.tail), f"{step.actor}/{len(self._sent)}".encode()))
        if step.action in ("publish", "repeat"):
            await self._publish()
        elif step.action == "open":
            self._open[step.actor] = await self._join(MEMBERS[step.actor])
        elif step.action == "close":
            self._held.pop(step.actor, None)
            await self._kit.within(self._open.pop(step.actor).aclose(), "closing")
        else:
            message = self._held.pop(step.actor)
            assert await getattr(message, step.action)(), f"{step.action} of {message.data!r} returned False"

    async def _publish(self) -> None:
        from pubsubkit.driver import Capability

        subject, data = self._sent[-1]
        named = Capability.DEDUPLICATION in self._kit.backend.capabilities
        await self._publisher.publish(subject, data, message_id=data.decode() if named else None)

    async def _join(self, consumer: str) -> Subscription:
        options: dict[str, Any] = {"max_in_flight": 1, "channel_buf_size": 1, "ack_wait": _LONG}
        if pattern := CONSUMERS[consumer]:
            options["filter_subject"] = self._kit.subject(pattern)
        return await self._kit.subscription(consumer, **options)
