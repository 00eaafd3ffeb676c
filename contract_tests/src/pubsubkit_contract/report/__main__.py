"""Merge reports of contract runs and show them: ``python -m pubsubkit_contract.report A.json B.json --html F``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pubsubkit_contract.report import html, markdown
from pubsubkit_contract.report.model import from_json, merge, to_json
from pubsubkit_contract.report.terminal import matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit_contract.report.model import Report

__all__ = ["main"]

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with *arguments*, by default those of the process; its exit code: 0, or 2 for an error."""
    options = _parser().parse_args(arguments)
    try:
        report = merge(_read(path) for path in options.reports)
        for form in ("json", "markdown", "html"):
            if (path := getattr(options, form)) is not None:
                _write(path, _rendered(report, form, times=options.times))
        if options.json is options.markdown is options.html is None:
            _write("-", "".join(f"{matrix(target)}\n" for target in report.targets))
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        print(f"pubsubkit_contract.report: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return USAGE_ERROR
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pubsubkit_contract.report",
        description="Merge reports of contract runs and show them. Of two targets of one name and harness the later "
        "one counts. Without an option the results are printed.",
        epilog="A FILE may be - for the standard output.",
    )
    parser.add_argument("reports", nargs="+", metavar="REPORT", help="a file written by --pubsubkit-report")
    parser.add_argument("--html", metavar="FILE", help="write a web page that needs nothing else")
    parser.add_argument("--markdown", metavar="FILE", help="write Markdown")
    parser.add_argument("--json", metavar="FILE", help="write the merged report")
    parser.add_argument("--times", action="store_true", help="tell dates, durations and seeds in the Markdown too")
    return parser


def _rendered(report: Report, form: str, *, times: bool) -> str:
    if form == "html":
        return html.render(report)
    return markdown.render(report, times=times) if form == "markdown" else to_json(report)


def _read(path: str) -> Report:
    try:
        return from_json(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _write(path: str, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    if path == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        Path(path).write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
