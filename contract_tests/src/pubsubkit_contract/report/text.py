"""Text of others made fit to be shown."""

from __future__ import annotations

import re

__all__ = ["spans", "visible"]

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
CODE = re.compile(r"``?([^`\n]+)``?")


def visible(text: str) -> str:
    """*text* with escapes for what is no text: control characters, changes of direction, lone surrogates.

    Line breaks and tabs stay.
    """
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def spans(text: str) -> list[tuple[str, bool]]:
    """*text*, made visible, in pieces; true with those that were between back-ticks."""
    return [(piece, at % 2 == 1) for at, piece in enumerate(CODE.split(visible(text))) if piece]
