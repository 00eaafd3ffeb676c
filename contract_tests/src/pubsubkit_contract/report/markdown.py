"""A report as Markdown: the matrix of groups and targets, the capabilities, and every case."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pubsubkit_contract.outcome import Outcome
from pubsubkit_contract.report.summary import SYMBOLS, counts, summarise, title
from pubsubkit_contract.report.table import capabilities, claim, side_by_side
from pubsubkit_contract.report.text import spans, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pubsubkit_contract.report.model import CaseRecord, Report, Target
    from pubsubkit_contract.report.table import Row

__all__ = ["render"]

SPECIAL = re.compile(r"[\\`*_{}\[\]<>|#~&!]")
CODE = re.compile(r"[\w.:/@-]+")

LEGEND = "✓ passed, ✗ failed, ≠ deviates as declared, ? not run, n/a not applicable: the capability is not claimed."


def render(report: Report, *, times: bool = False) -> str:
    """*report* as Markdown with a line break at the end.

    The same results give the same text: what differs from run to run (the date, durations, seeds) is there only with
    *times*.
    """
    sections = [
        "# Conformance",
        f"What was found with version {_plain(report.suite.version)} of the suite, on {_plain(report.platform)} with "
        f"Python {_plain(report.python)}" + (f", at {_plain(report.time)}." if times else "."),
        "\n".join(_verdict(target, times=times) for target in report.targets),
        f"## Results\n\n{LEGEND}\n\n{_results(report.targets)}",
        f"## Capabilities\n\nEmpty: not claimed.\n\n{_claims(report.targets)}",
        f"## Versions\n\n{_versions(report.targets, times=times)}",
        "## Cases",
        *(_group(name, rows, report.targets) for name, rows in side_by_side(report.targets).items()),
    ]
    return "\n\n".join(sections) + "\n"


def _verdict(target: Target, *, times: bool) -> str:
    return f"* **{target.verdict}**: {_plain(summarise(target, times=times))}."


def _results(targets: Sequence[Target]) -> str:
    rows: list[list[str]] = []
    for name, members in side_by_side(targets).items():
        cells = (_counted(row.cells[at] for row in members) for at in range(len(targets)))
        rows.append([_plain(title(name)), *cells])
    totals = [f"**{_counted(target.cases)}**" for target in targets]
    return _table(["Group", *_names(targets)], [*rows, ["**Total**", *totals]])


def _counted(cases: Iterable[CaseRecord | None]) -> str:
    found = counts(case for case in cases if case)
    if list(found) == [Outcome.NOT_APPLICABLE]:
        return SYMBOLS[Outcome.NOT_APPLICABLE]
    return " ".join(f"{number} {SYMBOLS[outcome]}" for outcome, number in found.items())


def _claims(targets: Sequence[Target]) -> str:
    rows = [[_code(name), *(claim(name, target)[1] for target in targets)] for name in capabilities(targets)]
    return _table(["Capability", *_names(targets)], rows)


def _versions(targets: Sequence[Target], *, times: bool) -> str:
    headings = ["Target", "Distribution", "Broker", "Harness", *(["Address", "Seed"] if times else [])]
    rows: list[list[str]] = []
    for target in targets:
        package = f"{_plain(target.backend.distribution)} {_plain(target.backend.version)}"
        row = [_plain(target.name), package, _plain(target.broker), _code(target.harness)]
        rows.append([*row, *([_code(target.address), str(target.seed)] if times else [])])
    return _table(headings, rows)


def _group(name: str, rows: Sequence[Row], targets: Sequence[Target]) -> str:
    table = _table(["Case", "Rule", "Level", *_names(targets)], [_case(row) for row in rows])
    return "\n\n".join([f"### {_plain(title(name))}", table, *_reasons(rows, targets)])


def _case(row: Row) -> list[str]:
    return [
        _code(row.case.id),
        _rule(row.case.rule),
        row.case.level,
        *(SYMBOLS[cell.outcome] if cell else "" for cell in row.cells),
    ]


def _rule(text: str) -> str:
    pieces = spans(" ".join(text.split()))
    return "".join(
        f"`{piece}`".replace("|", r"\|") if code else SPECIAL.sub(r"\\\g<0>", piece) for piece, code in pieces
    )


def _reasons(rows: Sequence[Row], targets: Sequence[Target]) -> Iterator[str]:
    lines = [
        f"* {_code(cell.id)} on {_plain(target.name)} {SYMBOLS[cell.outcome]}: {_plain(cell.reason)}"
        for row in rows
        for cell, target in zip(row.cells, targets, strict=True)
        if cell and cell.reason
    ]
    if lines:
        yield "\n".join(lines)


def _names(targets: Sequence[Target]) -> list[str]:
    return [_plain(target.name) for target in targets]


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`" if CODE.fullmatch(text) else _plain(text)


def _plain(text: str) -> str:
    """*text* on one line, with nothing in it that Markdown would take for its own."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(visible(text).split()))
