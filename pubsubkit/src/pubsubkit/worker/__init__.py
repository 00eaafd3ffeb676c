"""Workers: handlers of messages, with concurrency, order, retries, dead letters, shutdown and health."""

from pubsubkit.worker.policy import HandlerOptions, Policy, Retry
from pubsubkit.worker.state import HandlerHealth, WorkerHealth, WorkerState
from pubsubkit.worker.verdicts import Reject, RetryAfter
from pubsubkit.worker.worker import Worker

__all__ = [
    "HandlerHealth",
    "HandlerOptions",
    "Policy",
    "Reject",
    "Retry",
    "RetryAfter",
    "Worker",
    "WorkerHealth",
    "WorkerState",
]
