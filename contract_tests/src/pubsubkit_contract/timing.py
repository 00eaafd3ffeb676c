"""How long the suite waits: times that must not be confused."""

from __future__ import annotations

from dataclasses import asdict, dataclass

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
    reply: float = 0.4
    """The timeout of a publish to which no confirmation comes."""
    case: float = 45.0
    """The longest that one case may take."""

    def scaled(self, factor: float) -> Timing:
        """All times *factor* times as long, for a slow machine."""
        return Timing(**{name: seconds * factor for name, seconds in asdict(self).items()})
