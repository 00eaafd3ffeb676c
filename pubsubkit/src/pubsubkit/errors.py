"""Every error that pubsubkit raises, one tree.

::

    PubSubError
    ├── InvalidArgumentError (also ValueError)   a subject, payload, header or option that no backend accepts
    ├── ConfigurationError                       a bad URL, unknown scheme or option, a broken backend or plugin
    ├── DecodeError (also ValueError)            a received message does not hold what it should
    │   └── MalformedEventError                  it is no valid CloudEvent
    ├── NotFoundError                            no such stream, consumer or stream for the subject
    ├── PermissionDeniedError                    wrong credentials, or not allowed to do this
    ├── UnsupportedError                         the backend does not have this capability
    ├── ConflictError                            a stream or consumer exists with another configuration
    ├── StreamFullError                          the stream has reached a limit and discards new messages
    ├── TransientError                           connection lost, timeout, no leader: safe to try again
    ├── PublishBatchError                        some messages of a batch were not stored
    └── ClosedError                              you closed it

A backend's own exception is never raised to the caller: it is the ``__cause__`` of one of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit.receipt import PublishReceipt

__all__ = [
    "ClosedError",
    "ConfigurationError",
    "ConflictError",
    "DecodeError",
    "InvalidArgumentError",
    "MalformedEventError",
    "NotFoundError",
    "PermissionDeniedError",
    "PubSubError",
    "PublishBatchError",
    "StreamFullError",
    "TransientError",
    "UnsupportedError",
]


class PubSubError(Exception):
    """Base of every error of pubsubkit; raised itself only for a backend failure that fits no other class."""


class InvalidArgumentError(PubSubError, ValueError):
    """A subject, payload, header or option that no backend accepts; nothing was sent."""


class ConfigurationError(PubSubError):
    """The URL, its options, an installed backend or the server's set-up is wrong; the message says what to change."""


class DecodeError(PubSubError, ValueError):
    """A received message does not hold what it should; delivering it again changes nothing, so ``term`` it.

    The text does not show the data; the ``__cause__`` may.
    """


class MalformedEventError(DecodeError):
    """A received message is no valid CloudEvent."""


class NotFoundError(PubSubError):
    """The stream or consumer does not exist, or no stream holds the subject."""


class PermissionDeniedError(PubSubError):
    """The broker refused the credentials, or they do not allow this operation."""


class UnsupportedError(PubSubError):
    """The backend does not have this capability, ``Backend.capabilities`` says what it has; or no such native setting,
    or only in a later version, which the message names.
    """


class ConflictError(PubSubError):
    """A stream or consumer exists with a configuration that differs from the one asked for.

    The message has a line ``field: is -> wanted`` for each difference.  Nothing was changed.  For a publish: the stream
    is not as a native header expects, and nothing was stored.
    """


class StreamFullError(PubSubError):
    """The stream has reached one of its limits and is set to discard new messages; the message was not stored."""


class TransientError(PubSubError):
    """The connection was lost, the broker did not answer in time, or it has no leader at the moment.

    Trying again is safe.  For a publish the outcome is unknown: the message may have been stored,
    so try again with the same message id (``retry_attempts`` does that for you).
    """


class ClosedError(PubSubError):
    """The backend, publisher, consumer or subscription was closed by you before this call."""


class PublishBatchError(PubSubError):
    """Some messages of ``publish_many`` or ``publish_soon`` were not stored.

    ``outcomes`` has one entry for each message that was attempted, in the order of publishing:
    its :class:`PublishReceipt` when it was stored, else the error.  Messages of the iterable beyond
    ``len(outcomes)`` were not attempted.
    """

    def __init__(self, outcomes: Sequence[PublishReceipt | PubSubError]) -> None:
        self.outcomes: tuple[PublishReceipt | PubSubError, ...] = tuple(outcomes)
        failed = self.failed
        first = next(iter(failed.items()), None)
        detail = f"; the first, at index {first[0]}: {first[1]}" if first else ""
        super().__init__(f"{len(failed)} of {len(self.outcomes)} messages were not confirmed as stored{detail}")

    def __reduce__(self) -> tuple[type[PublishBatchError], tuple[Sequence[PublishReceipt | PubSubError]]]:
        return type(self), (self.outcomes,)

    @property
    def failed(self) -> dict[int, PubSubError]:
        """The messages that were not confirmed as stored: index in ``outcomes`` → error."""
        return {i: outcome for i, outcome in enumerate(self.outcomes) if isinstance(outcome, PubSubError)}

    @property
    def stored(self) -> dict[int, PublishReceipt]:
        """The messages that were stored: index in ``outcomes`` → receipt."""
        return {i: outcome for i, outcome in enumerate(self.outcomes) if not isinstance(outcome, PubSubError)}
