"""The result of one target as text for a terminal."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pubsubkit_contract.outcome import Outcome, Verdict
from pubsubkit_contract.report.model import grouped
from pubsubkit_contract.report.summary import counts, summarise, title
from pubsubkit_contract.report.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pubsubkit_contract.report.model import CaseRecord, Target

__all__ = ["matrix"]

HEADINGS = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "fail",
    Outcome.DEVIATION: "deviation",
    Outcome.NOT_APPLICABLE: "n/a",
    Outcome.NOT_RUN: "not run",
}
GREEN, RED, YELLOW, CYAN = 32, 31, 33, 36
COLOURS = {Outcome.PASS: GREEN, Outcome.FAIL: RED, Outcome.DEVIATION: YELLOW, Outcome.NOT_RUN: CYAN}
VERDICTS = {Verdict.CONFORMANT: GREEN, Verdict.NOT_CONFORMANT: RED}


def matrix(target: Target, *, colour: bool = False, columns: int | None = None) -> str:
    """The outcomes of *target* by group, its capabilities and its verdict, in lines without a last line break.

    Only outcomes that occur have a column.  With *colour* there are escape sequences (SGR) in it.

    :param columns: where lines of words are broken; None for nowhere.
    """
    verdict = _broken("", visible(summarise(target)), columns)
    parts = [_table(target, colour=colour), _capabilities(target, columns)]
    parts.append(_painted(verdict, VERDICTS.get(target.verdict, YELLOW) if colour else None))
    return "\n\n".join(part for part in parts if part)


def _table(target: Target, *, colour: bool) -> str:
    shown = list(counts(target.cases))
    rows = [("group", *(HEADINGS[outcome] for outcome in shown))]
    rows += [(title(name), *_numbers(cases, shown)) for name, cases in grouped(target.cases).items()]
    rows.append(("total", *_numbers(target.cases, shown)))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    colours = [COLOURS.get(outcome) if colour else None for outcome in shown]
    return "\n".join(_line(row, widths, colours) for row in rows)


def _numbers(cases: Iterable[CaseRecord], shown: Sequence[Outcome]) -> list[str]:
    found = counts(cases)
    return [str(found.get(outcome, ".")) for outcome in shown]


def _line(row: Sequence[str], widths: Sequence[int], colours: Sequence[int | None]) -> str:
    line = row[0].ljust(widths[0])
    for cell, width, code in zip(row[1:], widths[1:], colours, strict=True):
        line += "  " + _painted(cell.rjust(width), None if cell == "." else code)
    return line


def _capabilities(target: Target, columns: int | None) -> str:
    named = {"proved": target.proved, "withheld": target.withheld, "unproved": target.unproved}
    width = max(map(len, named))
    return "\n".join(
        _broken(f"{name.ljust(width)}  ", ", ".join(values), columns) for name, values in named.items() if values
    )


def _broken(start: str, text: str, columns: int | None) -> str:
    if columns is None:
        return start + text
    return textwrap.fill(text, columns, initial_indent=start, subsequent_indent=" " * len(start))


def _painted(text: str, code: int | None) -> str:
    return text if code is None else f"\x1b[{code}m{text}\x1b[0m"
