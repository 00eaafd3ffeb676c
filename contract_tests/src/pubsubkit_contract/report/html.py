"""A report as one web page that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from pubsubkit_contract.outcome import Outcome
from pubsubkit_contract.report.cells import case_row, code, escaped, group_row, proof_row, total_row
from pubsubkit_contract.report.summary import LABELS, SYMBOLS, title
from pubsubkit_contract.report.table import capabilities, claim, side_by_side
from pubsubkit_contract.report.verdicts import banner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit_contract.report.model import Report, Target
    from pubsubkit_contract.report.table import Row

__all__ = ["render"]

NARROW = 4
"""With more targets the tables scroll sideways."""

TOGGLE = "  .case:has(> .t{at} > details[open]) + .proof .t{at} {{ display: block; }}"


def render(report: Report) -> str:
    """*report* as an HTML page: style and script are in it, and it works without the script."""
    targets = report.targets
    tables = side_by_side(targets)
    page = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return page.substitute(
        title=escaped(f"Conformance to pubsubkit contract {report.suite.contract}"),
        meta=escaped(f"{report.time}, suite {report.suite.version}, Python {report.python}, {report.platform}"),
        verdicts="\n".join(banner(target) for target in targets),
        legend="\n".join(_legend(outcome) for outcome in Outcome),
        toggles="\n".join(TOGGLE.format(at=at) for at in range(len(targets))),
        width=f"{min(30, max(10, 56 // max(1, len(targets))))}%",
        wide=" wide" if len(targets) > NARROW else "",
        targets="".join(_heading(target) for target in targets),
        groups="\n".join([*(_group(name, rows, targets) for name, rows in tables.items()), total_row(targets)]),
        claims="\n".join(_claims(name, targets) for name in capabilities(targets)),
    )


def _legend(outcome: Outcome) -> str:
    return f'<li class="{outcome}"><b>{SYMBOLS[outcome]}</b> {LABELS[outcome]}</li>'


def _heading(target: Target) -> str:
    return f'<th scope="col">{escaped(target.name)}<small>{escaped(target.broker)}</small></th>'


def _group(name: str, rows: Sequence[Row], targets: Sequence[Target]) -> str:
    lines = [group_row(title(name), rows, len(targets))]
    for row in rows:
        lines += [case_row(row, targets), proof_row(row, targets)]
    return "\n".join(['<tbody class="members">', *lines, "</tbody>"])


def _claims(name: str, targets: Sequence[Target]) -> str:
    return f'<tr><th scope="row">{code(name)}</th>{"".join(_claim(name, target) for target in targets)}</tr>'


def _claim(name: str, target: Target) -> str:
    kind, words = claim(name, target)
    sign, _, word = words.partition(" ")
    return f'<td class="{kind}">{sign} <span class="word">{word}</span></td>'
