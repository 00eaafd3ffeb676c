"""What is said of a backend in the end.

It conforms when every rule that applies was kept and every capability that it claims was proved by a case that passed.
What could not be tried makes the verdict incomplete: a skip is never a pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pubsubkit_contract.case import CONTRACT_VERSION
from pubsubkit_contract.outcome import Level, Outcome, Verdict
from pubsubkit_contract.proofs import PROOFS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pubsubkit_contract.report.model import CaseRecord

__all__ = ["Judgement", "judge"]

_NAMED = 12
"""At most so many cases are named in a line."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict with its grounds."""

    verdict: Verdict
    summary: str
    """One line, without the numbers."""
    proved: tuple[str, ...]
    """Claimed capabilities that a case has shown (:data:`PROOFS`), and of which no case failed."""
    unproved: tuple[str, ...]
    """Claimed capabilities of which that cannot be said."""


def judge(
    name: str, declared: Iterable[str], withheld: Iterable[str], cases: Sequence[CaseRecord], *, complete: bool
) -> Judgement:
    """Judge a backend by its cases.

    :param complete: whether every case of the contract is among *cases*.
    """
    claimed = sorted(set(declared) - set(withheld))
    broken = {
        need for case in cases if case.outcome is Outcome.FAIL and case.level is Level.MUST for need in case.needs
    }
    passed = {case.id for case in cases if case.outcome is Outcome.PASS}
    proved = tuple(each for each in claimed if each not in broken and not passed.isdisjoint(PROOFS.get(each, ())))
    unproved = tuple(each for each in claimed if each not in proved)
    verdict, why = _verdict(cases, unproved, complete=complete)
    text = {
        Verdict.CONFORMANT: f"{name} conforms to pubsubkit contract {CONTRACT_VERSION}",
        Verdict.NOT_CONFORMANT: f"{name} does NOT conform to pubsubkit contract {CONTRACT_VERSION}",
        Verdict.INCOMPLETE: f"{name}: INCOMPLETE, the verdict on pubsubkit contract {CONTRACT_VERSION} is open",
        Verdict.PARTIAL: f"{name}: only a part of pubsubkit contract {CONTRACT_VERSION} was run",
    }[verdict]
    return Judgement(verdict=verdict, summary=text + why, proved=proved, unproved=unproved)


def _verdict(cases: Sequence[CaseRecord], unproved: Sequence[str], *, complete: bool) -> tuple[Verdict, str]:
    binding = [case for case in cases if case.level is Level.MUST]
    failed = _ids(case for case in binding if case.outcome is Outcome.FAIL)
    not_run = _ids(case for case in binding if case.outcome is Outcome.NOT_RUN)
    untried = {need for case in cases if case.outcome is Outcome.NOT_RUN for need in case.needs}
    if failed:
        reasons = {case.reason for case in cases if case.outcome is Outcome.FAIL}
        same = len(failed) > 1 and len(reasons) == 1 and not any(case.outcome is Outcome.PASS for case in cases)
        return Verdict.NOT_CONFORMANT, f": {reasons.pop()}" if same else f": it breaks {_listed(failed)}"
    if not complete:
        passed = any(case.outcome is Outcome.PASS for case in cases)
        return Verdict.PARTIAL, "" if passed else ": no case passed"
    if not any(case.outcome is Outcome.PASS for case in cases):
        return Verdict.NOT_CONFORMANT, ": no case passed"
    if unshown := [each for each in unproved if each not in untried]:
        return Verdict.NOT_CONFORMANT, f": it claims {', '.join(unshown)}, and no case could prove that"
    if not_run:
        return Verdict.INCOMPLETE, f": {len(not_run)} cases could not be run: {_listed(not_run)}"
    deviations = _ids(case for case in cases if case.outcome is Outcome.DEVIATION)
    ignored = _ids(case for case in cases if case.level is not Level.MUST and case.outcome is Outcome.FAIL)
    but = f" EXCEPT for declared deviations: {_listed(deviations)}" if deviations else ""
    but += f"; it does not follow the advice of {_listed(ignored)}" if ignored else ""
    return Verdict.CONFORMANT, but


def _listed(ids: Sequence[str]) -> str:
    more = len(ids) - _NAMED
    return ", ".join(ids[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _ids(cases: Iterable[CaseRecord]) -> list[str]:
    return [case.id for case in cases]
