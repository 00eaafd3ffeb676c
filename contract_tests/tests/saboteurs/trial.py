"""Tries saboteurs: which cases catch which.

``python -m saboteurs.trial``, with the folder above on ``PYTHONPATH``, tries all of them, or those whose names begin
with its arguments, on all cases, and writes ``matrix.json`` beside this file; all of them take about 40 minutes.  The
tests try each on the cases that it names.
"""

from __future__ import annotations

import importlib
import json
import logging
import multiprocessing
import os
import pkgutil
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import saboteurs
from pubsubkit_contract.outcome import Outcome
from pubsubkit_contract.runner import Runner
from pubsubkit_contract.suite import ContractSuite, cases_of
from pubsubkit_contract.timing import Timing
from saboteurs.saboteur import ALL, Saboteur

if TYPE_CHECKING:
    from collections.abc import Iterable

MATRIX = Path(__file__).with_name("matrix.json")
TIMINGS = {
    "memory": Timing(cap=1.0, short=0.1, case=12.0),
    "nats": Timing(cap=3.0, short=0.15, case=20.0),
}
"""Short caps: here most waits end in vain."""


def load_all() -> dict[str, Saboteur]:
    """Every saboteur by its name."""
    for module in pkgutil.iter_modules(saboteurs.__path__):
        if module.name not in ("trial", "rule_book", "child"):
            importlib.import_module(f"saboteurs.{module.name}")
    return ALL


def try_on(saboteur: Saboteur, case_ids: Iterable[str]) -> dict[str, str]:
    """Run the cases with *saboteur* at work; return those that failed, with the reason."""
    cases = cases_of(ContractSuite)
    harness = saboteur.harness()
    timing = TIMINGS[saboteur.backend]
    harness.shortest_ack_wait = timing.short
    runner = Runner(harness, timing=timing)
    try:
        with saboteur.at_work():
            results = [runner.run(cases[case_id]) for case_id in case_ids]
    finally:
        runner.close()
    failed = {result.case.id: result.reason for result in results if result.outcome is Outcome.FAIL}
    broken = [reason for reason in failed.values() if reason.startswith("the harness failed")]
    assert not broken, f"{saboteur.name}: {broken[0]}"
    return failed


def _row(name: str) -> tuple[str, list[str], float]:
    logging.lastResort = None
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    failed = try_on(load_all()[name], cases_of(ContractSuite))
    return name, sorted(failed), time.perf_counter() - started


def main() -> None:
    """Try all on all, or those that are named, and write the matrix as it grows."""
    known = load_all()
    names = [name for name in sorted(known) if name.startswith(tuple(sys.argv[1:] or [""]))]
    rows: dict[str, list[str]] = json.loads(MATRIX.read_text(encoding="utf-8")) if MATRIX.exists() else {}
    context = multiprocessing.get_context("spawn")
    workers = int(os.environ.get("WORKERS", 2 * (os.cpu_count() or 1)))
    with context.Pool(workers, maxtasksperchild=4) as pool:
        for number, (name, failed, seconds) in enumerate(pool.imap_unordered(_row, names), 1):
            missed = sorted(set(known[name].caught_by) - set(failed))
            sys.stderr.write(
                f"{number}/{len(names)} {name} {seconds:.0f} s, caught by {len(failed)}, missed by {missed}\n"
            )
            rows[name] = failed
            _write({name: rows[name] for name in sorted(rows) if name in known})


def _write(rows: dict[str, list[str]]) -> None:
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(failed)}" for name, failed in rows.items())
    MATRIX.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
