"""Publish and subscribe with the backend chosen by a URL, and every backend held to the same promises.

::

    async with connect("memory://") as backend:
        async with backend.publisher(PublisherOptions(stream_name="orders")) as publisher:
            await publisher.publish("orders.created", b"{}")
        consumer = backend.consumer(ConsumerOptions(stream_name="orders", consumer_name="billing"))
        async with consumer, consumer.subscribe() as subscription:
            async for message in subscription:
                await message.ack()
"""

from typing import TYPE_CHECKING

from pubsubkit.backend import Backend, Health, connect, open_backend
from pubsubkit.consumer import Consumer
from pubsubkit.driver import (
    Capability,
    ConnectionState,
    ConsumerInfo,
    MessageMetadata,
    OutgoingMessage,
    PublishReceipt,
    StreamInfo,
    Verdict,
)
from pubsubkit.errors import (
    ClosedError,
    ConfigurationError,
    ConflictError,
    DecodeError,
    InvalidArgumentError,
    MalformedEventError,
    NotFoundError,
    PermissionDeniedError,
    PublishBatchError,
    PubSubError,
    StreamFullError,
    TransientError,
    UnsupportedError,
)
from pubsubkit.message import Message
from pubsubkit.options import ConsumerOptions, PublisherOptions, Storage, StreamOptions
from pubsubkit.publisher import Publisher
from pubsubkit.registry import register_backend
from pubsubkit.retry import Backoff
from pubsubkit.subscription import Subscription

if TYPE_CHECKING:
    from pubsubkit.worker import Reject, Retry, RetryAfter, Worker, WorkerHealth, WorkerState

__all__ = [
    "Backend",
    "Backoff",
    "Capability",
    "ClosedError",
    "ConfigurationError",
    "ConflictError",
    "ConnectionState",
    "Consumer",
    "ConsumerInfo",
    "ConsumerOptions",
    "DecodeError",
    "Health",
    "InvalidArgumentError",
    "MalformedEventError",
    "Message",
    "MessageMetadata",
    "NotFoundError",
    "OutgoingMessage",
    "PermissionDeniedError",
    "PubSubError",
    "PublishBatchError",
    "PublishReceipt",
    "Publisher",
    "PublisherOptions",
    "Reject",
    "Retry",
    "RetryAfter",
    "Storage",
    "StreamFullError",
    "StreamInfo",
    "StreamOptions",
    "Subscription",
    "TransientError",
    "UnsupportedError",
    "Verdict",
    "Worker",
    "WorkerHealth",
    "WorkerState",
    "connect",
    "open_backend",
    "register_backend",
]


def __getattr__(name: str) -> object:
    """Import the worker when it is asked for: who only publishes need not wait for it."""
    if name in {"Reject", "Retry", "RetryAfter", "Worker", "WorkerHealth", "WorkerState"}:
        from pubsubkit import worker

        return getattr(worker, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
