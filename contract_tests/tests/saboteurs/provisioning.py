"""Broken ways to create, find and delete streams and consumers."""

import asyncio
from dataclasses import replace

from pubsubkit import ConflictError, NotFoundError
from pubsubkit import backend as portable_backend
from pubsubkit import publisher as portable_publisher
from pubsubkit.backend import Backend
from pubsubkit.consumer import Consumer
from pubsubkit.subscription import Subscription
from pubsubkit_memory.broker import Broker
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_memory.stream import Stream
from saboteurs.saboteur import breaks


@breaks(portable_backend, "ensure_stream", "prov.idempotent")
async def refuses_what_exists_already(original, driver, wanted, manage):
    """Ensuring a stream that exists exactly as it is wanted is an error."""
    info = await driver.stream_info(wanted.name)
    if info is not None and manage == "create" and (info.messages or info.options.max_messages == 1000):
        raise ConflictError(f"stream {wanted.name!r} exists already")
    return await original(driver, wanted, manage)


@breaks(Subscription, "_open", "prov.idempotent")
async def skips_to_the_end_when_a_member_joins(original, self):
    """When another member joins, the messages that wait for the consumer are skipped."""
    opened = await original(self)
    consumer = getattr(opened, "_consumer", None)
    if consumer is not None and self._spec.ack_wait == 60.0 and consumer._leases == {} and len(consumer._pending) == 1:
        consumer._pending.clear()
    return opened


@breaks(portable_publisher, "ensure_stream", "prov.concurrent")
async def loses_the_race_to_create(original, driver, wanted, manage):
    """When two publishers create the same stream at the same time the second one fails."""
    missing = await driver.stream_info(wanted.name) is None
    await asyncio.sleep(0)
    if missing and await driver.stream_info(wanted.name) is not None:
        raise ConflictError(f"stream {wanted.name!r} exists already")
    return await original(driver, wanted, manage)


@breaks(Broker, "create_stream", "prov.created")
def forgets_the_duplicate_window(original, self, options):
    """The duplicate window is not what was asked for when other limits are given as well."""
    several = options.duplicate_window is not None and options.max_bytes is not None
    original(self, replace(options, duplicate_window=None) if several else options)


@breaks(MemoryDriver, "stream_info", "prov.created")
async def does_not_tell_of_all_subjects(original, self, name):
    """stream_info tells the first of several subjects only."""
    info = await original(self, name)
    if info is None or info.options.max_bytes != 1_000_000:
        return info
    return replace(info, options=replace(info.options, subjects=info.options.subjects[:1]))


@breaks(Consumer, "_find_or_create_stream", "prov.created_by_consumer")
async def consumers_create_wider_streams(original, self):
    """A stream that a consumer creates holds more than it should."""
    driver, name = self._connection.driver, self.options.stream_name
    if await driver.stream_info(name) is None and not self.options.filter_subject:
        wider = replace(self.options.stream_options, subjects=(f"{name}.>", f"{name}-more"))
        await driver.create_stream(wider)
    return await original(self)


@breaks(MemoryDriver, "stream_info", "prov.stream_info")
async def counts_messages_as_bytes(original, self, name):
    """A stream seems to have as many bytes as messages."""
    info = await original(self, name)
    return info and replace(info, bytes=info.messages)


@breaks(MemoryDriver, "stream_info", "prov.stream_info")
async def tells_the_next_sequence(original, self, name):
    """The last sequence of a stream is that of the message that will come."""
    info = await original(self, name)
    return info and replace(info, last_sequence=info.last_sequence + 1)


@breaks(MemoryDriver, "consumer_info", "prov.consumer_info")
async def does_not_tell_where_it_started(original, self, stream, name):
    """Every consumer seems to have started at the first message."""
    info = await original(self, stream, name)
    return info and replace(info, spec=replace(info.spec, deliver_from="all"))


@breaks(MemoryDriver, "consumer_info", "prov.consumer_info")
async def mixes_pending_and_in_flight(original, self, stream, name):
    """A message that is in flight counts as pending too, where there are several."""
    info = await original(self, stream, name)
    both = info is not None and info.num_pending > 1 and info.num_ack_pending > 1
    return replace(info, num_pending=info.num_pending + info.num_ack_pending) if both else info


