"""Waits between attempts: exponential, with jitter."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pubsubkit.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Backoff"]


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """An exponential backoff: before attempt *n* + 1 it waits ``min(maximum, initial * factor ** (n - 1))`` seconds,
    of which the share *jitter* is random, so that many publishers do not return together.

    The defaults make ten attempts last about eight seconds, longer than most leader elections of a NATS cluster.

    :param initial: seconds before the second attempt.
    :param maximum: the longest wait in seconds.
    :param factor: what one wait is multiplied by to get the next.
    :param jitter: the random share of a wait, 0 to 1.
    :param sleep: awaited with the seconds; tests put a fake here.
    :param random: returns a float in [0, 1); tests put a fake here.
    :raises InvalidArgumentError: a number is out of its range.
    """

    initial: float = 0.05
    maximum: float = 2.0
    factor: float = 2.0
    jitter: float = 0.5
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    random: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        numbers: tuple[object, ...] = (self.initial, self.maximum, self.factor, self.jitter)
        known = all(isinstance(number, int | float) for number in numbers)
        if not (known and 0 < self.initial <= self.maximum and self.factor >= 1 and 0 <= self.jitter <= 1):
            raise InvalidArgumentError("bad Backoff: expected 0 < initial <= maximum, factor >= 1, 0 <= jitter <= 1")

    def delay(self, attempt: int) -> float:
        """The seconds to wait after the failed attempt number *attempt* (from 1)."""
        whole = min(self.maximum, self.initial * self.factor ** min(attempt - 1, 64))
        return whole * (1 - self.jitter * self.random())
