"""Messages of one key, one after the other."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pubsubkit.message import Message

__all__ = ["Lanes"]


class Lanes:
    """A lane for each key that is being handled, with the messages that wait in it."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[Message]] = {}

    def enter(self, key: Hashable, message: Message) -> bool:
        """Whether *message* may be handled now; if not, it waits until :meth:`next` returns it.

        :raises TypeError: *key* is not hashable.
        """
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(message)
            return False
        self._waiting[key] = deque()
        return True

    def next(self, key: Hashable) -> Message | None:
        """Return the message of *key* that is to be handled next; None when there is none, and the lane is free."""
        waiting = self._waiting[key]
        if waiting:
            return waiting.popleft()
        del self._waiting[key]
        return None

    def take(self, wanted: Callable[[Message], bool]) -> list[Message]:
        """Take out the waiting messages that are *wanted*."""
        taken: list[Message] = []
        for waiting in self._waiting.values():
            taken += filter(wanted, waiting)
            kept = [message for message in waiting if not wanted(message)]
            waiting.clear()
            waiting.extend(kept)
        return taken
