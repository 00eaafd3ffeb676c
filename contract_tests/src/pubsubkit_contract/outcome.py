"""The words of a result: what a case came to, how binding it is, and what is said of a backend in the end."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Level", "Outcome", "Verdict"]


class Outcome(StrEnum):
    """What a case came to."""

    PASS = "pass"  # noqa: S105
    """The backend kept the rule."""
    FAIL = "fail"
    """The backend broke the rule."""
    DEVIATION = "deviation"
    """The backend broke the rule as its harness says it does, with a reason and an issue."""
    NOT_APPLICABLE = "not_applicable"
    """The backend does not claim a capability that the rule is about."""
    NOT_RUN = "not_run"
    """Nothing is known: the harness has no knob, or the broker could not be had."""


class Level(StrEnum):
    """How binding a rule is."""

    MUST = "MUST"
    """Every conformant backend keeps it."""
    SHOULD = "SHOULD"
    """A backend may have a good reason not to keep it."""


class Verdict(StrEnum):
    """What a run says of a backend."""

    CONFORMANT = "conformant"
    """Every rule that applies was kept."""
    NOT_CONFORMANT = "not conformant"
    """A rule was broken."""
    INCOMPLETE = "incomplete"
    """No rule was broken, but some that apply could not be tried."""
    PARTIAL = "partial"
    """Only some of the cases were asked for."""
