"""What became of every message of a soak."""

from __future__ import annotations

import logging
import time
from collections import Counter
from enum import IntFlag

logger = logging.getLogger("soak")

UNSEEN = 0.0
VERDICTS = ("ack", "confirmed ack", "nak", "delayed nak", "none", "raised")


class Fate(IntFlag):
    """What is known of one message."""

    CONFIRMED = 1
    """Its publish returned."""
    STORED = 2
    """It is in the stream at the end."""
    ACKED = 4
    """A handler has called ``ack()``, whatever that came to."""
    CONFIRMED_ACK = 8
    """``ack(confirm=True)`` returned True."""


class Account:
    """Counts what happens, and keeps the fate of each message by its number, from 0."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.surprises: Counter[str] = Counter()
        """What must never happen: errors that no fault explains, stalls, altered messages."""
        self.slowest: dict[str, float] = {}
        """Seconds from the end of a fault of this name until a publish was confirmed and a message delivered."""
        self.last_confirmed = self.last_delivered = UNSEEN
        self._fates = bytearray()

    def new(self) -> int:
        """The number of a message that is about to be published."""
        self._fates.append(0)
        return len(self._fates) - 1

    def confirmed(self, number: int) -> None:
        self.last_confirmed = time.monotonic()
        self._fates[number] |= Fate.CONFIRMED

    def delivered(self, data: bytes, times: int) -> int:
        """Note a delivery, and return the number of the message."""
        self.last_delivered = time.monotonic()
        number = self._number(data)
        self.counts["deliveries"] += 1
        self.counts["redeliveries"] += times > 1
        if self._fates[number] & Fate.CONFIRMED_ACK:
            self.counts["again after a confirmed ack"] += 1
            logger.warning("message %d again after a confirmed ack, delivery %d", number, times)
        return number

    def acked(self, number: int, fate: Fate = Fate.ACKED) -> None:
        self._fates[number] |= fate

    def stored(self, data: bytes) -> None:
        number = self._number(data)
        self.counts["stored twice"] += bool(self._fates[number] & Fate.STORED)
        self._fates[number] |= Fate.STORED

    def surprise(self, what: str) -> None:
        self.surprises[what] += 1

    @property
    def published(self) -> int:
        """How many messages there are."""
        return len(self._fates)

    @property
    def lost(self) -> dict[str, int]:
        """How many messages were lost, by the way in which; to be asked when the consumer has nothing left."""
        return {
            "confirmed, but not stored": self._count(Fate.CONFIRMED, without=Fate.STORED),
            "stored, but nobody acked it": self._count(Fate.STORED, without=Fate.ACKED),
        }

    @property
    def good(self) -> bool:
        """Whether no message was lost or stored twice, and nothing happened that must not."""
        return not (any(self.lost.values()) or self.counts["stored twice"] or self.surprises)

    def rows(self) -> list[tuple[str, int]]:
        """The account, line by line."""
        count = self.counts
        return [
            ("published", self.published),
            ("  confirmed", self._count(Fate.CONFIRMED)),
            ("    only when published again", count["confirmed later"]),
            ("  uncertain, given up", self.published - self._count(Fate.CONFIRMED) - count["not tried"]),
            ("    of these stored", self._count(Fate.STORED, without=Fate.CONFIRMED)),
            ("  not tried, as their batch had failed", count["not tried"]),
            ("stored", self._count(Fate.STORED)),
            ("stored twice", count["stored twice"]),
            ("deliveries", count["deliveries"]),
            ("  redeliveries", count["redeliveries"]),
            ("  again after a confirmed ack", count["again after a confirmed ack"]),
            ("messages acked", self._count(Fate.ACKED)),
            *((f"verdict: {name}", count[name]) for name in VERDICTS),
            ("subscriptions opened", count["subscriptions"]),
            ("  that ended with an error", count["subscriptions that raised"]),
            ("connections lost", count["connections lost"]),
            *((f"fault: {name}, slowest recovery {self.slowest[name]:.1f} s", n) for name, n in self.faults.items()),
            *((f"lost: {name}", number) for name, number in self.lost.items()),
            *((f"MUST NOT HAPPEN: {name}", number) for name, number in self.surprises.items()),
        ]

    def _count(self, fate: Fate, *, without: int = 0) -> int:
        return sum(times for value, times in Counter(self._fates).items() if value & fate and not value & without)

    def _number(self, data: bytes) -> int:
        number = int(data.partition(b" ")[0])
        if data != payload(number):
            self.surprise("altered message")
        return number


def payload(number: int) -> bytes:
    """The data of a message, of different lengths, from which its number can be read."""
    return b"%d " % number * (1 + number % 50)
