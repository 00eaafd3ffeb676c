"""What an application says of its streams, publishers and consumers.

All options are frozen, keyword-only and checked on construction; all problems of one object come in one
:class:`InvalidArgumentError`.  Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from pubsubkit.errors import InvalidArgumentError
from pubsubkit.native import check_settings
from pubsubkit.retry import Backoff
from pubsubkit.subjects import check_filter, check_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "LONGEST_SECONDS",
    "ConsumerOptions",
    "DeliverFrom",
    "Manage",
    "PublisherOptions",
    "Storage",
    "StreamOptions",
    "check_names",
    "check_wait",
]

DeliverFrom = Literal["all", "new", "last"] | int | datetime
"""Where a new consumer starts: at the first message stored, after the last one, at the last one, at a sequence
number (from 1), or at the first message stored at or after an aware datetime."""

Manage = Literal["create", "update", "none"]
"""What opening may do to the broker: create what is missing, also widen what exists, or nothing at all."""


_BACKOFF = Backoff()
LONGEST_SECONDS = 1e9
"""The longest time that an option or a delay may be, about 30 years; more does not fit into a broker's nanoseconds."""


class Storage(StrEnum):
    """Where a stream keeps its messages."""

    MEMORY = "memory"
    """In the broker's memory: gone when the broker stops."""
    FILE = "file"
    """On the broker's disk: there again after a restart."""


