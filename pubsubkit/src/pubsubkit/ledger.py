"""What a subscription has handed out and what has no verdict yet."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pubsubkit.message import Message

__all__ = ["Ledger"]

_PRUNE = 1024


class Ledger:
    """The messages of one subscription that have no verdict, and how many verdicts are under way.

    :param ack_wait: seconds after which a message without a verdict is somebody else's.
    """

    __slots__ = ("_changed", "_closed", "_prune_at", "ack_wait", "held", "under_way", "watched")

    def __init__(self, ack_wait: float) -> None:
        self.under_way: int = 0
        """How many verdicts are on their way to the broker."""
        self.watched: bool = False
        """Whether somebody waits for verdicts."""
        self.ack_wait: float = ack_wait
        self._closed = False
        self.held: dict[object, Message] = {}
        """Those without a verdict by the key of their delivery, to be given back at close; of one message the newest
        delivery, as older ones are ours no more.
        """
        self._prune_at = _PRUNE
        self._changed = asyncio.Event()

    def prune(self) -> None:
        """Forget those whose ``ack_wait`` has run out when there are many; to be called now and then."""
        if len(self.held) >= self._prune_at:
            self.held = {message.delivery.key: message for message in self.leased()}
            self._prune_at = max(_PRUNE, 2 * len(self.held))

    def remove(self, message: Message) -> None:
        """Forget a message that has its verdict."""
        key = message.delivery.key
        if self.held.get(key) is message:
            del self.held[key]
            if self.watched:
                self._changed.set()

    def holds(self, message: Message) -> bool:
        """Whether *message* has no verdict and its ``ack_wait`` has not run out."""
        known = self.held.get(message.delivery.key) is message and not message.settled
        return known and message.leased > time.monotonic() - self.ack_wait

    def let_go(self, message: Message) -> bool:
        """Let later verdicts on *message* do nothing; whether it is to be given back."""
        held = self.holds(message)
        self.remove(message)
        message.seal()
        return held

    def leased(self) -> list[Message]:
        """The messages without a verdict whose ``ack_wait`` has not run out: the others are somebody else's by now."""
        oldest = time.monotonic() - self.ack_wait
        return [message for message in self.held.values() if message.leased > oldest and not message.settled]

    def seal(self) -> list[Message]:
        """Let later verdicts do nothing; return what is to be given back."""
        held = self.leased()
        for message in self.held.values():
            message.seal()
        self.held.clear()
        return held

    def end(self) -> None:
        """A verdict that was under way has reached the broker, or failed."""
        self.under_way -= 1
        if self.watched:
            self._changed.set()

    def close(self) -> None:
        """End every wait of :meth:`settled`."""
        self._closed = True
        self._changed.set()

    async def settled(self, until: float) -> None:
        """Return when no message waits for a verdict: each has one, or its ``ack_wait`` has run out.

        :param until: the reading of ``time.monotonic`` at which to return in any case.
        """
        self.watched = True
        while not self._closed and (left := self._due(until) - time.monotonic()) > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()

    async def quiet(self) -> None:
        """Return when no verdict is under way."""
        self.watched = True
        while self.under_way:
            self._changed.clear()
            await self._changed.wait()

    def _due(self, until: float) -> float:
        """When to look again at the latest: 0 when nothing is waited for."""
        if self.under_way:
            return until
        leased = [message.leased for message in self.held.values() if not message.settled]
        return min(until, max(leased) + self.ack_wait) if leased else 0.0
