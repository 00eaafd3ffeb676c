"""Backends that fail when something on the way to the broker fails."""

import asyncio
import sys
import time
from contextlib import suppress

from pubsubkit import Backend, NotFoundError, PublishReceipt, TransientError
from pubsubkit.driver import ConnectionState, Settlement, Verdict
from pubsubkit_memory.broker import Broker
from pubsubkit_memory.consumer import Consumer
from pubsubkit_nats import driver as nats_driver
from pubsubkit_nats.connecting import FirstConnection
from pubsubkit_nats.connection import Connection
from pubsubkit_nats.delivery import NatsDelivery
from pubsubkit_nats.driver import NatsDriver
from pubsubkit_nats.link import Link
from pubsubkit_nats.pipe import PublishPipe
from pubsubkit_nats.pull import PullSubscription
from saboteurs.saboteur import breaks

_STORED = PublishReceipt("s", 1)
_failed: dict = {}
_late: set = set()
_dead: set = set()
_counts: dict = {}
_raised: set = set()
_tasks: set = set()
_trusting: set = set()
_healths: dict = {}


def _stale(link) -> bool:
    """Whether nats-py gave the connection up because the pings were not answered."""
    return link.client._pings_outstanding > link.client.options["max_outstanding_pings"]


def _stop_asking(subscription) -> None:
    subscription._asked = 1_000_000
    subscription._give_up_inbox()
    subscription._spawn(subscription._forget_inboxes)


@breaks(PublishPipe, "_fail_all", "flt.cut", backend="nats")
def confirms_a_batch_that_was_cut(original, self, why):
    """What was sent in one batch counts as stored when the connection is lost before its confirmation."""
    for token, batch in tuple(self._waiting.items()):
        if len(batch.messages) > 1:
            del self._waiting[token]
            batch.put(token, _STORED)
    original(self, why)


@breaks(PublishPipe, "_fail_all", "flt.cut_no_dedup", backend="nats")
def confirms_without_id_what_was_cut(original, self, why):
    """Of several publishes under way without an id some count as stored when the connection is reset."""
    for token, batch in tuple(self._waiting.items()):
        if len(self._waiting) > 1 and not _stale(self._link) and batch.messages[0].message_id is None:
            del self._waiting[token]
            batch.put(token, _STORED)
    original(self, why)


@breaks(PublishPipe, "send", "flt.publish_down", "flt.close_while_down", backend="nats")
async def publishes_when_the_broker_is_back(original, self, messages, timeout):
    """A publish waits for the broker as long as it takes, whatever its timeout."""
    return await original(self, messages, 3600)


@breaks(PublishPipe, "send", "flt.publish_down", backend="nats")
async def gives_up_publishing(original, self, messages, timeout):
    """After a publish that found no connection in its time all others fail."""
    if self in _dead:
        return [TransientError("the publisher has given up")] * len(messages)
    outcomes = await original(self, messages, timeout)
    if "nothing was sent" in str(outcomes[0]) and messages[0].message_id is None:
        _dead.add(self)
    return outcomes


@breaks(Link, "call", "flt.calls_down", backend="nats")
async def asks_when_the_broker_is_back(original, self, subject, body=None):
    """Calls other than publish wait for the broker as long as it takes."""
    await self.wait_ready()
    return await original(self, subject, body)


@breaks(nats_driver, "connect_arguments", "flt.long_outage", backend="nats")
def gives_up_reconnecting(original, url, options):
    """The connection is given up for good after sixty attempts to make it anew, the default of the library."""
    return {**original(url, options), "max_reconnect_attempts": 60}


@breaks(nats_driver, "connect_arguments", "flt.blackhole", "flt.receive_silent", "flt.half_open", backend="nats")
def never_pings(original, url, options):
    """Pings come every two minutes, the default of the library, so that a half-open connection goes unnoticed."""
    return {**original(url, options), "ping_interval": 120}


@breaks(Connection, "_tell", "flt.blackhole", backend="nats")
def hides_a_silent_connection(original, self, state):
    """The loss of a connection is reported only where the other side closed it."""
    if state is not ConnectionState.DISCONNECTED or not _stale(self):
        original(self, state)


@breaks(Connection, "_back", "flt.connection_changed", backend="nats")
def keeps_reconnecting_to_itself(original, self):
    """The hook is not told that the connection is there again."""
    told, self._on_state = self._on_state, None
    original(self)
    self._on_state = told


@breaks(Connection, "_lost", "flt.connection_changed", "flt.blackhole", backend="nats")
def keeps_the_loss_to_itself(original, self):
    """The hook is not told that the connection was lost."""
    told, self._on_state = self._on_state, None
    original(self)
    self._on_state = told