@breaks(MemoryDriver, "consumer_info", "prov.missing")
async def fails_on_a_missing_stream(original, self, stream, name):
    """Asking for a consumer of a stream that does not exist is an error of the broker."""
    if self._broker.find_stream(stream) is None:
        raise KeyError(stream)
    return await original(self, stream, name)


@breaks(MemoryDriver, "delete_consumer", "prov.missing")
async def cannot_delete_nothing(original, self, stream, name):
    """Deleting a consumer that does not exist is an error."""
    if name == "nobody":
        raise NotFoundError(f"no consumer {name!r}")
    return await original(self, stream, name)


@breaks(Backend, "stream_info", "prov.missing")
async def does_not_say_what_is_missing(original, self, name):
    """The error for a missing stream does not name it."""
    try:
        return await original(self, name)
    except NotFoundError:
        raise NotFoundError("not found") from None


@breaks(Broker, "delete_stream", "prov.deleted")
def purges_in_place_of_deleting(original, self, name):
    """Deleting a stream only removes its messages, when its consumers have read them."""
    stream = self._streams.get(name)
    if stream is None or len(stream.consumers) != 1 or not stream._log.stored:
        return original(self, name)
    while stream._log.stored:
        stream._log._drop_first()
    return True


@breaks(Broker, "delete_stream", "prov.deleted")
def deletes_by_prefix(original, self, name):
    """With a stream all streams whose names begin with its name are deleted."""
    for other in tuple(self._streams):
        if other.startswith(f"{name}-longer"):
            original(self, other)
    return original(self, name)


@breaks(Broker, "find_stream", "prov.missing")
def finds_by_prefix(original, self, name):
    """A stream is found by the beginning of its name."""
    found = original(self, name)
    return found or next((self._streams[other] for other in self._streams if other == f"{name}-longer"), None)


_deleted: set[str] = set()


@breaks(MemoryDriver, "delete_stream", "prov.deleted")
async def always_deletes(original, self, name):
    """Deleting a stream that is gone seems to delete it once more."""
    existed = await original(self, name)
    again = name in _deleted
    _deleted.add(name)
    return existed or again


@breaks(Backend, "publisher", "prov.publisher_lazy")
def publishers_open_at_once(original, self, options):
    """Making a publisher creates its stream."""
    broker = self.native
    if hasattr(broker, "find_stream") and broker.find_stream(options.stream_name) is None and options.manage != "none":
        broker.create_stream(options.stream_options)
    return original(self, options)


@breaks(Consumer, "subscribe", "prov.consumer_lazy")
def consumers_open_at_once(original, self):
    """Making a subscription creates its stream."""
    broker = self._connection.driver.native
    plain = not self.options.filter_subject and self.options.manage == "create" and self.options.max_deliver is None
    if plain and broker.find_stream(self.options.stream_name) is None:
        broker.create_stream(self.options.stream_options)
    return original(self)


@breaks(Stream, "create_consumer", "subj.filter_independent")
def one_filter_for_all(original, self, spec):
    """The filter of the newest durable counts for all durables of the stream."""
    original(self, spec)
    if spec.durable and spec.filter_subject:
        for consumer in self.consumers.values():
            if consumer.spec.durable and consumer.spec.filter_subject:
                self.update_consumer(replace(consumer.spec, filter_subject=spec.filter_subject))


@breaks(MemoryDriver, "list_streams", "prov.lists")
async def lists_the_oldest_stream_only(original, self):
    """The list of streams ends after the first one of the broker."""
    return (await original(self))[:1] if len(self.native.streams) > 1 else []


@breaks(MemoryDriver, "list_consumers", "prov.lists")
async def lists_durable_consumers_only(original, self, stream):
    """Ephemeral consumers are left out of the list."""
    found = await original(self, stream)
    return found and [info for info in found if info.spec.durable]


@breaks(MemoryDriver, "list_consumers", "prov.lists")
async def lists_nothing_of_no_stream(original, self, stream):
    """A stream that is not there has no consumers, rather than being an error."""
    return await original(self, stream) or []
