"""Broken ways to begin."""

from dataclasses import replace
from datetime import UTC

from pubsubkit import ConflictError
from pubsubkit import consumer as portable_consumer
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_memory.log import Log
from saboteurs.saboteur import breaks


@breaks(MemoryDriver, "create_consumer", "dur.from_new")
async def starts_durables_at_the_beginning(original, self, spec):
    """Durable consumers start at the first message instead of at new ones."""
    everything = replace(spec, deliver_from="all") if spec.durable and spec.deliver_from == "new" else spec
    await original(self, everything)


@breaks(Log, "start", "dur.from_last", "dur.from_last_filtered")
def takes_last_for_new(original, self, where, pattern):
    """Starting at last is starting at new."""
    return original(self, "new" if where == "last" else where, pattern)


@breaks(Log, "start", "dur.from_last")
def starts_one_after_the_last(original, self, where, pattern):
    """Without a filter last is what comes after the last message."""
    return original(self, where, pattern) + (where == "last" and pattern == ">")


@breaks(Log, "start", "dur.from_last_filtered")
def takes_the_last_of_all(original, self, where, pattern):
    """Last is the last message of the stream, whatever the filter selects."""
    return original(self, where, ">" if where == "last" else pattern)


@breaks(Log, "start", "dur.from_sequence")
def starts_after_the_sequence(original, self, where, pattern):
    """A consumer that starts at a sequence above 2 begins with the next one."""
    return original(self, where, pattern) + (isinstance(where, int) and where > 2)


@breaks(Log, "start", "dur.from_sequence")
def counts_sequences_from_zero(original, self, where, pattern):
    """A consumer that starts at a sequence begins with the one before."""
    return original(self, where, pattern) - isinstance(where, int)


@breaks(Log, "start", "dur.from_time")
def drops_the_time_zone(original, self, where, pattern):
    """The hours of a start are taken for hours in UTC."""
    return original(self, where if isinstance(where, str | int) else where.replace(tzinfo=UTC), pattern)


@breaks(Log, "start", "dur.from_time")
def starts_after_the_time(original, self, where, pattern):
    """A consumer that starts at a time leaves out what was stored at that very time."""
    return original(self, where, pattern) + (not isinstance(where, str | int))


@breaks(portable_consumer, "ensure_consumer", "dur.from_existing")
async def starts_afresh_where_asked(original, driver, wanted, manage):
    """A durable consumer that started elsewhere than at the sequence asked is deleted, and created as asked."""
    found = await driver.consumer_info(wanted.stream, wanted.name)
    if found is not None and isinstance(wanted.deliver_from, int) and found.spec.deliver_from != wanted.deliver_from:
        await driver.delete_consumer(wanted.stream, wanted.name)
    return await original(driver, wanted, manage)


@breaks(portable_consumer, "ensure_consumer", "dur.from_existing")
async def refuses_another_start(original, driver, wanted, manage):
    """A durable consumer that started elsewhere cannot be opened."""
    found = await driver.consumer_info(wanted.stream, wanted.name)
    if found is not None and found.spec.deliver_from != wanted.deliver_from:
        raise ConflictError("it started elsewhere")
    return await original(driver, wanted, manage)
