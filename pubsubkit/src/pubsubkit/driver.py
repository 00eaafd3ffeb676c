"""The interface between the portable layer and a backend: what the author of a backend writes.

An application never sees these classes: it holds :class:`~pubsubkit.Backend`, ``Publisher``, ``Subscription`` and
``Message``, which do once for all backends what every backend needs.  A driver is therefore small, and it

* **must not** check arguments: subjects, names, options and payload sizes are valid when they get here, but for
  the limits of a stream, which only its broker can keep, and the size of what ``send_now`` is offered;
* **must not** retry: raise, or return, the error and let :attr:`Driver.error_table` say which are transient;
* **must not** wrap errors: raise the native ones (or a ``PubSubError`` with a better message);
* **must not** call hooks, log deliveries, add headers or make message ids;
* **must not** guard against double settlement or use after close: the portable layer does;
* **must not** change what exists on the broker unless told to (``update_*``, ``delete_*``).

It **may** do at once, by ``send_now``, ``receive_now`` and ``settle_now``, what needs no waiting, such as writing a
message whose confirmation is awaited afterwards.  That spares a coroutine for each message; a loop that never waits
must let others run now and then, by declining.  A subclass or mixin that overrides the method loses the shortcut past
it; whoever patches an object or a class replaces both.

It **must** be safe to cancel at every ``await``: a cancelled :meth:`DriverSubscription.receive` leaves the message for
the next call.  All methods run in one event loop and may run concurrently.  Constructors do no I/O.
The texts of native errors are redacted; what the driver itself says of an address in a ``PubSubError`` is not.

A distribution registers its driver class under the URL scheme::

    [project.entry-points."pubsubkit.backends"]
    redis = "pubsubkit_redis:RedisDriver"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pubsubkit.errors import UnsupportedError
from pubsubkit.receipt import PublishReceipt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from pubsubkit.errors import PubSubError
    from pubsubkit.options import DeliverFrom, StreamOptions
    from pubsubkit.url import BackendURL

__all__ = [
    "API_VERSION",
    "Capability",
    "ConnectionState",
    "ConsumerInfo",
    "ConsumerSpec",
    "Delivery",
    "Driver",
    "DriverSubscription",
    "Finding",
    "MessageMetadata",
    "OutgoingMessage",
    "PublishReceipt",
    "Settlement",
    "StreamInfo",
    "Verdict",
]

API_VERSION = 1
"""The version of this interface; it changes when a driver would have to."""
_CLOCK_SECONDS = 1.0
_SHORT = {"send": "send_now", "receive": "receive_now", "settle": "settle_now"}


class Capability(StrEnum):
    """A promise that a backend may make.

    Where an application asks for one by name (a verdict, headers, a message id, a durable consumer, ``max_deliver``, a
    wildcard), what the backend does not claim raises ``UnsupportedError``; the others tell what to expect.
    """

    HISTORY = "history"
    """A consumer gets messages that were published before it existed."""
    DURABLE = "durable"
    """A named consumer resumes where it was."""
    SURVIVES_RESTART = "survives_restart"
    """Messages and positions in file storage outlive a clean restart of the broker."""
    SURVIVES_CRASH = "survives_crash"
    """Messages in file storage outlive the death of the broker's process."""
    ACK_WAIT = "ack_wait"
    """A message without a verdict is delivered again after ``ack_wait``."""
    NAK = "nak"
    """A nak has the message delivered again at once."""
    NAK_DELAY = "nak_delay"
    """A nak may say after how many seconds, and others are delivered meanwhile."""
    TERM = "term"
    """A terminated message is done, as after an ack."""
    IN_PROGRESS = "in_progress"
    """``ack_wait`` begins anew; makes sense, and can be proved, only with ``ACK_WAIT``."""
    CONFIRMED_ACK = "confirmed_ack"
    """``ack(confirm=True)`` returns when the broker has recorded the ack."""
    DELIVERY_COUNT = "delivery_count"
    """``num_delivered`` is right, also after a redelivery."""
    MAX_DELIVER = "max_deliver"
    """A message is delivered no more often than that."""
    MAX_IN_FLIGHT = "max_in_flight"
    """No more messages than that are without a verdict, over all members of the consumer."""
    COMPETE = "compete"
    """Several members of one durable share its messages; needs ``DURABLE``."""
    FANOUT = "fanout"
    """Each durable of a stream gets every message."""
    ORDERING = "ordering"
    """Messages of one publisher are first delivered in the order in which they were published."""
    WILDCARDS = "wildcards"
    """``filter_subject`` may hold ``*`` and ``>``; :func:`pubsubkit.subjects.matches` says what they mean."""
    HEADERS = "headers"
    """A message's headers arrive as they were published."""
    UNICODE_SUBJECTS = "unicode_subjects"
    """Subjects may hold any character of the grammar, and none is normalised."""
    DEDUPLICATION = "deduplication"
    """A message id is stored once within the stream's ``duplicate_window``."""
    CROSS_PROCESS = "cross_process"
    """Several processes reach the same broker by the same URL."""
    REMOTE = "remote"
    """The broker has an address of its own, so that the connection to it can break."""