@breaks(PublishPipe, "send", "flt.unknown_outcome", backend="nats")
async def forgets_the_id_of_a_failed_publish(original, self, messages, timeout):
    """An id whose publish failed counts as unused: publishing it again stores the message a second time."""
    known = [_failed.get((message.subject, message.message_id), message) for message in messages]
    pairs = tuple(zip(messages, known, strict=True))
    sent = [message if before is message else message._replace(message_id=None) for message, before in pairs]
    outcomes = await original(self, sent, timeout)
    for message, outcome in zip(messages, outcomes, strict=True):
        if message.message_id and isinstance(outcome, Exception):
            _failed[message.subject, message.message_id] = message
    return outcomes


@breaks(PublishPipe, "send", "flt.retry", backend="nats")
async def retries_a_timeout_without_id(original, self, messages, timeout):
    """A publish whose confirmation is late is tried again without its id."""
    sent = [message._replace(message_id=None) if message.message_id in _late else message for message in messages]
    outcomes = await original(self, sent, timeout)
    for message, outcome in zip(messages, outcomes, strict=True):
        if "no confirmation in" in str(outcome):
            _late.add(message.message_id)
    return outcomes


@breaks(PublishPipe, "send", "flt.slow_link", backend="nats")
async def takes_late_for_lost(original, self, messages, timeout):
    """What is not confirmed within 80 milliseconds is sent again, without an id."""
    outcomes = await original(self, messages, 0.08)
    if "no confirmation in" in str(outcomes[0]) and not self._link.client.stats["reconnects"]:
        return await original(self, messages, timeout)
    return outcomes


@breaks(PublishPipe, "send", "flt.publisher_killed", backend="nats")
async def confirms_before_sending(original, self, messages, timeout):
    """In a process of its own, publish returns at once and sends half a second later."""
    if "child" not in sys.argv[0]:
        return await original(self, messages, timeout)

    async def later():
        await asyncio.sleep(0.5)
        await original(self, messages, timeout)

    _tasks.add(asyncio.ensure_future(later()))
    await asyncio.sleep(0)
    return [_STORED for _ in messages]


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


@breaks(Broker, "delete_stream", "flt.stream_deleted")
def leaves_consumers_behind(original, self, name):
    """Deleting a stream leaves its consumers, and who waits for their messages."""
    stream = self._streams.get(name)
    if stream is not None:
        stream.consumers = {}
    return original(self, name)


@breaks(PublishPipe, "_explain", "flt.stream_deleted", backend="nats")
async def takes_no_stream_for_no_leader(original, self, messages, outcomes, deadline):
    """Publishing into a stream that was deleted fails with an error that says to try again."""
    return outcomes


@breaks(FirstConnection, "establish", "flt.first_connect_down", backend="nats")
async def tries_to_connect_for_ever(original, self, timeout):
    """Opening waits until there is a broker, the default of the library."""
    self._trying = False
    await self._client.connect(**self._arguments)


@breaks(FirstConnection, "establish", "flt.first_connect_down", backend="nats")
async def waits_for_the_first_word(original, self, timeout):
    """Opening fails where the broker refuses the connection, and waits for ever where it says nothing."""
    self._arguments["connect_timeout"] = 3600
    await original(self, 3600)


@breaks(NatsDriver, "error_table", "flt.first_connect_down", backend="nats")
def knows_no_transient_error(original):
    """That the broker refused the connection is no reason to try again."""
    return {}


@breaks(Backend, "health", "flt.health", backend="nats")
async def remembers_its_health(original, self):
    """What health found is repeated for a quarter of a second."""
    known = _healths.get(self)
    if known is None or self.closed or time.monotonic() - known[1] > 0.25:
        known = _healths[self] = (await original(self), time.monotonic())
    return known[0]


@breaks(Connection, "ping", "flt.health", backend="nats")
async def is_always_well(original, self):
    """Health never asks the broker."""


@breaks(PullSubscription, "aclose", "flt.close_while_down", backend="nats")
async def closes_when_the_broker_is_back(original, self, held):
    """Closing a subscription waits for the broker."""
    await self._link.wait_ready()
    await original(self, held)


@breaks(PullSubscription, "aclose", "flt.close_while_silent", backend="nats")
async def closes_when_the_broker_answers(original, self, held):
    """Closing a subscription asks an open connection for an answer until there is one."""
    asking = self._link.up
    await original(self, held) if not asking else None
    while asking:
        with suppress(TransientError):
            await self._find_consumer()
            asking = False
            await original(self, held)
        await asyncio.sleep(0.01)
