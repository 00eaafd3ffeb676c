"""The NATS JetStream backend of pubsubkit.

``connect("nats://…")`` finds it by itself; :func:`NatsBackend` builds a backend around a connection of your own.
"""

from pubsubkit_nats.driver import NatsBackend, NatsDriver
from pubsubkit_nats.settings import NatsOptions

__all__ = ["NatsBackend", "NatsDriver", "NatsOptions"]
