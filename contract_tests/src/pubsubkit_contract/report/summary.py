"""The results of a target in words and in counts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pubsubkit_contract.outcome import Outcome
from pubsubkit_contract.report.model import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pubsubkit_contract.report.model import CaseRecord, Target

__all__ = ["LABELS", "SYMBOLS", "counts", "summarise", "title"]

LABELS = {
    Outcome.PASS: "passed",
    Outcome.FAIL: "failed",
    Outcome.DEVIATION: "deviated",
    Outcome.NOT_APPLICABLE: "not applicable",
    Outcome.NOT_RUN: "not run",
}
"""What is said of cases with an outcome."""

SYMBOLS = {
    Outcome.PASS: "✓",
    Outcome.FAIL: "✗",
    Outcome.DEVIATION: "≠",
    Outcome.NOT_APPLICABLE: "n/a",
    Outcome.NOT_RUN: "?",
}
"""The sign of each outcome, for those who see no colours."""


def title(group: str) -> str:
    """The title of *group*; its name when it has none."""
    return GROUPS.get(group, group)


def counts(cases: Iterable[CaseRecord]) -> dict[Outcome, int]:
    """How many *cases* came to each outcome, in the order of the outcomes, without those that did not occur."""
    found = Counter(case.outcome for case in cases)
    return {outcome: found[outcome] for outcome in Outcome if found[outcome]}


def summarise(target: Target, *, times: bool = True) -> str:
    """The verdict on *target* and its numbers in a line; without *times* it does not tell how long the run took."""
    numbers = ", ".join(f"{number} {LABELS[outcome]}" for outcome, number in counts(target.cases).items())
    took = f" in {target.seconds:.1f} s" if times else ""
    return f"{target.summary} ({numbers or 'no case'}{took})"
