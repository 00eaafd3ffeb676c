"""The spans of publishes that have not ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from opentelemetry.trace import Span

__all__ = ["Pending"]

_MOST = 16_384


class Pending:
    """Spans by what identifies their message; of the same key they end in their order.

    There are at most 16,384: whatever happens to a publish, its span ends, and at the latest when it is pushed out.
    """

    def __init__(self) -> None:
        self._spans: dict[Hashable, list[Span]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: Hashable, span: Span) -> None:
        """Keep *span* until it is taken."""
        if self._count >= _MOST and (oldest := self.take(next(iter(self._spans)))) is not None:
            oldest.end()
        self._spans.setdefault(key, []).append(span)
        self._count += 1

    def take(self, key: Hashable) -> Span | None:
        """Give out the first span of *key*; None when there is none."""
        spans = self._spans.get(key)
        if spans is None:
            return None
        span = spans.pop(0)
        if not spans:
            del self._spans[key]
        self._count -= 1
        return span
