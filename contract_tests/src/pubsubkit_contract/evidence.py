"""What a case observed, for the failure message and the report."""

from __future__ import annotations

from collections import deque

from pubsubkit.redaction import redact

__all__ = ["Evidence"]

_KEPT = 30


class Evidence:
    """Lines of text in their order; of many the first and the last are kept."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=_KEPT)
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def note(self, text: str) -> None:
        """Add a line."""
        text = redact(text)
        self._count += 1
        if len(self._first) < _KEPT:
            self._first.append(text)
        else:
            self._last.append(text)

    def lines(self) -> list[str]:
        """What is kept, with a line that says how many are not."""
        dropped = self._count - len(self._first) - len(self._last)
        return [*self._first, *([f"… {dropped} more …"] if dropped else []), *self._last]
