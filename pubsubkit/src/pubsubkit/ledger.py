"""What a subscription has handed out and what has no verdict yet."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pubsubkit.message import Message

__all__ = ["Ledger"]

_PRUNE = 1024


class Ledger:
    """The messages of one subscription that have no verdict, and how many verdicts are under way.

    :param ack_wait: seconds after which a message without a verdict is somebody else's.
    """

    __slots__ = ("_ack_wait", "_changed", "_held", "_prune_at", "under_way", "watched")

    def __init__(self, ack_wait: float) -> None:
        self.under_way = 0
        """How many verdicts are on their way to the broker."""
        self.watched = False
        """Whether somebody waits for verdicts, so that :meth:`wake` is to be called after each."""
        self._ack_wait = ack_wait
        self._held: dict[object, Message] = {}
        self._prune_at = _PRUNE
        self._changed = asyncio.Event()

    def add(self, message: Message) -> None:
        """Remember what has no verdict yet, to give it back at close; an older delivery of it is ours no more."""
        self._held[message.delivery.key] = message
        if len(self._held) >= self._prune_at:
            self._held = {message.delivery.key: message for message in self._leased()}
            self._prune_at = max(_PRUNE, 2 * len(self._held))

    def remove(self, message: Message) -> None:
        """Forget a message that has its verdict."""
        key = message.delivery.key
        if self._held.get(key) is message:
            del self._held[key]

    def seal(self) -> list[Message]:
        """Let later verdicts do nothing; return what is to be given back."""
        held = self._leased()
        for message in self._held.values():
            message.seal()
        self._held.clear()
        return held

    def wake(self) -> None:
        """Let those who wait look again."""
        self._changed.set()

    async def quiet(self) -> None:
        """Return when no verdict is under way."""
        self.watched = True
        while self.under_way:
            self._changed.clear()
            await self._changed.wait()

    def _leased(self) -> list[Message]:
        """The messages without a verdict whose ``ack_wait`` has not run out: the others are somebody else's by now."""
        oldest = time.monotonic() - self._ack_wait
        return [message for message in self._held.values() if message.leased > oldest and not message.settled]
