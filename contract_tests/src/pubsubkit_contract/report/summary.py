"""The results of a target in words and in counts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pubsubkit_contract.outcome import Outcome, Verdict
from pubsubkit_contract.report.model import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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

NAMED = 8
"""At most so many names are listed in a line."""


def title(group: str) -> str:
    """The title of *group*; its name when it has none."""
    return GROUPS.get(group, group)


def counts(cases: Iterable[CaseRecord]) -> dict[Outcome, int]:
    """How many *cases* came to each outcome, in the order of the outcomes, without those that did not occur."""
    found = Counter(case.outcome for case in cases)
    return {outcome: found[outcome] for outcome in Outcome if found[outcome]}


def summarise(target: Target, contract: str = "", *, times: bool = True) -> str:
    """The verdict on *target* in a line: what it was found to be, by which version of the contract, and why.

    It names the cases that failed, and for an incomplete run what was missing.  Without *times* it does not tell how
    long the run took.
    """
    against = f"pubsubkit contract {contract}".rstrip()
    numbers = ", ".join(f"{number} {LABELS[outcome]}" for outcome, number in counts(target.cases).items())
    said = {
        Verdict.CONFORMANT: f"{target.name} conforms to {against}",
        Verdict.NOT_CONFORMANT: f"{target.name} does not conform to {against}",
        Verdict.INCOMPLETE: f"{target.name} was not fully tested against {against}",
        Verdict.PARTIAL: f"{target.name} was tried on a part of {against}",
    }[target.verdict]
    why = {Verdict.NOT_CONFORMANT: _broken(target), Verdict.INCOMPLETE: _missing(target)}.get(target.verdict, "")
    took = f" in {target.seconds:.1f} s" if times else ""
    return f"{said}: {numbers or 'no case'}{took}{why and '; '}{why}"


def _broken(target: Target) -> str:
    failed = [case.id for case in target.cases if case.outcome is Outcome.FAIL]
    return f"failed: {_listed(failed)}" if failed else _missing(target)


def _missing(target: Target) -> str:
    reasons: dict[str, list[str]] = {}
    for case in target.cases:
        if case.outcome is Outcome.NOT_RUN:
            reasons.setdefault(" ".join(case.reason.split()) or "not run", []).append(case.id)
    parts = [f"{reason} ({_listed(ids)})" for reason, ids in reasons.items()]
    if target.unproved:
        parts.append(f"not proved: {_listed(target.unproved)}")
    return f"missing: {'; '.join(parts)}" if parts else ""


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:NAMED])} and {more} more"
