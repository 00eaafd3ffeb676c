"""Broken orders."""

import itertools

from pubsubkit_memory.consumer import Consumer
from pubsubkit_memory.stream import Stream
from saboteurs.saboteur import breaks

_count = itertools.count(1)


@breaks(Consumer, "take", "ord.fifo")
def delivers_pairs_backwards(original, self):
    """Of two messages that wait the newer one is delivered first, now and then."""
    if len(self._pending) > 20 and self._position % 10 == 5:
        self._pending[0], self._pending[1] = self._pending[1], self._pending[0]
    return original(self)


@breaks(Consumer, "__init__", "ord.backlog")
def delivers_the_backlog_backwards(original, self, spec, log, timers):
    """What a new consumer finds is delivered from the end."""
    original(self, spec, log, timers)
    if len(self._pending) > 50:
        self._pending.reverse()


@breaks(Consumer, "offer", "ord.per_publisher")
def lets_publishers_overtake_themselves(original, self, sequence):
    """Two messages that one publisher sent while others were publishing change places."""
    original(self, sequence)
    pending, log = self._pending, self._log
    if len(pending) > 8 and ".p" in log.stored[sequence][0]:
        before = pending[-9]
        if log.stored[before][0] == log.stored[sequence][0]:
            pending[-9], pending[-1] = sequence, before


@breaks(Stream, "publish", "ord.stream")
def shows_each_consumer_another_order(original, self, subject, data, *more):
    """The second consumer of a stream gets messages of different publishers in another order."""
    receipt = original(self, subject, data, *more)
    for consumer in itertools.islice(self.consumers.values(), 1, 2):
        pending, stored = consumer._pending, self._log.stored
        if len(pending) > 1 and b"/" in data:
            _, other, *_ = stored[pending[-2]]
            if other[:1] != data[:1]:
                pending[-2], pending[-1] = pending[-1], pending[-2]
    return receipt


@breaks(Consumer, "take", "ord.strict_single")
def prefers_new_messages(original, self):
    """A message that was nak'ed waits until all others were delivered."""
    if self._max_in_flight == 1 and self._ready and self._pending:
        ready, self._ready = self._ready, type(self._ready)()
        try:
            return original(self)
        finally:
            self._ready = ready
    return original(self)


@breaks(Consumer, "take", "ord.strict_single")
def overtakes_while_delayed(original, self):
    """While a message is delayed the next one is delivered under max_in_flight=1."""
    delayed, self._delayed = self._delayed, {}
    try:
        return original(self)
    finally:
        self._delayed = delayed
