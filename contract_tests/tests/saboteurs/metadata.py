"""Metadata that are not true."""

from datetime import UTC, datetime, timedelta, timezone

from pubsubkit_memory.consumer import Consumer
from pubsubkit_memory.delivery import MemoryDelivery
from saboteurs.saboteur import breaks


@breaks(MemoryDelivery, "metadata", "meta.fields")
def names_another_stream(original, self):
    """Metadata say something else for the stream."""
    return original(self)._replace(stream="stream")


@breaks(MemoryDelivery, "metadata", "meta.fields")
def invents_a_message_id(original, self):
    """A message that was published without an id seems to have one."""
    return original(self)._replace(message_id=self.message.message_id or "none")


@breaks(MemoryDelivery, "metadata", "meta.consumer")
def forgets_names_of_durables(original, self):
    """A durable called second is known by the name of the first."""
    found = original(self)
    return found._replace(consumer="first") if found.consumer == "second" else found


@breaks(MemoryDelivery, "metadata", "meta.sequence")
def counts_what_the_filter_selects(original, self):
    """The sequence counts the messages that a filtered consumer gets."""
    found = original(self)
    if not self._owner.spec.filter_subject.endswith(".mine"):
        return found
    stored = self._owner._log.stored.values()
    return found._replace(sequence=sum(each.subject == self.subject for each in stored if each.sequence <= self.key))


@breaks(MemoryDelivery, "metadata", "meta.sequence_shared")
def counts_for_each_consumer(original, self):
    """An ephemeral consumer without a filter numbers its messages in its own way."""
    found, spec = original(self), self._owner.spec
    own = not spec.durable and not spec.filter_subject and spec.deliver_from == "all" and found.subject.endswith(".x")
    return found._replace(sequence=found.sequence + hash(spec.name) % 1000) if own else found


@breaks(MemoryDelivery, "metadata", "meta.timestamp")
def tells_local_time(original, self):
    """The time is right, but not in UTC."""
    found = original(self)
    return found._replace(timestamp=found.timestamp.astimezone(timezone(timedelta(hours=2))))


@breaks(MemoryDelivery, "metadata", "meta.timestamp")
def is_hours_off(original, self):
    """Local time is taken for UTC."""
    found = original(self)
    return found._replace(timestamp=found.timestamp + timedelta(hours=2))


@breaks(Consumer, "_lease", "meta.timestamp_stored")
def tells_the_time_of_the_first_delivery(original, self, message, count):
    """The time is that of the first delivery."""
    if count == 1:
        message.timestamp = datetime.now(UTC)
    return original(self, message, count)


@breaks(Consumer, "_lease", "meta.timestamp_stable")
def tells_the_time_of_the_redelivery(original, self, message, count):
    """A redelivery has its own time."""
    if count > 1:
        message.timestamp = datetime.now(UTC)
    return original(self, message, count)


@breaks(MemoryDelivery, "metadata", "meta.timestamp_stable")
def forgets_the_id_of_redeliveries(original, self):
    """A redelivery has no message id."""
    found = original(self)
    return found._replace(message_id=None) if found.num_delivered > 1 else found
