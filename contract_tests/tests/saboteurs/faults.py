"""Backends that fail publishers, or do not tell the truth, when something on the way to the broker fails."""

import asyncio
import sys
import time

from pubsubkit import PublishReceipt, TransientError
from pubsubkit.driver import ConnectionState
from pubsubkit_nats import driver as nats_driver
from pubsubkit_nats.connecting import FirstConnection
from pubsubkit_nats.connection import Connection
from pubsubkit_nats.driver import NatsDriver
from pubsubkit_nats.link import Link
from pubsubkit_nats.pipe import PublishPipe
from saboteurs.saboteur import breaks

_STORED = PublishReceipt("s", 1)
_failed: dict = {}
_late: set = set()
_dead: set = set()
_tasks: set = set()
_lost: dict = {}


def _stale(link) -> bool:
    """Whether nats-py gave the connection up because the pings were not answered."""
    return link.client._pings_outstanding > link.client.options["max_outstanding_pings"]


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


@breaks(PublishPipe, "send", "flt.publish_down", backend="nats")
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
    """The connection is given up for good after forty attempts to make it anew; the default of the library is sixty."""
    return {**original(url, options), "max_reconnect_attempts": 40}


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
    """A batch that is not confirmed within 80 milliseconds is sent again, without ids."""
    if len(messages) == 1:
        return await original(self, messages, timeout)
    outcomes = await original(self, messages, 0.08)
    if "no confirmation in" in str(outcomes[0]):
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


@breaks(Connection, "ping", "flt.health", backend="nats")
async def is_well_for_a_moment(original, self):
    """Health says for a tenth of a second after the loss that the broker has answered."""
    try:
        await original(self)
    except TransientError:
        if time.monotonic() - _lost.setdefault(self, time.monotonic()) > 0.1:
            raise


@breaks(Connection, "ping", "flt.health", backend="nats")
async def is_always_well(original, self):
    """Health never asks the broker."""