class ConnectionState(StrEnum):
    """What a driver reports of its connection."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    """Lost; the driver is trying to connect again."""
    CLOSED = "closed"
    """Gone for good."""


class Finding(NamedTuple):
    """One line of a diagnosis."""

    check: str
    """What was looked at, in a word or two: ``clock``."""
    found: str
    """What it is like, without secrets."""
    advice: str = ""
    """What to do about it, where something is to be done or could be."""
    state: Literal["ok", "mend", "unchecked"] = "ok"
    """``mend`` when it must be changed, ``unchecked`` when it could not be found out."""

    @classmethod
    def of_clock(cls, before: datetime, told: datetime, after: datetime) -> Finding:
        """Return what there is to say of a broker's clock; off by more than a second is to be mended.

        :param told: the time it told; aware, as the others are.
        :param before: the time here before it was asked.
        :param after: the time here when its answer was in.
        """
        margin = (after - before).total_seconds() / 2
        off = (told - before).total_seconds() - margin
        found = f"the broker's is {abs(off):.3f} s {'ahead' if off > 0 else 'behind'} (within {margin:.3f} s)"
        if abs(off) - margin <= _CLOCK_SECONDS:
            return cls("clock", found)
        return cls("clock", found, "set both by NTP; start times and ages of messages are off by as much", "mend")


class OutgoingMessage(NamedTuple):
    """A message to publish; also what ``Publisher.publish_many`` takes, where a plain tuple does as well."""

    subject: str
    data: bytes
    headers: Mapping[str, str] | None = None
    """For a driver with those that :meth:`Driver.check_native` has let pass."""
    message_id: str | None = None
    """Stored once within the stream's duplicate window; None for no de-duplication."""


class MessageMetadata(NamedTuple):
    """What the broker says of one delivery."""

    num_delivered: int
    """How often the message was delivered by this consumer, this time included: 1 for the first."""
    timestamp: datetime
    """When the broker stored the message, in UTC; the same at every delivery."""
    subject: str
    stream: str
    consumer: str
    sequence: int
    """The message's number in its stream, from 1."""
    message_id: str | None = None


class Verdict(StrEnum):
    """What a consumer says of a delivery."""

    ACK = "ack"
    NAK = "nak"
    TERM = "term"
    IN_PROGRESS = "in_progress"


class Settlement(NamedTuple):
    """A verdict with what belongs to it."""

    verdict: Verdict
    delay: float = 0.0
    """For a nak: seconds before the redelivery."""
    reason: str = ""
    """For a term or a nak: why, in one line."""
    confirm: bool = False
    """For an ack: return only when the broker has recorded it."""
    error: str = ""
    """For a term or a nak: the type of the handler's error.  For dead letters, which a driver knows nothing of."""


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """A stream as it is on the broker."""

    options: StreamOptions
    messages: int
    bytes: int
    first_sequence: int
    last_sequence: int
    native: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """The whole configuration by the backend's own names, where it has such; ``options.native`` is empty."""


