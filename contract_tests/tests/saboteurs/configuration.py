"""Broken ways to treat what exists with another configuration."""

from dataclasses import replace

from pubsubkit import ConflictError, StreamOptions, provision
from pubsubkit import consumer as portable_consumer
from pubsubkit import publisher as portable_publisher
from pubsubkit_memory.broker import Broker
from pubsubkit_memory.consumer import Consumer
from pubsubkit_memory.stream import Stream
from saboteurs.saboteur import breaks


@breaks(portable_publisher, "ensure_stream", "prov.no_overwrite")
async def publishers_reset_the_stream(original, driver, wanted, manage):
    """A publisher gives an existing stream the options that it would create it with."""
    found = await original(driver, wanted, manage)
    if found.max_age is None or manage != "create":
        return found
    await driver.update_stream(wanted)
    return wanted


@breaks(portable_consumer.Consumer, "_find_or_create_stream", "prov.no_overwrite")
async def consumers_reset_the_stream(original, self):
    """A consumer with a filter narrows the stream to it."""
    found, wanted = await original(self), self.options.filter_subject
    if wanted and len(found.subjects) > 1:
        await self._connection.driver.update_stream(replace(found, subjects=(wanted,)))
    return found


@breaks(provision, "_stream_gaps", "prov.wider")
def wants_the_very_same(original, wanted, found):
    """A stream that holds more than was asked for is a conflict."""
    gaps = original(wanted, found)
    narrow = wanted.max_messages is None and "*" not in "".join(wanted.subjects) and ">" not in "".join(wanted.subjects)
    return gaps or (["subjects: more"] if narrow and wanted.subjects != found.subjects else [])


@breaks(provision, "_stream_gaps", "prov.conflict")
def takes_memory_for_files(original, wanted, found):
    """A stream in memory is taken where one in files was asked for."""
    return [gap for gap in original(wanted, found) if not gap.startswith("storage")]


@breaks(provision, "_stream_gaps", "prov.conflict")
def names_the_first_difference_only(original, wanted, found):
    """A conflict names one of the fields."""
    return original(wanted, found)[:1]


@breaks(provision, "_differences", "prov.conflict")
def ignores_limits_that_differ(original, wanted, found, fields):
    """A stream without the limits that were asked for is taken as it is."""
    return [] if isinstance(wanted, StreamOptions) and wanted.max_age == 500.0 else original(wanted, found, fields)


@breaks(provision, "_differences", "prov.conflict_consumer")
def ignores_max_in_flight(original, wanted, found, fields):
    """A durable with another max_in_flight is taken as it is."""
    return original(wanted, found, [name for name in fields if name != "max_in_flight"])


@breaks(portable_consumer, "ensure_consumer", "prov.conflict_consumer")
async def overwrites_the_consumer(original, driver, wanted, manage):
    """The last one that opens a durable decides about its options."""
    return await original(driver, wanted, "update" if manage == "create" else manage)


@breaks(portable_consumer, "ensure_consumer", "prov.conflict_consumer")
async def compares_the_start(original, driver, wanted, manage):
    """A durable that was created with another start is a conflict."""
    info = await driver.consumer_info(wanted.stream, wanted.name)
    if info is not None and wanted.deliver_from == "new" != info.spec.deliver_from:
        raise ConflictError("deliver_from differs")
    return await original(driver, wanted, manage)


@breaks(Broker, "_check_subjects", "prov.overlap")
def lets_streams_overlap(original, self, options):
    """Two streams may hold the same subject."""


@breaks(provision, "_widened", "prov.update")
def adds_no_subjects(original, wanted, found):
    """Widening puts the new subjects in the place of the old ones."""
    wider = original(wanted, found)
    return wider and replace(wider, subjects=wanted.subjects)


@breaks(Stream, "configure", "prov.update")
def empties_what_it_updates(original, self, options):
    """A stream that is updated loses its messages."""
    if len(options.subjects) > len(self.options.subjects):
        self._log.stored.clear()
    original(self, options)


@breaks(provision, "_widened", "prov.update_narrow")
def narrows_when_asked(original, wanted, found):
    """An update gives the stream what was asked for, be it less."""
    given = {name: getattr(wanted, name) for name in ("max_messages", "max_age", "max_bytes", "max_message_size")}
    wider = original(wanted, found)
    return wider and replace(wider, **{name: value for name, value in given.items() if value is not None})


@breaks(Stream, "update_consumer", "prov.update_consumer")
def starts_again_after_an_update(original, self, spec):
    """A consumer that is updated begins with the first message."""
    self.delete_consumer(spec.name)
    self.create_consumer(spec)


@breaks(Consumer, "_configure", "prov.update_consumer")
def only_tells_of_the_update(original, self):
    """The new options of a consumer are told and not followed."""
    if not hasattr(self, "_ack_wait"):
        original(self)


@breaks(Stream, "update_consumer", "prov.update_consumer")
def updates_nothing(original, self, spec):
    """Updating a consumer is confirmed and not done."""


@breaks(provision, "find_stream", "prov.off")
async def creates_all_the_same(original, driver, name):
    """Where nothing is to be created a missing stream is."""
    if await driver.stream_info(name) is None:
        await driver.create_stream(StreamOptions(name=name))
    return await original(driver, name)


@breaks(portable_consumer, "ensure_consumer", "prov.off")
async def creates_consumers_all_the_same(original, driver, wanted, manage):
    """Where nothing is to be created a missing consumer is."""
    return await original(driver, wanted, "create" if manage == "none" else manage)
