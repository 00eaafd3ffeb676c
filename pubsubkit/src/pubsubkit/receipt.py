"""The broker's word that a message is stored."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PublishReceipt"]


class PublishReceipt(NamedTuple):
    """Where a published message is stored."""

    stream: str
    sequence: int
    duplicate: bool = False
    """The broker already had a message with this id and did not store another; *sequence* is the first one's."""