@dataclass(frozen=True, kw_only=True)
class ConsumerSpec:
    """A consumer as the broker keeps it; the fields are those of ``ConsumerOptions``.

    All have values, also those of capabilities that the driver does not claim: these it keeps, returns in
    :class:`ConsumerInfo`, and does not act on.
    """

    stream: str
    name: str
    """Given by the portable layer where ``durable`` is False."""
    durable: bool
    filter_subject: str
    """Empty for every message of the stream."""
    ack_wait: float
    max_deliver: int | None
    max_in_flight: int
    deliver_from: DeliverFrom
    native: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """Asked for only; what there is says :attr:`ConsumerInfo.native`."""


@dataclass(frozen=True, kw_only=True)
class ConsumerInfo:
    """A consumer as it is on the broker."""

    spec: ConsumerSpec
    num_pending: int
    """Messages that were never delivered yet."""
    num_ack_pending: int
    """Messages that were delivered and are not done: they have no verdict, or were given back and will come again."""
    num_redelivered: int | None = None
    """How many of these were delivered more than once; None where the broker does not say."""
    num_deliveries: int | None = None
    """How many deliveries there were so far, redeliveries included; None where the broker does not say."""
    native: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """As :attr:`StreamInfo.native`."""


class _Overridable:
    """A subclass that overrides a method does not inherit the shortcut past it."""

    __slots__ = ()

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        for method, shortcut in _SHORT.items():
            homes = [base for base in cls.__mro__ if method in vars(base) or shortcut in vars(base)]
            if homes and shortcut not in vars(homes[0]):
                setattr(cls, shortcut, vars(homes[-1])[shortcut])


class Delivery(_Overridable, ABC):
    """One delivery of one message, as the driver received it.  ``headers`` and ``metadata`` may be parsed lazily."""

    __slots__ = ()

    subject: str
    data: bytes

    @property
    @abstractmethod
    def key(self) -> object:
        """Hashable; the same for all deliveries of one message, such as its sequence number."""

    @property
    @abstractmethod
    def headers(self) -> Mapping[str, str]:
        """The publisher's headers only, without those that the broker or the driver added."""

    @property
    @abstractmethod
    def metadata(self) -> MessageMetadata:
        """What the broker says of this delivery."""

    @abstractmethod
    async def settle(self, settlement: Settlement) -> None:
        """Tell the broker; with ``confirm`` return when it has recorded it.

        Works as long as the driver is open, also after the subscription was closed.  It is no error when the message
        is gone meanwhile, pushed out by a limit of its stream.
        """

    def settle_now(self, settlement: Settlement) -> bool:  # noqa: ARG002 - for who overrides it
        """Do what :meth:`settle` does; False when nothing was done and it is to be called."""
        return False


class DriverSubscription(_Overridable, ABC):
    """One member of a consumer: asks the broker for messages and buffers them.

    It must never hold, or have asked for, more messages than its buffer has room for, must hand a message out with two
    thirds of its ``ack_wait`` left, however long it waited in the buffer, and must ask the broker again after a lost
    connection.
    """

    @abstractmethod
    async def receive(self) -> Delivery | None:
        """Wait for the next delivery; None once :meth:`aclose` has begun.

        It asks the broker for more only when it is called, so that a member which does not come back for more does
        not hoard.  Cancelling it loses nothing.  When the broker will send no more (the consumer was deleted, say)
        it raises: it never ends quietly and never waits for ever.
        """

    def receive_now(self) -> Delivery | None:
        """Return what :meth:`receive` would return without waiting; None when it is to be called."""
        return None

    @abstractmethod
    async def aclose(self, held: Sequence[Delivery]) -> None:
        """Stop asking, give back every delivery of *held* and then of the buffer, so that others get them at once and
        in order, and let all verdicts reach the broker.

        Called once; from its first step on, before anything is awaited, :meth:`receive` returns None, also where it is
        blocked.  Bounded in time, also when the broker is gone.  The portable layer deletes an ephemeral consumer.

        :param held: what :meth:`receive` returned and the application gave no verdict on; its calls of
            :meth:`Delivery.settle` are over.  Empty while the application drains: what it holds is settled afterwards.
        """

    async def flush(self) -> None:
        """Return when the broker has taken in all verdicts that reached it: what it tells afterwards knows of them.

        Called at the end of a drain, after :meth:`aclose` and the last verdict.  To be overridden by a driver whose
        :meth:`Delivery.settle` returns before that.
        """

    def limit(self, room: int) -> None:
        """From now on hold in the buffer, or have asked for, no more than *room* messages, however large the buffer.

        To be overridden by a driver that asks for several messages at a time: a worker says before each
        :meth:`receive` how many it has places for, in place of the single one for which it has subscribed.  What is on
        its way already may still come.
        """

    @property
    def consuming(self) -> bool:
        """Whether, as far as this side can tell, the broker is serving this member.

        To be overridden: False from when the consumer was deleted or the connection was lost.
        """
        return True


