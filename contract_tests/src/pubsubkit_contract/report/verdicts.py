"""The banners at the top of the page: what was found of each target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pubsubkit_contract.outcome import Outcome, Verdict
from pubsubkit_contract.report.cells import code, escaped
from pubsubkit_contract.report.summary import LABELS, SYMBOLS, counts, summarise

if TYPE_CHECKING:
    from pubsubkit_contract.report.model import Target

__all__ = ["banner"]

LOOKS = {
    Verdict.CONFORMANT: Outcome.PASS,
    Verdict.NOT_CONFORMANT: Outcome.FAIL,
    Verdict.INCOMPLETE: Outcome.DEVIATION,
    Verdict.PARTIAL: Outcome.NOT_RUN,
}
"""The outcome whose sign and colours a verdict shares."""

SIGNS = {Verdict.INCOMPLETE: "!", Verdict.PARTIAL: "◐"}


def banner(target: Target) -> str:
    """The verdict on *target* with its reasons, and what was tried."""
    look = LOOKS[target.verdict]
    sign = SIGNS.get(target.verdict, SYMBOLS[look])
    lines = [
        f'<article class="verdict {look}">',
        f'<h2>{escaped(target.name)} <span class="badge">{sign} {target.verdict}</span></h2>',
        f"<p>{escaped(summarise(target))}</p>",
        f'<div class="share" aria-hidden="true">{_share(target)}</div>',
        _failed(target),
        f'<details class="facts"><summary>What was tried</summary><dl>{_facts(target)}</dl></details>',
        "</article>",
    ]
    return "\n".join(line for line in lines if line)


def _share(target: Target) -> str:
    """A bar with a part for each outcome; the numbers are in the summary."""
    return "".join(
        f'<span class="{outcome}" style="flex: {number}" title="{number} {LABELS[outcome]}"></span>'
        for outcome, number in counts(target.cases).items()
    )


def _failed(target: Target) -> str:
    failed = [case for case in target.cases if case.outcome is Outcome.FAIL]
    items = "".join(
        f'<li><a href="#{escaped(case.id)}">{code(case.id)}</a> {escaped(_short(case.reason))}</li>' for case in failed
    )
    return f'<ul class="failed">{items}</ul>' if items else ""


def _short(reason: str, limit: int = 160) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def _facts(target: Target) -> str:
    facts = {
        "Distribution": escaped(f"{target.backend.distribution} {target.backend.version}"),
        "Broker": escaped(target.broker),
        "Address": code(target.address),
        "Harness": code(target.harness) if target.harness else "",
        "Seed": str(target.seed),
        "Not proved": ", ".join(map(code, target.unproved)),
        "Withheld": ", ".join(map(code, target.withheld)),
    }
    return "".join(f"<dt>{name}</dt><dd>{fact}</dd>" for name, fact in facts.items() if fact)
