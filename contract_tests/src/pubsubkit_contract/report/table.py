"""The cases of several targets side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pubsubkit_contract.outcome import Outcome
from pubsubkit_contract.report.model import grouped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pubsubkit_contract.report.model import CaseRecord, Target

__all__ = ["Row", "capabilities", "claim", "side_by_side", "worst"]

GRAVITY = (Outcome.FAIL, Outcome.DEVIATION, Outcome.NOT_RUN, Outcome.PASS, Outcome.NOT_APPLICABLE)


@dataclass(frozen=True)
class Row:
    """One case, and what it came to on each target."""

    case: CaseRecord
    """The first record of it, for what is the same on all."""
    cells: tuple[CaseRecord | None, ...]
    """One for each target; ``None`` where the target has no such case."""


def side_by_side(targets: Sequence[Target]) -> dict[str, list[Row]]:
    """The rows of each group, in the order of the groups."""
    found = [{case.id: case for case in target.cases} for target in targets]
    first = {case.id: case for cases in reversed(found) for case in cases.values()}
    order = dict.fromkeys(name for cases in found for name in cases)
    rows = {name: Row(first[name], tuple(cases.get(name) for cases in found)) for name in order}
    groups = grouped(first[name] for name in order)
    return {group: [rows[case.id] for case in cases] for group, cases in groups.items()}


def worst(cases: Iterable[CaseRecord]) -> Outcome | None:
    """The gravest outcome among *cases*."""
    return min((case.outcome for case in cases), key=GRAVITY.index, default=None)


def capabilities(targets: Iterable[Target]) -> list[str]:
    """Every capability that one of *targets* claims, sorted."""
    return sorted({name for target in targets for name in (*target.declared, *target.withheld)})


def claim(name: str, target: Target) -> tuple[Outcome | str, str]:
    """How *target* stands to the capability *name*: the outcome whose colours it takes, then a sign and a word."""
    if name in target.withheld:
        return Outcome.NOT_APPLICABLE, "- withheld"
    if name in target.proved:
        return Outcome.PASS, "✓ proved"
    if name in target.declared:
        return Outcome.DEVIATION, "✗ not proved"
    return "", ""
