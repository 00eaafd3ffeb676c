"""What a handler raises to say more than that it failed."""

from __future__ import annotations

from pubsubkit.options import check_wait

__all__ = ["Reject", "RetryAfter"]


class Reject(Exception):  # noqa: N818 - a verdict, not a fault
    """The message can never be handled: move it to the dead letters at once, or drop it where there are none.

    Raised ``from`` another error, that one's type is told as the dead letter's error.

    :param reason: one line for who looks at the dead letter.
    """

    __module__ = "pubsubkit"

    def __init__(self, reason: str = "rejected by the handler") -> None:
        super().__init__(reason)


class RetryAfter(Exception):  # noqa: N818 - a verdict, not a fault
    """The message cannot be handled now: deliver it again after *seconds*, in place of the policy's backoff.

    It counts as a delivery.

    :param reason: one line for the log, and for the dead letter when this was the last delivery.
    :raises InvalidArgumentError: *seconds* is no number from 0 to 1e9.
    """

    __module__ = "pubsubkit"

    def __init__(self, seconds: float, reason: str = "") -> None:
        check_wait("delay", seconds)
        super().__init__(reason or f"to be tried again after {seconds:g} s")
        self.seconds = seconds
