"""Backends that fail consumers when something on the way to the broker, or on the broker, goes away."""

import asyncio
from contextlib import suppress

from pubsubkit import NotFoundError, TransientError
from pubsubkit.driver import Settlement, Verdict
from pubsubkit_memory.consumer import Consumer
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_nats.connection import Connection
from pubsubkit_nats.delivery import NatsDelivery
from pubsubkit_nats.pipe import PublishPipe
from pubsubkit_nats.pull import PullSubscription
from saboteurs.saboteur import breaks

_counts: dict = {}
_raised: set = set()
_trusting: set = set()


def _stale(link) -> bool:
    """Whether nats-py gave the connection up because the pings were not answered."""
    return link.client._pings_outstanding > link.client.options["max_outstanding_pings"]


def _stop_asking(subscription) -> None:
    subscription._asked = 1_000_000
    subscription._give_up_inbox()
    subscription._spawn(subscription._forget_inboxes)


@breaks(PullSubscription, "_write_off", "flt.resubscribe", "flt.long_outage", backend="nats")
def never_asks_again(original, self, pause=0.0):
    """After a lost connection the consumer does not ask for messages again."""


@breaks(PullSubscription, "_write_off", "flt.resubscribe", backend="nats")
def gives_up_asking(original, self, pause=0.0):
    """A consumer asks again after three lost connections, and not after the fourth."""
    _counts[self] = _counts.get(self, 0) + 1
    original(self, pause) if _counts[self] <= 3 else _stop_asking(self)


@breaks(PullSubscription, "_write_off", "flt.receive_silent", backend="nats")
def trusts_a_silent_connection(original, self, pause=0.0):
    """A consumer asks again after a connection that was closed, and not after one that fell silent."""
    if _stale(self._link):
        _trusting.add(self)
    _stop_asking(self) if self in _trusting else original(self, pause)


@breaks(Connection, "_back", "flt.settle_across_cut", backend="nats")
def loses_the_first_ack_after_a_reconnect(original, self):
    """The first confirmed ack on a new connection is not sent, as the message came over another one."""
    request, done = self.request, []

    async def lossy(subject, payload):
        if subject.startswith("$JS.ACK") and not done:
            return done.append(True)
        return await request(subject, payload)

    self.request = lossy
    original(self)


@breaks(NatsDelivery, "settle", "flt.confirm_down", backend="nats")
async def confirms_an_ack_that_it_keeps(original, self, settlement):
    """While the connection is lost a confirmed ack returns at once and is sent later."""
    if settlement.confirm and not self._link.up:
        settlement = Settlement(Verdict.ACK)
    await original(self, settlement)


@breaks(PullSubscription, "receive", "flt.consumer_deleted", backend="nats")
async def raises_once(original, self):
    """The receive after the one that was told of the deletion waits for ever."""
    if self in _raised:
        await asyncio.Event().wait()
    try:
        return await original(self)
    except NotFoundError:
        _raised.add(self)
        raise


@breaks(PullSubscription, "_on_status", "flt.consumer_deleted_between", backend="nats")
def ignores_that_nobody_answers(original, self, status):
    """That nobody took the request for messages is ignored, so that a deleted consumer looks like an idle one."""
    if status._code != "503":
        original(self, status)


@breaks(PullSubscription, "consuming", "flt.consumer_deleted_health", backend="nats")
def consumes_as_long_as_connected(original, self):
    """A subscription counts as served as long as the connection is there."""
    return self._link.up


@breaks(PullSubscription, "_fail", "flt.consumer_deleted_down", backend="nats")
def looks_once(original, self, error):
    """A consumer that was deleted during an outage is asked for again and again."""
    if not isinstance(error, NotFoundError) or not self._link.client.stats["reconnects"]:
        original(self, error)


@breaks(PullSubscription, "_fail", "flt.consumer_deleted", "flt.consumer_deleted_between", backend="nats")
def deletes_silently(original, self, error):
    """A deleted consumer looks like an idle one, the default of the library."""
    if not isinstance(error, NotFoundError):
        original(self, error)


@breaks(Consumer, "delete", "flt.consumer_deleted", "flt.stream_deleted")
def wakes_nobody(original, self):
    """Deleting a consumer leaves its members waiting."""
    self.waiters.reset()
    original(self)


@breaks(MemoryDriver, "delete_stream", "flt.stream_deleted")
async def leaves_consumers_behind(original, self, name):
    """Deleting a stream leaves its consumers, and who waits for their messages."""
    stream = self._broker.find_stream(name)
    if stream is not None:
        stream.consumers = {}
    return await original(self, name)


@breaks(PublishPipe, "_explain", "flt.stream_deleted", backend="nats")
async def takes_no_stream_for_no_leader(original, self, messages, outcomes, deadline):
    """Publishing into a stream that was deleted fails with an error that says to try again."""
    return outcomes


@breaks(PullSubscription, "aclose", "flt.close_while_down", backend="nats")
async def closes_when_the_broker_is_back(original, self, held):
    """Closing a subscription waits for the broker."""
    await self._link.wait_ready()
    await original(self, held)


@breaks(PullSubscription, "aclose", "flt.close_while_silent", backend="nats")
async def closes_when_the_broker_answers(original, self, held):
    """Closing a subscription over a connection that is lost meanwhile waits until there is another one."""
    was_up = self._link.up
    with suppress(TransientError):
        await original(self, held)
    while was_up and not self._link.up:
        await asyncio.sleep(0.01)
