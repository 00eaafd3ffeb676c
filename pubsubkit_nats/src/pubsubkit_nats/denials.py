"""What the server refused for want of permission; it says so apart from the call that asked for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pubsubkit.errors import PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Denials"]

_ACK = "$js.ack."
_FIELDS = 9
"""With a domain and account two more tokens stand before the stream, as in :mod:`pubsubkit_nats.delivery`."""
_violation = re.compile(r'permissions violation for (publish|subscription) to "?([^\s"]+)', re.IGNORECASE).search


class Denials:
    """The subjects that were refused, in lower case, as nats-py reports them.

    A refused subscription stays refused on the present connection.  A publish was refused at that moment only: those
    who listen look it up, and it is forgotten.
    """

    def __init__(self) -> None:
        self._publish: set[str] = set()
        self._subscription: set[str] = set()
        self.listeners: set[Callable[[], None]] = set()
        """Called after each refusal."""

    def note(self, error: Exception | None) -> bool:
        """Take in an error of nats-py; False when it is not about permissions."""
        found = _violation(str(error))
        if not found:
            return False
        kind = self._publish if found[1].lower() == "publish" else self._subscription
        kind.add(_general(found[2].lower()))
        for listener in tuple(self.listeners):
            listener()
        self._publish.clear()
        return True

    def clear(self) -> None:
        """Begin anew with another connection."""
        self._subscription.clear()

    def of(self, subject: str, inbox: str) -> PermissionDeniedError | None:
        """The error, when publishing to *subject* or listening for the answers on *inbox* was refused."""
        if inbox.lower() in self._subscription:
            return PermissionDeniedError(
                f"this account may not subscribe to {inbox!r}; let the server's operator allow it, or set inbox_prefix"
            )
        if _general(subject.lower()) in self._publish:
            return PermissionDeniedError(
                f"this account may not publish to {subject!r}; let the server's operator allow it"
            )
        return None

    def of_verdicts(self, stream: str, consumer: str) -> PermissionDeniedError | None:
        """The error, when a verdict on a message of *consumer* was refused."""
        ending = f".{stream}.{consumer}.>".lower()
        if any(subject.startswith(_ACK) and subject.endswith(ending) for subject in self._publish):
            return PermissionDeniedError(
                f"this account may not publish to '$JS.ACK.{stream}.{consumer}.>', so no ack of consumer "
                f"{stream}/{consumer} counts and its messages come again; let the server's operator allow it"
            )
        return None


def _general(subject: str) -> str:
    """*subject*, or where it is that of one delivery, those of all of its consumer."""
    if not subject.startswith(_ACK):
        return subject
    fields = subject.split(".")
    return ".".join(fields[: 4 if len(fields) == _FIELDS else 6]) + ".>"
