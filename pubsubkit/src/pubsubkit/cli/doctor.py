"""``pubsubkit doctor``."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from pubsubkit.cli import stopping
from pubsubkit.cli.common import Settings, common_options, url_argument
from pubsubkit.cli.examination import examine, no_broker
from pubsubkit.cli.failure import BROKER_FAILED, DONE
from pubsubkit.cli.installation import installation
from pubsubkit.cli.logs import records_hidden
from pubsubkit.cli.look import bad, good, width
from pubsubkit.cli.table import wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit.driver import Finding

__all__ = ["doctor"]

_MARKS = {"ok": good("ok  "), "hint": "-   ", "unchecked": "?   ", "mend": bad("mend")}
_INDENT = "     "


@click.command()
@url_argument
@click.option("--write", is_flag=True, help="Also try to create a stream, publish, consume and delete it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
def doctor(settings: Settings, *, write: bool, as_json: bool) -> int:
    """Check this installation and the broker of URL, line by line.

    A line begins with ok; with mend when something must be changed, and then says what to do; with - for a hint; with
    ? for what was not checked, and then says how it can be.

    It changes nothing on the broker.  With --write it also creates a stream in memory storage, publishes one message
    into it, consumes it and deletes the stream, to see whether that is allowed.

    \b
      pubsubkit doctor
      pubsubkit doctor nats://localhost:4222
      pubsubkit doctor nats://localhost:4222 --write
      pubsubkit doctor --json | jq '.checks[] | select(.state == "mend")'

    Exit codes: 0 nothing is to be mended, 1 something is.
    """  # noqa: D301 - \b is a mark for click
    url = settings.url_or_none()
    with records_hidden():
        findings = stopping.run(lambda stop: _check(stop, url, write=write, tell=not as_json))
    if as_json:
        click.echo(json.dumps(_document(findings), indent=2))
    return BROKER_FAILED if _to_mend(findings) else DONE


async def _check(stop: stopping.Stop, url: str | None, *, write: bool, tell: bool) -> Sequence[Finding]:
    findings: list[Finding] = []

    def note(finding: Finding) -> None:
        findings.append(finding)
        if tell:
            click.echo(_line(finding))

    for finding in installation():
        note(finding)
    if url is None:
        note(no_broker())
    else:
        async with aclosing(examine(stop, url, write=write)) as examined:
            async for finding in examined:
                note(finding)
    if tell:
        click.echo(f"\n{_summary(findings)}")
    return findings


def _line(finding: Finding) -> str:
    columns, mark = width(), "hint" if finding.state == "ok" and finding.advice else finding.state
    lines = list(wrapped(_INDENT, f"{finding.check}: {finding.found}", columns))
    if finding.advice:
        lines += wrapped(f"{_INDENT}-> ", finding.advice, columns)
    return "\n".join(lines).replace(_INDENT, f"{_MARKS[mark]} ", 1)


def _summary(findings: Sequence[Finding]) -> str:
    mend, left = _to_mend(findings), sum(finding.state == "unchecked" for finding in findings)
    verdict = bad(f"{mend} to mend") if mend else good("nothing to mend")
    return verdict + (f", {left} not checked" if left else "")


def _document(findings: Sequence[Finding]) -> dict[str, object]:
    return {"ok": not _to_mend(findings), "checks": [finding._asdict() for finding in findings]}


def _to_mend(findings: Sequence[Finding]) -> int:
    return sum(finding.state == "mend" for finding in findings)
