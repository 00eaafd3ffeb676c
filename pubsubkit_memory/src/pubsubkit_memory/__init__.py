"""The in-process backend of pubsubkit: a broker with JetStream's semantics that lives in this process's memory.

``connect("memory://")`` has a broker to itself, ``connect("memory://name")`` shares the one of that name.
"""

from __future__ import annotations

from pubsubkit_memory.broker import Broker
from pubsubkit_memory.driver import MemoryDriver, MemoryOptions

__all__ = ["Broker", "MemoryDriver", "MemoryOptions"]
