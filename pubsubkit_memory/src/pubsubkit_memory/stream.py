"""A stream: its log and the consumers that read it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from pubsubkit.driver import PublishReceipt, StreamInfo
from pubsubkit.errors import ConflictError, NotFoundError
from pubsubkit_memory.consumer import Consumer
from pubsubkit_memory.index import SubjectIndex
from pubsubkit_memory.log import DEFAULT_WINDOW, Log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pubsubkit.driver import ConsumerSpec
    from pubsubkit.options import StreamOptions
    from pubsubkit_memory.timers import Timers

__all__ = ["Stream", "check_same", "effective"]

# Takes half as long as the constructor that NamedTuple makes.
_new = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def effective(options: StreamOptions) -> StreamOptions:
    """*options* with the default spelt out: a window of 120 seconds, or ``max_age`` when that is shorter."""
    if options.duplicate_window is not None:
        return options
    return replace(options, duplicate_window=min(DEFAULT_WINDOW, options.max_age or DEFAULT_WINDOW))


def check_same(what: str, wanted: StreamOptions | ConsumerSpec, found: StreamOptions | ConsumerSpec) -> None:
    """Compare two configurations of one kind.

    :raises ConflictError: they differ; the message lists each difference.
    """
    pairs = ((field.name, getattr(wanted, field.name), getattr(found, field.name)) for field in fields(wanted))
    different = [f"{name}: {have!r} -> {want!r}" for name, want, have in pairs if want != have]
    if different:
        raise ConflictError(f"{what} exists with another configuration: {'; '.join(different)}")


class Stream:
    """Stores messages and offers each to the consumers whose filter selects it."""

    __slots__ = ("_index", "_log", "_name", "_timers", "consumers", "options")

    def __init__(self, options: StreamOptions, timers: Timers) -> None:
        self.options: StreamOptions = options
        self.consumers: dict[str, Consumer] = {}
        """By name."""
        self._name = options.name
        self._timers = timers
        self._log = Log(options, timers)
        self._index: SubjectIndex[Consumer] = SubjectIndex()

    def publish(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None, message_id: str | None
    ) -> PublishReceipt:
        """Store a message.

        :raises InvalidArgumentError: it is too large for this stream.
        :raises StreamFullError: the stream is full and discards new messages.
        """
        if message_id is not None:
            first = self._log.find_duplicate(message_id)
            if first is not None:
                return PublishReceipt(self._name, first, duplicate=True)
        sequence = self._log.append(subject, data, headers, message_id)
        for consumer in self._index[subject]:
            consumer.offer(sequence)
        return _new(PublishReceipt, (self._name, sequence, False))

    def info(self) -> StreamInfo:
        """Options and contents, as of now."""
        log = self._log
        log.expire()
        return StreamInfo(
            options=self.options,
            messages=len(log.stored),
            bytes=log.bytes,
            first_sequence=log.first if log.last else 0,
            last_sequence=log.last,
        )

    def configure(self, options: StreamOptions) -> None:
        """Change the options; what is over a new limit is dropped."""
        self.options = options
        self._log.configure(options)

    def create_consumer(self, spec: ConsumerSpec) -> None:
        """Create a consumer; the same one again is fine.

        :raises ConflictError: it exists with another spec.
        """
        found = self.consumers.get(spec.name)
        if found is not None:
            check_same(f"consumer {spec.stream}/{spec.name}", spec, found.spec)
            return
        consumer = self.consumers[spec.name] = Consumer(spec, self._log, self._timers)
        self._index.add(consumer.pattern, consumer)

    def update_consumer(self, spec: ConsumerSpec) -> None:
        """Change a consumer, all but where it started.

        :raises NotFoundError: there is none of that name.
        """
        consumer = self.consumer(spec.name)
        self._index.remove(consumer.pattern, consumer)
        consumer.update(replace(spec, deliver_from=consumer.spec.deliver_from))
        self._index.add(consumer.pattern, consumer)

    def delete_consumer(self, name: str) -> bool:
        """Delete a consumer; False when there was none."""
        consumer = self.consumers.pop(name, None)
        if consumer is None:
            return False
        self._index.remove(consumer.pattern, consumer)
        consumer.delete()
        return True

    def consumer(self, name: str) -> Consumer:
        """The consumer of that name.

        :raises NotFoundError: there is none.
        """
        try:
            return self.consumers[name]
        except KeyError:
            raise NotFoundError(f"no consumer {self._name}/{name}") from None
