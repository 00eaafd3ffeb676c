"""The durable state of one consumer: what is pending, what is leased, what comes again.

A sequence number that the consumer selects is in exactly one place, from when it is stored until it is settled::

    pending ──take──> leases ──nak, ack_wait over──> ready ──take──> leases …
                        └─────nak with delay──> delayed ──timer──┘

All but ``pending`` count as in flight.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from functools import partial
from typing import TYPE_CHECKING

from pubsubkit.driver import ConsumerInfo
from pubsubkit_memory.delivery import MemoryDelivery
from pubsubkit_memory.waiters import Waiters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit.driver import ConsumerSpec
    from pubsubkit_memory.log import Log, StoredMessage
    from pubsubkit_memory.timers import Timer, Timers

__all__ = ["Consumer"]


class Consumer:
    """Hands out the messages of one stream that its filter selects, and hands out again what was not settled."""

    __slots__ = (
        "_ack_wait",
        "_delayed",
        "_deliveries",
        "_lease_timer",
        "_leases",
        "_log",
        "_max_deliver",
        "_max_in_flight",
        "_pending",
        "_position",
        "_ready",
        "_timers",
        "deleted",
        "spec",
        "waiters",
    )

    def __init__(self, spec: ConsumerSpec, log: Log, timers: Timers) -> None:
        self.spec: ConsumerSpec = spec
        self.waiters: Waiters = Waiters()
        """The members that wait for a message."""
        self.deleted: bool = False
        """Whether it is gone from the broker."""
        self._log = log
        self._timers = timers
        self._leases: dict[int, MemoryDelivery] = {}  # the oldest lease first
        self._lease_timer: Timer | None = None  # for the oldest lease, or earlier
        self._ready: OrderedDict[int, int] = OrderedDict()  # sequence → deliveries so far
        self._delayed: dict[int, tuple[Timer, int]] = {}  # sequence → deliveries so far
        self._deliveries = 0
        log.expire()
        self._position = log.start(spec.deliver_from, self.pattern) - 1
        self._pending = deque(log.select(self._position + 1, self.pattern))
        self._configure()

    @property
    def pattern(self) -> str:
        """The filter; ``>`` when there is none."""
        return self.spec.filter_subject or ">"

    def info(self) -> ConsumerInfo:
        """The state, as of now."""
        self._log.expire()
        self._forget_dropped()
        counts = [delivery.num_delivered for delivery in self._leases.values()]
        counts += [*self._ready.values(), *(count for _, count in self._delayed.values())]
        return ConsumerInfo(
            spec=self.spec,
            num_pending=len(self._pending),
            num_ack_pending=self._in_flight(),
            num_redelivered=sum(count > 1 for count in counts),
            num_deliveries=self._deliveries,
        )

    def leased(self) -> Sequence[MemoryDelivery]:
        """What members hold without a verdict, the oldest lease first."""
        return tuple(self._leases.values())

    def delayed(self) -> Sequence[float]:
        """The deadlines, by the broker's clock, at which messages end a delay and come again."""
        return [timer.when for timer, _ in self._delayed.values()]

    def update(self, spec: ConsumerSpec) -> None:
        """Take another spec; a new filter applies to all that follows the last message that was delivered."""
        refilter = spec.filter_subject != self.spec.filter_subject
        self.spec = spec
        self._configure()
        if refilter:
            self._pending = deque(self._log.select(self._position + 1, self.pattern))
        for sequence in [sequence for sequence, count in self._ready.items() if count >= self._max_deliver]:
            del self._ready[sequence]
        if self._lease_timer is not None:
            self._timers.cancel(self._lease_timer)
        self._expire_leases()

    def delete(self) -> None:
        """End it: whoever waits is woken and finds :attr:`deleted`."""
        self.deleted = True
        for timer, _ in self._delayed.values():
            self._timers.cancel(timer)
        if self._lease_timer is not None:
            self._timers.cancel(self._lease_timer)
        for state in (self._pending, self._leases, self._ready, self._delayed):
            state.clear()
        self.waiters.wake_all()

    def offer(self, sequence: int) -> None:
        """A message that the filter selects was stored."""
        self._pending.append(sequence)
        if self._log.limited:
            self._forget_dropped()  # else the numbers of a consumer that nobody reads would pile up
        if self.waiters.queue:
            self.wake()

    def take_unclaimed(self) -> MemoryDelivery | None:
        """As :meth:`take`, but leave what was promised to members that waited before."""
        woken = self.waiters.woken
        return None if woken and len(woken) >= self._deliverable() else self.take()

    def take(self) -> MemoryDelivery | None:
        """Lease the next message, redeliveries before new ones; None when there is nothing to deliver now."""
        log = self._log
        if log.limited:
            log.expire()
        while self._ready:
            sequence, count = self._ready.popitem(last=False)
            message = log.stored.get(sequence)
            if message is not None:
                return self._lease(message, sequence, count + 1)
        pending = self._pending
        if len(self._leases) + len(self._delayed) < self._max_in_flight:
            while pending:
                self._position = sequence = pending.popleft()
                message = log.stored.get(sequence)
                if message is not None:
                    return self._lease(message, sequence, 1)
        return None

    def wake(self) -> None:
        """Wake as many waiting members as there are messages for."""
        self.waiters.wake(self._deliverable())

    def finish(self, sequence: int) -> None:
        """Settle a message for good, also by a stale handle."""
        if self._leases.pop(sequence, None) is None and self._ready.pop(sequence, None) is None:
            delayed = self._delayed.pop(sequence, None)
            if delayed is not None:
                self._timers.cancel(delayed[0])
        if self.waiters.queue:
            self.wake()

    def give_back(self, delivery: MemoryDelivery, delay: float) -> None:
        """End a lease: the message comes again after *delay* seconds."""
        sequence = delivery.key
        if self._leases.get(sequence) is not delivery:
            return
        del self._leases[sequence]
        if delay > 0 and delivery.num_delivered < self._max_deliver:
            timer = self._timers.at(self._timers.now() + delay, partial(self._end_delay, sequence))
            self._delayed[sequence] = timer, delivery.num_delivered
        else:
            self._requeue(sequence, delivery.num_delivered)
        self.wake()

    def extend(self, delivery: MemoryDelivery) -> None:
        """Begin a lease anew."""
        sequence = delivery.key
        if self._leases.get(sequence) is delivery:
            del self._leases[sequence]  # to the end of the order
            delivery.leased_at = self._timers.now()
            self._leases[sequence] = delivery

    def _configure(self) -> None:
        self._ack_wait = self.spec.ack_wait
        self._max_deliver = self.spec.max_deliver or math.inf
        self._max_in_flight = self.spec.max_in_flight

    def _in_flight(self) -> int:
        return len(self._leases) + len(self._delayed) + len(self._ready)

    def _deliverable(self) -> int:
        return len(self._ready) + max(0, min(len(self._pending), self._max_in_flight - self._in_flight()))

    def _forget_dropped(self) -> None:
        pending, first = self._pending, self._log.first
        while pending and pending[0] < first:
            pending.popleft()

    def _lease(self, message: StoredMessage, sequence: int, count: int) -> MemoryDelivery:
        now = self._timers.now()
        delivery = self._leases[sequence] = MemoryDelivery(message, self, count, now)
        self._deliveries += 1
        if self._lease_timer is None:
            self._lease_timer = self._timers.at(now + self._ack_wait, self._expire_leases)
        return delivery

    def _requeue(self, sequence: int, count: int) -> None:
        if count < self._max_deliver:
            self._ready[sequence] = count

    def _end_delay(self, sequence: int) -> None:
        _, count = self._delayed.pop(sequence)
        self._requeue(sequence, count)
        self.wake()

    def _expire_leases(self) -> None:
        self._lease_timer = None
        now = self._timers.now()
        expired: list[MemoryDelivery] = []
        for delivery in self._leases.values():
            deadline = delivery.leased_at + self._ack_wait
            if deadline > now:
                self._lease_timer = self._timers.at(deadline, self._expire_leases)
                break
            expired.append(delivery)
        for delivery in expired:
            del self._leases[delivery.key]
            self._requeue(delivery.key, delivery.num_delivered)
        self.wake()
