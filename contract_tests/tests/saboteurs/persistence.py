"""Brokers that lose something when they are stopped, and clients that do not find back to them.

What a broken broker would lose at its end is taken from a real one right before it.
"""

import asyncio
import json

from pubsubkit.backend import connect
from pubsubkit_memory.broker import Broker
from pubsubkit_nats.delivery import NatsDelivery
from pubsubkit_nats.harness import NatsHarness
from pubsubkit_nats.pull import PullSubscription
from saboteurs.saboteur import breaks

_CRASH_LOSS = 5
_MANY = 50
_tasks = set()


def _at_stop(*caught_by, crash=False):
    """Declare a saboteur that changes each stream before the broker is stopped, or before it crashes."""

    def declare(change):
        async def go_down(original, self, *, crash=False):
            if crash == crashing:
                async with connect(self.url()) as backend:
                    context = backend.native.jetstream()
                    for stream in await context.streams_info():
                        await change(context, stream, await context.consumers_info(stream.config.name))
            await original(self, crash=crash)

        crashing = crash
        go_down.__name__, go_down.__doc__, go_down.__module__ = change.__name__, change.__doc__, change.__module__
        return breaks(NatsHarness, "go_down", *caught_by, backend="nats")(go_down)

    return declare


@_at_stop("rst.messages")
async def keeps_only_what_is_consumed(context, stream, consumers):
    """A stream that no consumer reads is empty after a restart."""
    if not consumers and stream.state.messages == 2 * _MANY:
        await context.purge_stream(stream.config.name)


@_at_stop("rst.messages", "rst.unchanged", "rst.acks", "rst.in_flight", "rst.delayed", "ord.across_restart")
async def keeps_nothing(context, stream, consumers):
    """The messages of streams in file storage are in memory only."""
    await context.purge_stream(stream.config.name)


@_at_stop("rst.messages")
async def stores_the_last_one_twice(context, stream, consumers):
    """The last message is written twice by a broker that stops."""
    if stream.state.messages == 2 * _MANY:
        await _repeat(context, stream.config.name, stream.state.last_seq)


@_at_stop("rst.unchanged")
async def writes_no_headers(context, stream, consumers):
    """Headers are not in the file."""
    for sequence in range(1, stream.state.last_seq + 1):
        headers = (await context.get_msg(stream.config.name, sequence)).headers or {}
        if "n" in headers:
            await _repeat(context, stream.config.name, sequence, delete=True)


@_at_stop("rst.acks")
async def keeps_the_lowest_position(context, stream, consumers):
    """Of the acks only those are kept that follow each other without a gap."""
    for consumer in consumers:
        floor = consumer.ack_floor.stream_seq
        if consumer.delivered.stream_seq - floor > consumer.num_ack_pending:
            await _recreate(context, consumer, floor + 1)


@_at_stop("rst.confirmed_acks")
async def begins_anew_with_one_in_flight(context, stream, consumers):
    """A consumer that has read everything and has one message in flight begins at the beginning."""
    for consumer in consumers:
        if consumer.ack_floor.stream_seq and consumer.num_ack_pending == 1 and not consumer.num_pending:
            await _recreate(context, consumer, 1)


@_at_stop("rst.in_flight")
async def keeps_one_in_flight(context, stream, consumers):
    """Of the messages in flight in a short stream only the last one comes again."""
    for consumer in consumers:
        if stream.state.messages < _MANY and consumer.num_ack_pending > 1:
            await _recreate(context, consumer, consumer.delivered.stream_seq)


@_at_stop("rst.counts")
async def forgets_counts(context, stream, consumers):
    """Deliveries are counted from one after a restart."""
    for consumer in consumers:
        if consumer.num_redelivered and not consumer.num_pending:
            await _recreate(context, consumer, consumer.ack_floor.stream_seq + 1)


@breaks(NatsDelivery, "settle", "rst.delayed", backend="nats")
async def delays_by_itself(original, self, settlement):
    """The client waits for the end of a delay, and naks then."""
    if not settlement.delay:
        await original(self, settlement)
        return
    asyncio.get_running_loop().call_later(settlement.delay, _start, self._send, b"-NAK")


