"""The broker: streams by name, and the event loop that it works on."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from pubsubkit.errors import ConfigurationError, ConflictError, NotFoundError
from pubsubkit.options import check_wait
from pubsubkit.subjects import overlap
from pubsubkit_memory.index import SubjectIndex
from pubsubkit_memory.stream import Stream, check_same, effective
from pubsubkit_memory.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pubsubkit.driver import PublishReceipt
    from pubsubkit.options import StreamOptions

__all__ = ["Broker"]

_named: dict[str, Broker] = {}


class Broker:
    """A message broker in memory.

    Drivers attach to it while they are open, all from one event loop at a time.  Its contents stay when the last one
    has gone, but for ephemeral consumers, and go on under the next loop: a lease that ran out meanwhile is over then.

    :param name: for messages; :meth:`named` finds the shared broker of a name.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.timers: Timers = Timers()
        """The deadlines of all redeliveries."""
        self._streams: dict[str, Stream] = {}
        self._routes: SubjectIndex[Stream] = SubjectIndex()
        self._users: set[object] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._attaching = threading.Lock()

    def __repr__(self) -> str:
        return f"<Broker {self.address} streams={sorted(self._streams)}>"

    @classmethod
    def named(cls, name: str) -> Broker:
        """The broker that all ``memory://name`` of this process share; it lives as long as the process."""
        return _named.setdefault(name, cls(name))

    @property
    def address(self) -> str:
        """Its URL."""
        return f"memory://{self.name}"

    def attach(self, user: object) -> None:
        """Begin to use the broker from the running event loop.

        :raises ConfigurationError: somebody uses it from another loop that is not closed.
        """
        loop = asyncio.get_running_loop()
        with self._attaching:
            if self._users and self._loop is not loop:
                if self._loop is not None and not self._loop.is_closed():
                    raise ConfigurationError(
                        f"{self.address} is open in another event loop of this process: close it there first, "
                        "or give this loop a broker of another name"
                    )
                self._users.clear()
            if not self._users:
                self._begin(loop)
            self._users.add(user)

    def detach(self, user: object) -> None:
        """End what :meth:`attach` began; does nothing for one that is not attached."""
        with self._attaching:
            self._users.discard(user)
            if not self._users:
                self.timers.stop()
                self._loop = None

    def advance(self, seconds: float) -> None:
        """Put this broker's clock forward: of a test that does not want to wait.

        Redelivery after ``ack_wait`` and delays, ``max_age``, duplicate windows and timestamps go by it.  What falls
        due is delivered from the event loop's next turn on.

        :raises InvalidArgumentError: *seconds* is no number from 0 to 1e9.
        """
        check_wait("seconds", seconds)
        self.timers.advance(seconds)

    def clear(self) -> None:
        """Delete all streams."""
        for name in tuple(self._streams):
            self.delete_stream(name)

    def publish(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, message_id: str | None = None
    ) -> PublishReceipt:
        """Store a message in the stream that holds its subject.

        :raises NotFoundError: there is no such stream.
        :raises InvalidArgumentError: it is too large for the stream.
        :raises StreamFullError: the stream is full and discards new messages.
        """
        found = self._routes[subject]
        if not found:
            raise NotFoundError(f"no stream on {self.address} holds subject {subject!r}")
        return found[0].publish(subject, data, headers, message_id)

    def holder(self, subject: str) -> str:
        """The name of the stream that holds *subject*; empty when there is none."""
        found = self._routes[subject]
        return found[0].options.name if found else ""

    @property
    def streams(self) -> Sequence[str]:
        """The names of all streams."""
        return tuple(self._streams)

    def find_stream(self, name: str) -> Stream | None:
        """The stream, or None."""
        return self._streams.get(name)

    def stream(self, name: str) -> Stream:
        """The stream.

        :raises NotFoundError: there is none of that name.
        """
        try:
            return self._streams[name]
        except KeyError:
            raise NotFoundError(f"no stream {name!r} on {self.address}") from None

    def create_stream(self, options: StreamOptions) -> None:
        """Create a stream; the same one again is fine.

        :raises ConflictError: it exists with other options, or another stream holds some of its subjects.
        """
        options, found = effective(options), self._streams.get(options.name)
        if found is not None:
            check_same(f"stream {options.name!r}", options, found.options)
            return
        self._check_subjects(options)
        stream = self._streams[options.name] = Stream(options, self.timers)
        for subject in options.subjects:
            self._routes.add(subject, stream)

    def update_stream(self, options: StreamOptions) -> None:
        """Change a stream; there is one copy whatever ``replicas`` says.

        :raises NotFoundError: there is none of that name.
        :raises ConflictError: it has another storage, or another stream holds some of the new subjects.
        """
        stream = self.stream(options.name)
        have = stream.options
        check_same(f"stream {options.name!r}", replace(have, storage=options.storage), have)
        self._check_subjects(options)
        for subject in dict.fromkeys(have.subjects):
            self._routes.remove(subject, stream)
        stream.configure(effective(options))
        for subject in options.subjects:
            self._routes.add(subject, stream)

    def delete_stream(self, name: str) -> bool:
        """Delete a stream with its messages and consumers; False when there was none."""
        stream = self._streams.pop(name, None)
        if stream is None:
            return False
        for subject in dict.fromkeys(stream.options.subjects):
            self._routes.remove(subject, stream)
        for consumer in tuple(stream.consumers):
            stream.delete_consumer(consumer)
        return True

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Move to *loop*; who waited in another one is gone, and with it the ephemeral consumers."""
        self._loop = loop
        for stream in self._streams.values():
            for name, consumer in tuple(stream.consumers.items()):
                consumer.waiters.reset()
                if not consumer.spec.durable:
                    stream.delete_consumer(name)
        self.timers.start(loop)

    def _check_subjects(self, options: StreamOptions) -> None:
        for other in self._streams.values():
            for subject in options.subjects:
                taken = next((held for held in other.options.subjects if overlap(held, subject)), None)
                if taken is not None and other.options.name != options.name:
                    raise ConflictError(
                        f"stream {options.name!r} cannot hold {subject!r}: "
                        f"stream {other.options.name!r} holds {taken!r}, and a subject belongs to one stream"
                    )
