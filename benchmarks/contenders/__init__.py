"""The contenders of ``rivals.py``: a module for each library, registered by path and name."""

from contenders import bare, faststream, in_process, nats_jetstream, nats_py, natsrpy, ours
from contenders.work import ACK_PENDING, CONTENDERS, Work

__all__ = [
    "ACK_PENDING",
    "CONTENDERS",
    "Work",
    "bare",
    "faststream",
    "in_process",
    "nats_jetstream",
    "nats_py",
    "natsrpy",
    "ours",
]