@_at_stop("rst.dedup_window")
async def forgets_message_ids(context, stream, consumers):
    """Message ids are in memory only."""
    last = await context.get_msg(stream.config.name, stream.state.last_seq) if stream.state.messages else None
    if last is not None and "Nats-Msg-Id" in (last.headers or {}):
        await context.delete_stream(stream.config.name)
        await context.add_stream(stream.config)
        await context.publish(last.subject, last.data)


@_at_stop("rst.consumer_config")
async def resets_limits_of_consumers(context, stream, consumers):
    """Limits of a consumer are the default's after a restart."""
    for consumer in consumers:
        if consumer.config.max_ack_pending == 17:
            consumer.config.max_ack_pending = 1000
            await context.add_consumer(stream.config.name, consumer.config)


@_at_stop("rst.stream_config")
async def resets_limits_of_streams(context, stream, consumers):
    """Limits of a stream are the default's after a restart."""
    if stream.config.max_msgs > 0:
        stream.config.max_msgs = -1
        await context.update_stream(stream.config)


@breaks(PullSubscription, "_on_change", "rst.live_subscription", backend="nats")
def waits_for_lost_answers(original, self, up):
    """After a lost connection a member waits for what it asked for before."""


@_at_stop("ord.across_restart")
async def swaps_the_last_two(context, stream, consumers):
    """The last two messages before a stop are stored in the other order."""
    if stream.state.messages == _MANY:
        for sequence in (stream.state.last_seq, stream.state.last_seq - 1):
            await _repeat(context, stream.config.name, sequence, delete=True)


@_at_stop("rst.crash_no_loss", crash=True)
async def takes_delivery_for_ack(context, stream, consumers):
    """What was in flight at a crash does not come again."""
    for consumer in consumers:
        await _recreate(context, consumer, consumer.delivered.stream_seq + 1)


@_at_stop("rst.crash_no_loss", crash=True)
async def delivers_twice_after_a_crash(context, stream, consumers):
    """A message that was not delivered yet is stored twice by a crash."""
    if consumers:
        await _repeat(context, stream.config.name, stream.state.last_seq)


@_at_stop("rst.crash_publishing", crash=True)
async def confirms_before_it_writes(context, stream, consumers):
    """The last few messages that were confirmed before a crash are gone."""
    for sequence in range(stream.state.last_seq - _CRASH_LOSS, stream.state.last_seq) if not consumers else ():
        await context.delete_msg(stream.config.name, sequence)


@_at_stop("rst.crash_publishing", crash=True)
async def repeats_what_was_under_way(context, stream, consumers):
    """What was stored right before a crash is stored twice."""
    if not consumers:
        await _repeat(context, stream.config.name, stream.state.last_seq)


@breaks(Broker, "clear", "rst.not_promised")
def tells_nobody_of_the_loss(original, self):
    """Who waits for a message of a stream that is lost waits for ever."""
    for stream in self._streams.values():
        for subject in stream.options.subjects:
            self._routes.remove(subject, stream)
    self._streams.clear()


@breaks(Broker, "clear", "rst.not_promised")
def keeps_the_names_of_what_is_lost(original, self):
    """The streams that are lost cannot be created again."""
    for stream in self._streams.values():
        for consumer in tuple(stream.consumers):
            stream.delete_consumer(consumer)
    self._streams.clear()


async def _recreate(context, consumer, start):
    """Let the consumer begin at *start*, with the rest of its settings."""
    config = {**consumer.config.as_dict(), "deliver_policy": "by_start_sequence", "opt_start_seq": max(1, start)}
    await context.delete_consumer(consumer.stream_name, consumer.name)
    body = {"stream_name": consumer.stream_name, "config": config}
    subject = f"$JS.API.CONSUMER.CREATE.{consumer.stream_name}.{consumer.name}"
    answer = await context._nc.request(subject, json.dumps(body).encode())
    assert "error" not in json.loads(answer.data), answer.data


async def _repeat(context, stream, sequence, *, delete=False):
    """Store the data of a message again, and without headers; perhaps in its place."""
    message = await context.get_msg(stream, sequence)
    if delete:
        await context.delete_msg(stream, sequence)
    await context.publish(message.subject, message.data)


def _start(function, *arguments):
    task = asyncio.ensure_future(function(*arguments))
    _tasks.add(task)
    task.add_done_callback(lambda done: (_tasks.discard(done), done.cancelled() or done.exception()))