class Driver(_Overridable, ABC):
    """One connection to a broker."""

    API_VERSION: ClassVar[int]
    """The version of this interface that the class was written for: the number in :data:`API_VERSION` at that time."""
    OPTIONS: ClassVar[type[Any]]
    """A frozen dataclass of :func:`pubsubkit.params.param` fields: the parameters of the URL."""
    MODIFIERS: ClassVar[frozenset[str]] = frozenset()
    """What may follow the scheme: ``frozenset({"tls"})`` allows ``scheme+tls://``."""
    HARNESS: ClassVar[str] = ""
    """``package.module:Class`` of the contract harness for its URLs, which ``pytest --pubsubkit-contract=URL`` takes;
    empty to run the contract on the URL alone."""

    capabilities: frozenset[Capability]
    error_table: Mapping[type[Exception], type[PubSubError]]
    """Native exception → portable class; the nearest base class in the table counts, what is not in it becomes a
    plain ``PubSubError``.  ``TransientError`` marks what the portable layer may try again."""
    address: str
    """The broker for messages and logs, without secrets."""
    max_payload: int
    """The largest message in bytes, headers included; valid once open."""

    @classmethod
    @abstractmethod
    def from_url(cls, url: BackendURL, options: Any) -> Self:
        """Make a driver from a parsed URL and an instance of :attr:`OPTIONS`.

        What is wrong with them it raises as ``url.fail(["what is wrong", ...])``.  :attr:`capabilities` and
        :attr:`address` are valid from here on.
        """

    @property
    @abstractmethod
    def native(self) -> object:
        """The client library's own connection, for what the portable API does not offer."""

    @abstractmethod
    async def open(self, on_state: Callable[[ConnectionState, Exception | None], None]) -> None:
        """Connect, or raise within the connect timeout.

        *on_state* is to be called when the connection is lost afterwards (``DISCONNECTED``), is there again
        (``CONNECTED``), or is gone for good (``CLOSED``); the portable layer reports opening and closing itself.
        Called once; after a failure :meth:`aclose` is called.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Release everything; all subscriptions are closed already.  Also called when :meth:`open` failed."""

    @abstractmethod
    async def ping(self) -> None:
        """Make one round trip to the broker, or raise."""

    async def diagnose(self) -> Sequence[Finding]:
        """Look at the broker and the connection for ``pubsubkit doctor``, without changing anything.

        To be overridden where there is something to tell that the portable layer cannot find out: versions of client
        and server, what is switched on, limits and how near they are, encryption, and as ``clock`` how far the
        broker's clock is off.  What the broker does not let it see is ``unchecked``, not an error.
        """
        return ()

    def check_native(self, kind: Literal["stream", "consumer", "message"], settings: Mapping[str, Any]) -> None:
        """Look at native settings before anything is sent: of the options, or the native headers of a message.

        To be overridden by a driver that takes some.

        :raises UnsupportedError: the backend, or the broker's version, has no such settings.
        :raises InvalidArgumentError: a portable option says the same, or they are known to be wrong.
        """
        raise UnsupportedError(
            f"{self.address} has no native settings of a {kind}: {', '.join(map(str, settings))}; leave out native="
        )

    @abstractmethod
    async def stream_info(self, name: str) -> StreamInfo | None:
        """The stream with its options as they are on the broker, its defaults filled in; None when there is none."""

    async def list_streams(self) -> Sequence[StreamInfo]:
        """All streams, in any order.  To be overridden by a driver that can tell."""
        raise UnsupportedError(f"{self.address} cannot tell which streams it has")

    async def list_consumers(self, stream: str) -> Sequence[ConsumerInfo] | None:
        """All consumers of a stream, in any order; None when there is no such stream.

        To be overridden by a driver that can tell.
        """
        raise UnsupportedError(f"{self.address} cannot tell which consumers stream {stream!r} has")

    @abstractmethod
    async def create_stream(self, options: StreamOptions) -> None:
        """Create it; when it exists with the same options do nothing, with others raise ``ConflictError``.

        A subject belongs to one stream: one that overlaps a stream of another name is a ``ConflictError`` too.  There
        is no capability for limits, so each must be kept to the message: ``max_messages``, ``max_bytes`` and
        ``max_age``, with both ways to ``discard``, and ``max_message_size``.
        """

    @abstractmethod
    async def update_stream(self, options: StreamOptions) -> None:
        """Give the existing stream these options, and leave alone what ``StreamOptions`` cannot express.

        They are never narrower than what :meth:`stream_info` returned.  Native settings that are, because messages
        would be lost, are a ``ConflictError``.
        """

    @abstractmethod
    async def delete_stream(self, name: str) -> bool:
        """Delete it with its messages and consumers; False when there was none."""

    @abstractmethod
    async def consumer_info(self, stream: str, name: str) -> ConsumerInfo | None:
        """The consumer, or None when there is none."""

    @abstractmethod
    async def create_consumer(self, spec: ConsumerSpec) -> None:
        """Create it; when it exists with the same spec do nothing, with another raise ``ConflictError``.

        ``deliver_from="last"`` is the last message that ``filter_subject`` selects.
        """

    @abstractmethod
    async def update_consumer(self, spec: ConsumerSpec) -> None:
        """Give the existing consumer this spec, all but ``deliver_from``; its position, and what is to be delivered
        again, stay.
        """

    @abstractmethod
    async def delete_consumer(self, stream: str, name: str) -> bool:
        """Delete it; False when there was none."""

    @abstractmethod
    async def send(self, messages: Sequence[OutgoingMessage], timeout: float) -> Sequence[PublishReceipt | Exception]:
        """Store *messages* in their order and return one outcome for each: its receipt, or the error.

        Returns within *timeout* seconds exactly one outcome for each message; what was not confirmed by then gets a
        transient error.  Calls that start one after the other are stored one after the other.  It may raise when the
        same error befell all of them.  A message for which its stream has no room is a ``StreamFullError``, one
        over ``max_message_size`` an ``InvalidArgumentError``, one whose subject no stream holds a ``NotFoundError``.
        """

    def send_now(
        self,
        subject: str,  # noqa: ARG002 - for who overrides it
        data: bytes,  # noqa: ARG002
        timeout: float,  # noqa: ARG002
    ) -> PublishReceipt | Awaitable[Sequence[PublishReceipt | Exception]] | None:
        """Store one message of data alone and return its receipt, or hand it to the broker and return an awaitable of
        what :meth:`send` would return.

        None when nothing was done and :meth:`send` is to be called, as for data larger than :attr:`max_payload`, which
        is not checked before.  It may raise the error of the message.
        """
        return None

    @abstractmethod
    async def subscribe(self, spec: ConsumerSpec, buffer: int) -> DriverSubscription:
        """Join the existing consumer *spec* as a member with a buffer of *buffer* messages.

        It is active on return: what is published from then on is delivered.  When there is no such stream or consumer
        raise ``NotFoundError``.
        """