class _Problems:
    """Collects what is wrong with one options object."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def check(self, good: bool, text: str) -> None:
        if not good:
            self.found.append(text)

    def call(self, name: str, check: Callable[[Any], object], value: object) -> None:
        try:
            check(value)
        except InvalidArgumentError as error:
            self.found.append(f"{name}: {error}")

    def name(self, field: str, value: object) -> None:
        good = isinstance(value, str) and re.fullmatch(r"[^\s.*>/\\\x00-\x1f\x7f]{1,255}", value) is not None
        self.check(good, f"{field}={value!r}: expected a name without blanks and . * > / \\")

    def seconds(self, **values: object) -> None:
        for field, value in values.items():
            good = _number(value) and 0 < value <= LONGEST_SECONDS
            self.check(good, f"{field}={value!r}: expected seconds above 0, at most {LONGEST_SECONDS:g}")

    def whole(self, lowest: int, **values: object) -> None:
        for field, value in values.items():
            good = isinstance(value, int) and not isinstance(value, bool) and lowest <= value < 2**63
            self.check(good, f"{field}={value!r}: expected a whole number of at least {lowest}")

    def kind(self, field: str, value: object, wanted: type) -> None:
        self.check(isinstance(value, wanted), f"{field}={value!r}: expected {wanted.__name__}")

    def one_of(self, field: str, value: object, allowed: Sequence[str]) -> None:
        self.check(value in allowed, f"{field}={value!r}: expected one of {', '.join(allowed)}")

    def report(self, options: object) -> None:
        if self.found:
            raise InvalidArgumentError(f"bad {type(options).__name__}: " + "; ".join(self.found))


def check_names(**names: str) -> None:
    """Check the names of streams and consumers.

    :raises InvalidArgumentError: one is no name.
    """
    problems = _Problems()
    for field, name in names.items():
        problems.name(field, name)
    if problems.found:
        raise InvalidArgumentError("; ".join(problems.found))


def check_wait(name: str, seconds: float) -> None:
    """Check a time to wait, of which 0 is one.

    :raises InvalidArgumentError: *seconds* is no number from 0 to :data:`LONGEST_SECONDS`.
    """
    if not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_SECONDS:
        raise InvalidArgumentError(f"{name} {seconds!r}: expected seconds from 0 to {LONGEST_SECONDS:g}")


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e300


def _given(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    r"""A stream: which subjects it holds, where, and for how long.

    Retention is by limits: a message stays until a limit pushes it out, whether it was consumed or not.  What only
    one backend has, other kinds of retention among it, is asked for by ``native``.

    :param name: letters, digits, ``-``, ``_`` and the like; no blanks and none of ``. * > / \``.
    :param subjects: filters of the subjects it holds; ``("{name}.>",)`` when empty.
    :param storage: memory or file; fixed for the life of the stream.
    :param max_messages: how many messages it keeps; None for no limit.
    :param max_bytes: how many bytes it keeps; None for no limit.
    :param max_age: seconds a message is kept; None for no limit.
    :param max_message_size: the largest message in bytes, headers included; None for the broker's own limit.
    :param duplicate_window: seconds in which a message id is stored once only; None for the broker's default, 120.
    :param replicas: copies in a cluster.
    :param discard: at a limit, ``"old"`` drops the oldest message and ``"new"`` refuses the new one.
    :param native: settings of the backend's own, by its own names, such as ``{"compression": "s2"}`` for NATS; a
        backend without any refuses them.
    :raises InvalidArgumentError: a field is out of its range.
    """

    name: str
    subjects: tuple[str, ...] = ()
    storage: Storage = Storage.MEMORY
    max_messages: int | None = None
    max_bytes: int | None = None
    max_age: float | None = None
    max_message_size: int | None = None
    duplicate_window: float | None = None
    replicas: int = 1
    discard: Literal["old", "new"] = "old"
    native: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any], hash=False)

    def __post_init__(self) -> None:
        problems = _Problems()
        problems.name("name", self.name)
        given: object = self.subjects
        subjects = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
        object.__setattr__(self, "subjects", subjects or (f"{self.name}.>",))
        for subject in self.subjects:
            problems.call("subjects", check_filter, subject)
        _coerce_storage(self, problems)
        limits = {"max_messages": self.max_messages, "max_bytes": self.max_bytes}
        problems.whole(1, replicas=self.replicas, **_given(**limits, max_message_size=self.max_message_size))
        problems.seconds(**_given(max_age=self.max_age, duplicate_window=self.duplicate_window))
        problems.one_of("discard", self.discard, ("old", "new"))
        _copy_native(self, problems)
        problems.report(self)
        if self.max_age is not None and self.duplicate_window is not None:
            problems.check(self.duplicate_window <= self.max_age, "duplicate_window is longer than max_age")
            problems.report(self)


@dataclass(frozen=True, kw_only=True)
class PublisherOptions:
    """A publisher into one stream, which is created on opening when it is missing.

    :param stream_name: the stream; short for ``stream=StreamOptions(name=…, subjects=…, storage=…)``.
    :param subject_prefix: put with a dot before every subject that is published; the stream then holds
        ``{subject_prefix}.>``, else ``{stream_name}.>``.
    :param retry_attempts: how many times a publish is tried again after a :class:`TransientError`; 0 = none.  All
        attempts carry one message id, so that the broker stores the message once.
    :param storage: where a missing stream is created.
    :param on_publish: called once per publish with the full subject, the error or None, and the latency in seconds.
        It must not block; what it raises is logged.
    :param stream: the stream with all its limits, in place of ``stream_name`` and ``storage``.
    :param manage: what opening may do to the stream.
    :param timeout: seconds that one attempt waits for the broker's confirmation.
    :param retry_backoff: the waits between attempts.
    :param window: how many messages of ``publish_soon`` and ``publish_many`` may wait for confirmation.
    :raises InvalidArgumentError: a field is out of its range.
    """

    stream_name: str = ""
    subject_prefix: str = ""
    retry_attempts: int = 0
    storage: Storage = Storage.MEMORY
    on_publish: Callable[[str, BaseException | None, float], object] | None = None
    stream: StreamOptions | None = None
    manage: Manage = "create"
    timeout: float = 5.0
    retry_backoff: Backoff = _BACKOFF
    window: int = 256

    def __post_init__(self) -> None:
        problems = _Problems()
        _resolve_stream(self, problems)
        if self.subject_prefix != "":
            problems.call("subject_prefix", check_subject, self.subject_prefix)
        problems.whole(0, retry_attempts=self.retry_attempts)
        problems.whole(1, window=self.window)
        problems.seconds(timeout=self.timeout)
        problems.kind("retry_backoff", self.retry_backoff, Backoff)
        problems.one_of("manage", self.manage, ("create", "update", "none"))
        plain = callable(self.on_publish) and not inspect.iscoroutinefunction(self.on_publish)
        problems.check(self.on_publish is None or plain, "on_publish: expected a plain function, not async")
        problems.report(self)

    @property
    def stream_options(self) -> StreamOptions:
        """The stream this publisher needs, with what ``stream_name`` and ``storage`` are short for spelt out."""
        space = self.subject_prefix or self.stream_name
        return self.stream or StreamOptions(name=self.stream_name, subjects=(f"{space}.>",), storage=self.storage)


@dataclass(frozen=True, kw_only=True)
class ConsumerOptions:
    """A consumer of one stream.

    :param stream_name: the stream; created with the subjects ``{stream_name}.>`` when it is missing, else unchanged.
    :param consumer_name: the durable consumer's name: its position outlives every connection, and all who use the
        name share its messages.  Empty for an ephemeral consumer, which leaves nothing behind.
    :param filter_subject: which messages; empty for all of the stream.
    :param channel_buf_size: the most messages that wait in the local buffer or are on their way to it.
    :param storage: where a missing stream is created.
    :param stream: the stream with all its limits, in place of ``stream_name`` and ``storage``.
    :param ack_wait: seconds after which a message without a verdict is delivered again.
    :param max_lease: seconds for which a message that was handed out stays its handler's: it is reported to be in
        progress before ``ack_wait`` runs out, again and again.  None: it is not, and comes again after ``ack_wait``.
    :param max_deliver: how often a message is delivered at the most; None for no limit.
    :param dead_letter: the stream to which a message is moved that was delivered ``max_deliver`` times without an ack,
        or terminated; created with the subjects ``{dead_letter}.>`` when it is missing.  It needs ``max_deliver`` and
        ``consumer_name``, and nothing is fetched ahead, as if ``channel_buf_size`` were 1.  Empty for none.
    :param backoff: seconds that a plain ``nak()`` waits before the first, second, … redelivery; the last one serves
        all later ones.  Empty: at once.
    :param deliver_from: where a new consumer starts; one that exists goes on where it was.
    :param max_in_flight: the most messages without a verdict, over all members of the consumer.
    :param manage: what opening may do to the stream and the consumer.
    :param native: settings of the backend's own for the consumer, by its own names, such as
        ``{"metadata": {"team": "billing"}}`` for NATS; a backend without any refuses them.
    :raises InvalidArgumentError: a field is out of its range.
    """

    stream_name: str = ""
    consumer_name: str = ""
    filter_subject: str = ""
    channel_buf_size: int = 100
    storage: Storage = Storage.MEMORY
    stream: StreamOptions | None = None
    ack_wait: float = 30.0
    max_lease: float | None = None
    max_deliver: int | None = None
    dead_letter: str = ""
    backoff: tuple[float, ...] = ()
    deliver_from: DeliverFrom = "all"
    max_in_flight: int = 1000
    manage: Manage = "create"
    native: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any], hash=False)

    def __post_init__(self) -> None:
        problems = _Problems()
        _resolve_stream(self, problems)
        if self.consumer_name != "":
            problems.name("consumer_name", self.consumer_name)
        if self.filter_subject != "":
            problems.call("filter_subject", check_filter, self.filter_subject)
        problems.whole(1, channel_buf_size=self.channel_buf_size, max_in_flight=self.max_in_flight)
        problems.whole(1, **_given(max_deliver=self.max_deliver))
        problems.seconds(ack_wait=self.ack_wait)
        _check_lease(self, problems)
        _check_dead_letter(self, problems)
        _check_backoff(self, problems)
        problems.one_of("manage", self.manage, ("create", "update", "none"))
        _check_deliver_from(self.deliver_from, problems)
        _copy_native(self, problems)
        problems.report(self)

    @property
    def stream_options(self) -> StreamOptions:
        """The stream that is created when it is missing."""
        return self.stream or StreamOptions(name=self.stream_name, storage=self.storage)


def _coerce_storage(options: StreamOptions | PublisherOptions | ConsumerOptions, problems: _Problems) -> None:
    try:
        object.__setattr__(options, "storage", Storage(options.storage))
    except ValueError:
        problems.one_of("storage", options.storage, tuple(Storage))


def _copy_native(options: StreamOptions | ConsumerOptions, problems: _Problems) -> None:
    problems.call("native", lambda given: object.__setattr__(options, "native", check_settings(given)), options.native)


def _resolve_stream(options: PublisherOptions | ConsumerOptions, problems: _Problems) -> None:
    _coerce_storage(options, problems)
    given: object = options.stream
    if given is None:
        problems.name("stream_name", options.stream_name)
    elif isinstance(given, StreamOptions):
        same = options.stream_name in ("", given.name)
        problems.check(same, f"stream_name={options.stream_name!r} and stream={given.name!r} differ; give one")
        object.__setattr__(options, "stream_name", given.name)
        stored = options.storage in (Storage.MEMORY, given.storage)
        problems.check(stored, f"storage={str(options.storage)!r} is not that of stream=; give it there alone")
    elif isinstance(given, str):
        problems.found.append(f"stream={given!r}: expected StreamOptions; the name alone is stream_name={given!r}")
    else:
        problems.kind("stream", given, StreamOptions)


def _check_lease(options: ConsumerOptions, problems: _Problems) -> None:
    most: object = options.max_lease
    if most is not None:
        problems.seconds(max_lease=most)
        longer = not (_number(most) and _number(options.ack_wait)) or most > options.ack_wait
        problems.check(longer, f"max_lease={most!r}: expected more than ack_wait, which is {options.ack_wait!r}")


def _check_dead_letter(options: ConsumerOptions, problems: _Problems) -> None:
    if options.dead_letter == "":
        return
    problems.name("dead_letter", options.dead_letter)
    other = options.dead_letter != options.stream_name
    problems.check(other, f"dead_letter={options.dead_letter!r}: expected another stream than the consumer's")
    problems.check(options.max_deliver is not None, "dead_letter needs max_deliver: after how many deliveries")
    problems.check(options.consumer_name != "", "dead_letter needs a consumer_name: only a durable consumer counts on")


def _check_backoff(options: ConsumerOptions, problems: _Problems) -> None:
    given: object = options.backoff
    delays = tuple(given) if isinstance(given, Iterable) else (given,)
    object.__setattr__(options, "backoff", delays)
    good = all(_number(delay) and 0 <= delay <= LONGEST_SECONDS for delay in delays)
    problems.check(good, f"backoff={given!r}: expected seconds from 0 to {LONGEST_SECONDS:g}")


def _check_deliver_from(value: object, problems: _Problems) -> None:
    if isinstance(value, datetime):
        problems.check(value.tzinfo is not None, f"deliver_from={value!r}: expected a datetime with a time zone")
    elif isinstance(value, str):
        problems.one_of("deliver_from", value, ("all", "new", "last"))
    else:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        problems.check(good, f"deliver_from={value!r}: expected all, new, last, a sequence from 1 or a datetime")
