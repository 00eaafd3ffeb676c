"""From the results of single cases to the report with its verdict."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pubsubkit_contract.case import CONTRACT_VERSION
from pubsubkit_contract.outcome import Outcome, Verdict
from pubsubkit_contract.report import html, markdown
from pubsubkit_contract.report.decode import decode
from pubsubkit_contract.report.model import CaseRecord, Package, Report, Suite, Target, to_json
from pubsubkit_contract.report.terminal import matrix
from pubsubkit_contract.runner import suite_version
from pubsubkit_contract.suite import ContractSuite, cases_of
from pubsubkit_contract.verdict import judge

if TYPE_CHECKING:
    from pathlib import Path

    from pubsubkit_contract.case import Case
    from pubsubkit_contract.runner import Result

__all__ = ["Collected", "case_record", "read_record"]

_GRAVITY = (Outcome.PASS, Outcome.NOT_APPLICABLE, Outcome.DEVIATION, Outcome.NOT_RUN, Outcome.FAIL)
"""Of several results of one case the gravest counts."""


def case_record(result: Result) -> CaseRecord:
    """What the report says of one case."""
    return _record(result.case, result.outcome, result.reason, result.evidence, result.seconds)


def read_record(value: str) -> tuple[str, CaseRecord]:
    """The name of the target and the record of the case, from what the plugin put into a test's report."""
    record = json.loads(value)
    return record["target"]["name"], decode(CaseRecord, record["case"])


class Collected:
    """The records of a run, target by target."""

    def __init__(self) -> None:
        self._targets: dict[tuple[str, str], dict[str, Any]] = {}
        self._cases: dict[tuple[str, str], dict[str, CaseRecord]] = {}

    def add(self, value: str) -> None:
        """Add the record of one case, as the plugin put it into the test's report."""
        record = json.loads(value)
        target = record["target"]
        key = (target["harness"], target["place"])
        self._targets[key] = target
        _, case = read_record(value)
        before = self._cases.setdefault(key, {}).setdefault(case.id, case)
        if _GRAVITY.index(case.outcome) > _GRAVITY.index(before.outcome):  # it was run again
            self._cases[key][case.id] = case

    def report(self) -> Report:
        """All targets with their verdicts."""
        return Report(
            suite=Suite(suite_version(), CONTRACT_VERSION),
            time=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            python=platform.python_version(),
            platform=platform.system(),
            targets=tuple(self._target(key) for key in self._targets),
        )

    def exit_code(self) -> int:
        """0 unless a verdict is other than that the backend conforms; a partial run needs at least one pass."""
        return int(any(not verdict_is_good(target) for target in self.report().targets))

    def show(self, terminal: Any) -> None:
        """Write the matrix and the verdict of each target to pytest's terminal."""
        for target in self.report().targets:
            terminal.section(f"pubsubkit contract {CONTRACT_VERSION}: {target.name}")
            terminal.write_line(matrix(target, colour=terminal.hasmarkup))

    def write(self, json_file: Path | None, html_file: Path | None = None, markdown_file: Path | None = None) -> None:
        """Write the report in each form that has a file."""
        report = self.report()
        forms = ((json_file, to_json), (html_file, html.render), (markdown_file, markdown.render))
        for path, render in forms:
            if path is not None:
                path.write_text(render(report), encoding="utf-8")

    def _target(self, key: tuple[str, str]) -> Target:
        known, cases = self._targets[key], dict(self._cases[key])
        name = known["name"]
        if [other["name"] for other in self._targets.values()].count(name) > 1:
            name += f" ({PurePath(known['place']).name})"
        expected = cases_of(ContractSuite)
        for hidden in known["overridden"]:
            if hidden not in cases or cases[hidden].outcome is not Outcome.FAIL:
                cases[hidden] = _record(
                    expected[hidden], Outcome.DEVIATION, f"replaced by a method of {known['suite']}"
                )
        order = {case_id: number for number, case_id in enumerate(expected)}
        rows = tuple(sorted(cases.values(), key=lambda case: order.get(case.id, len(order))))
        judged = judge(name, known["declared"], known["withheld"], rows, complete=expected.keys() <= cases.keys())
        return Target(
            name=name,
            **{field: known[field] for field in ("harness", "address", "broker", "seed")},
            backend=Package(**known["backend"]),
            declared=tuple(known["declared"]),
            withheld=tuple(known["withheld"]),
            proved=judged.proved,
            unproved=judged.unproved,
            verdict=judged.verdict,
            summary=judged.summary,
            cases=rows,
        )


def verdict_is_good(target: Target) -> bool:
    """Whether the exit code of a run may be 0: it conforms, or it was a part and some of that part passed."""
    if target.verdict is Verdict.PARTIAL:
        return any(case.outcome is Outcome.PASS for case in target.cases)
    return target.verdict is Verdict.CONFORMANT


def _record(
    case: Case, outcome: Outcome, reason: str, evidence: tuple[str, ...] = (), seconds: float = 0.0
) -> CaseRecord:
    return CaseRecord(
        id=case.id,
        rule=case.rule,
        why=case.why,
        level=case.level,
        since=case.since,
        needs=tuple(sorted(case.needs)),
        outcome=outcome,
        seconds=round(seconds, 3),
        reason=reason,
        evidence=evidence,
    )
