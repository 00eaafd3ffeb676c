"""The rows of the matrix on the page: groups, cases, and what was observed."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pubsubkit_contract.outcome import Level, Outcome
from pubsubkit_contract.report.summary import LABELS, SYMBOLS, counts
from pubsubkit_contract.report.table import worst
from pubsubkit_contract.report.text import spans, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pubsubkit_contract.report.model import CaseRecord, Target
    from pubsubkit_contract.report.table import Row

__all__ = ["case_row", "code", "escaped", "group_row", "proof_row", "prose", "total_row"]


def escaped(text: str) -> str:
    """*text* as HTML; nothing in it is markup."""
    return escape(visible(text))


def code(text: str) -> str:
    """*text* as code."""
    return f"<code>{escaped(text)}</code>"


def prose(text: str) -> str:
    """*text*, with code where it has back-ticks."""
    return "".join(code(piece) if is_code else escaped(piece) for piece, is_code in spans(text))


def group_row(name: str, rows: Sequence[Row], targets: int) -> str:
    """The row of a group: what its *rows* came to on each of so many *targets*; folded out when one failed."""
    failed = any(cell and cell.outcome is Outcome.FAIL for row in rows for cell in row.cells)
    number = f"{len(rows)} case{'s' if len(rows) > 1 else ''}"
    head = f"<details{' open' if failed else ''}><summary>{escaped(name)} <span>{number}</span></summary></details>"
    cells = "".join(_counted(row.cells[at] for row in rows) for at in range(targets))
    return f'<tr class="group"><th scope="rowgroup">{head}</th>{cells}</tr>'


def total_row(targets: Iterable[Target]) -> str:
    """The sums over all groups."""
    cells = "".join(_counted(target.cases) for target in targets)
    return f'<tbody><tr class="group total"><th scope="row">Total</th>{cells}</tr></tbody>'


def case_row(row: Row, targets: Sequence[Target]) -> str:
    """The row of a case: its rule, and its outcome on each target."""
    case = row.case
    level = f'<span class="level">{case.level}</span>' if case.level is not Level.MUST else ""
    head = f'{code(case.id)}{level}<span class="rule">{prose(case.rule)}</span>'
    cells = "".join(_outcome(at, cell, targets[at].name) for at, cell in enumerate(row.cells))
    return f'<tr class="case" id="{escaped(case.id)}"><th scope="row">{head}</th>{cells}</tr>'


def proof_row(row: Row, targets: Sequence[Target]) -> str:
    """The row below a case: why its rule is one, and what was observed on each target."""
    case = row.case
    facts = [prose(case.why), f"{case.level}, since contract {escaped(case.since)}"]
    if case.needs:
        facts.append("needs " + ", ".join(code(name) for name in case.needs))
    rule = f'<span class="rule">{prose(case.rule)}</span>'
    why = rule + "".join(f"<span>{fact}</span>" for fact in facts)
    panels = "".join(_panel(at, cell, targets[at].name) for at, cell in enumerate(row.cells) if cell)
    inner = f'<div class="why">{why}</div><div class="panels">{panels}</div>'
    return f'<tr class="proof"><td colspan="{len(targets) + 1}">{inner}</td></tr>'


def _counted(cases: Iterable[CaseRecord | None]) -> str:
    known = [case for case in cases if case]
    pairs = counts(known).items()
    if [outcome for outcome, _ in pairs] == [Outcome.NOT_APPLICABLE]:
        inner = f"<span>{SYMBOLS[Outcome.NOT_APPLICABLE]}</span>"
    else:
        inner = " ".join(
            f'<span title="{LABELS[outcome]}">{number} {SYMBOLS[outcome]}</span>' for outcome, number in pairs
        )
    return f'<td class="{worst(known) or ""}">{inner}</td>'


def _outcome(at: int, case: CaseRecord | None, target: str) -> str:
    if case is None:
        return f'<td class="t{at}"></td>'
    label = f"{target}: {LABELS[case.outcome]}; evidence"
    word = "" if case.outcome is Outcome.NOT_APPLICABLE else f' <span class="word">{LABELS[case.outcome]}</span>'
    inner = f"{SYMBOLS[case.outcome]}{word} <small>{_seconds(case)}</small>"
    fold = f'<details><summary aria-label="{escaped(label)}">{inner}</summary></details>'
    return f'<td class="t{at} {case.outcome}">{fold}</td>'


def _panel(at: int, case: CaseRecord, target: str) -> str:
    said = f"<b>{SYMBOLS[case.outcome]} {LABELS[case.outcome]}</b>"
    if case.outcome is Outcome.NOT_APPLICABLE:
        said = f"<b>{LABELS[case.outcome]}</b>"
    lines = [f"<h3>{escaped(target)}: {said} <small>{_seconds(case)}</small></h3>"]
    if case.reason:
        lines.append(f"<p>{escaped(case.reason)}</p>")
    if case.evidence:
        lines.append(f"<ol>{''.join(f'<li>{code(line)}</li>' for line in case.evidence)}</ol>")
    return f'<div class="panel t{at} {case.outcome}">{"".join(lines)}</div>'


def _seconds(case: CaseRecord) -> str:
    return f"{case.seconds:.2f} s" if case.seconds else ""
