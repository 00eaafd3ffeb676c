"""How long the suite waits: three times that must not be confused."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Timing"]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """All in seconds."""

    cap: float = 10.0
    """How long a case waits for something that must happen; spent only when it does not."""
    short: float = 0.15
    """An ``ack_wait`` or delay that is quick and yet far from the noise of the scheduler; only lower bounds are
    asserted of it."""
    quiet: float = 0.05
    """How long something must not happen, where no later event can prove it."""
    case: float = 45.0
    """The longest that one case may take."""

    def scaled(self, factor: float) -> Timing:
        """All times *factor* times as long, for a slow machine."""
        return Timing(
            cap=self.cap * factor, short=self.short * factor, quiet=self.quiet * factor, case=self.case * factor
        )
