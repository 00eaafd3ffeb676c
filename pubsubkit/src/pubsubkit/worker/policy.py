"""How a handler's messages are read, run and tried again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from pubsubkit.errors import ConfigurationError
from pubsubkit.message import Message
from pubsubkit.options import LONGEST_SECONDS, ConsumerOptions, DeliverFrom, Manage, StreamOptions

__all__ = ["HandlerOptions", "Key", "Policy", "Retry"]

Key = Callable[[Message], Hashable]
"""Tells which messages belong together: equal keys are handled one after the other."""

_DELIVERIES = 5
_LONGEST_HANDLING = 3600.0
_LEAST_LEASE = 2


@dataclass(frozen=True, kw_only=True)
class Retry:
    """What becomes of a message whose handler raised.

    :param max_deliver: how often it is delivered at the most; None for 5 times where there is a ``dead_letter``, and
        for ever where there is none.  Beyond it the message is moved to the dead letters, or dropped without them.
    :param backoff: seconds before the second, third, … delivery; the last one serves all later ones.
    :param non_retryable: types of errors after which it is moved, or dropped, at once.
    :raises ConfigurationError: a field is of another kind.
    """

    max_deliver: int | None = None
    backoff: tuple[float, ...] = (1.0, 5.0, 30.0, 120.0)
    non_retryable: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        delays: object = self.backoff
        object.__setattr__(self, "backoff", tuple(delays) if isinstance(delays, Iterable) else (delays,))
        kinds: object = self.non_retryable
        if not (isinstance(kinds, tuple) and all(map(_is_error, kinds))):
            raise ConfigurationError(f"non_retryable={kinds!r}: expected a tuple of exception types")


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)


_RETRY = Retry()


class HandlerOptions(TypedDict, total=False):
    """The keywords of ``Worker.handler`` and ``Worker.add``: the fields of :class:`Policy`."""

    stream: str | StreamOptions
    subject: str
    durable: str
    concurrency: int
    key: Key | None
    timeout: float | None
    retry: Retry
    dead_letter: str
    on_malformed: Literal["reject", "retry"]
    ack_wait: float
    max_lease: float | None
    deliver_from: DeliverFrom
    manage: Manage


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How one handler's messages are read, run and tried again.  Times are in seconds.

    :param stream: the stream, or its options, by which it is created when it is missing.
    :param subject: which messages; empty for all of the stream.
    :param durable: the durable consumer's name, whose position outlives the worker; workers with the same name share
        its messages.  Empty: each run of the worker gets every message.
    :param concurrency: how many messages are handled at the same time, and the most that are taken from the broker.
    :param key: a function of the :class:`Message`: messages for which it returns the same are handled one after the
        other, in the order in which they were delivered.  None: all may be handled at the same time.
    :param timeout: after which a handler has failed.  An async one is cancelled; a sync one runs on in its thread and
        keeps its place until it ends.  None for no limit.
    :param retry: what becomes of a message whose handler raised.
    :param dead_letter: the stream for messages that could not be handled; created when it is missing, with the
        subjects ``{dead_letter}.>``.  It needs ``durable``.  Empty for none: they are dropped.
    :param on_malformed: what becomes of a message that cannot be decoded: ``"reject"`` moves it to the dead letters at
        once, or drops it without them; ``"retry"`` treats it as a failure of the handler, and needs
        ``retry.max_deliver`` or ``dead_letter``.
    :param ack_wait: after which the broker takes a worker that says nothing for dead.
    :param max_lease: for which a message stays with this worker, waiting for its key included; beyond it the message
        comes again although its handler still runs.  None: an hour, or as long as ``timeout`` makes possible.
    :param deliver_from: where a new consumer starts, as in :class:`ConsumerOptions`.
    :param manage: what may be done to stream and consumer, as in :class:`ConsumerOptions`.
    :raises ConfigurationError: a field is out of its range.
    :raises InvalidArgumentError: a field that :class:`ConsumerOptions` has as well is out of its range.
    """

    stream: str | StreamOptions = ""
    subject: str = ""
    durable: str = ""
    concurrency: int = 1
    key: Key | None = None
    timeout: float | None = None
    retry: Retry = _RETRY
    dead_letter: str = ""
    on_malformed: Literal["reject", "retry"] = "reject"
    ack_wait: float = 30.0
    max_lease: float | None = None
    deliver_from: DeliverFrom = "all"
    manage: Manage = "create"

    def __post_init__(self) -> None:
        problems = [f"{name}={getattr(self, name)!r}: expected {wanted}" for name, wanted in self._problems()]
        if problems:
            raise ConfigurationError("; ".join(problems))
        self.consumer_options(leases=True)

    def _problems(self) -> list[tuple[str, str]]:
        number: object = self.concurrency
        seconds: Any = self.timeout
        checks = {
            ("stream", "the name of a stream, or StreamOptions"): bool(self.stream)
            and isinstance(self.stream, str | StreamOptions),
            ("concurrency", "a whole number of at least 1"): type(number) is int and number >= 1,
            ("key", "a function of the message, or None"): self.key is None or callable(self.key),
            ("timeout", f"seconds above 0, at most {LONGEST_SECONDS:g}, or None"): seconds is None
            or (type(seconds) in {int, float} and 0 < seconds <= LONGEST_SECONDS),
            ("retry", "Retry(...)"): isinstance(self.retry, Retry),
            ("on_malformed", "'reject' or 'retry'"): self.on_malformed in {"reject", "retry"},
        }
        found = [what for what, good in checks.items() if not good]
        if not found and self.on_malformed == "retry" and self.max_deliver is None:
            found.append(("on_malformed", "'reject', or Retry(max_deliver=...) beside it"))
        return found

    @property
    def stream_name(self) -> str:
        """The stream's name."""
        return self.stream if isinstance(self.stream, str) else self.stream.name

    @property
    def max_deliver(self) -> int | None:
        """How often a message is delivered at the most; None for no limit."""
        given = self.retry.max_deliver
        return _DELIVERIES if given is None and self.dead_letter else given

    def consumer_options(self, *, leases: bool) -> ConsumerOptions:
        """Return the options of the consumer.

        :param leases: whether the backend can keep them.
        """
        return ConsumerOptions(
            stream_name=self.stream_name,
            stream=None if isinstance(self.stream, str) else self.stream,
            consumer_name=self.durable,
            filter_subject=self.subject,
            channel_buf_size=1,
            ack_wait=self.ack_wait,
            max_lease=self._longest_lease() if self.max_lease is None and leases else self.max_lease,
            max_deliver=self.max_deliver,
            dead_letter=self.dead_letter,
            backoff=self.retry.backoff,
            deliver_from=self.deliver_from,
            manage=self.manage,
        )

    def _longest_lease(self) -> float:
        """How long a message may be here: its own time, and that of all that may stand before it."""
        before = self.concurrency if self.key else 1
        handling = _LONGEST_HANDLING if self.timeout is None else self.timeout * before
        return min(LONGEST_SECONDS, max(_LEAST_LEASE * self.ack_wait, handling + self.ack_wait))


POLICY_FIELDS = frozenset(field.name for field in dataclasses.fields(Policy))
