"""What the server says on the inbox of a pull instead of a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pubsubkit.errors import ConfigurationError, NotFoundError, PubSubError
from pubsubkit_nats.codec import header_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Status"]

_HEARTBEAT, _BAD_REQUEST = "100", "400"


class Status:
    """A status message: ``409 Exceeded MaxWaiting``, say.

    :param headers: of the message.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._code = headers.get("Status", "")
        self._description = headers.get("Description", "")
        unsent = headers.get("Nats-Pending-Messages")
        self.unsent: int | None = int(header_text(unsent)) if unsent else None
        """How many messages of the pull will not come; None when the server does not say."""

    @property
    def heartbeat(self) -> bool:
        """Whether it is a mere sign of life."""
        return self._code == _HEARTBEAT

    def failure(self, consumer: str) -> PubSubError | None:
        """The error, when asking again is of no use."""
        said, words = self._description.lower(), f"{self._code} {self._description}"
        if "consumer deleted" in said:
            return NotFoundError(f"consumer {consumer} was deleted")
        if "exceeded maxrequest" in said:
            return ConfigurationError(
                f"consumer {consumer} was made with a limit below what is asked of it: {words}; "
                "remove the limit, or lower channel_buf_size where it is about the batch"
            )
        if self._code == _BAD_REQUEST or "push" in said:
            return PubSubError(f"consumer {consumer} refuses pull requests: {words}")
        return None
