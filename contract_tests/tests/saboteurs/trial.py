"""Tries saboteurs: which cases catch which.

``python -m saboteurs.trial`` (with this folder's parent on ``PYTHONPATH``) tries all of them on all cases, in about ten
minutes, and writes ``matrix.json`` beside this file.  The tests try each on the cases that it names.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import pkgutil
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
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
TIMING = Timing(cap=1.0, short=0.1, case=12.0)
"""Short caps: here most waits end in vain."""


def load_all() -> dict[str, Saboteur]:
    """Every saboteur by its name."""
    for module in pkgutil.iter_modules(saboteurs.__path__):
        if module.name not in ("trial", "in_child"):
            importlib.import_module(f"saboteurs.{module.name}")
    return ALL


def try_on(saboteur: Saboteur, case_ids: Iterable[str]) -> dict[str, str]:
    """Run the cases with *saboteur* at work; return those that failed, with the reason."""
    cases = cases_of(ContractSuite)
    harness = saboteur.harness()
    harness.shortest_ack_wait = TIMING.short
    runner = Runner(harness, timing=TIMING)
    try:
        with saboteur.at_work():
            results = [runner.run(cases[case_id]) for case_id in case_ids]
    finally:
        runner.close()
    return {result.case.id: result.reason for result in results if result.outcome is Outcome.FAIL}


def _row(name: str) -> tuple[str, list[str], float]:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    failed = try_on(load_all()[name], cases_of(ContractSuite))
    return name, sorted(failed), time.perf_counter() - started


def main() -> None:
    """Try all on all, and write the matrix."""
    names = sys.argv[1:] or sorted(load_all())
    rows: dict[str, list[str]] = json.loads(MATRIX.read_text(encoding="utf-8")) if MATRIX.exists() else {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for _number, (name, failed, _seconds) in enumerate(pool.map(_row, names), 1):
            sorted(set(load_all()[name].caught_by) - set(failed))
            rows[name] = failed
    rows = {name: rows[name] for name in sorted(rows) if name in load_all()}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(failed)}" for name, failed in rows.items())
    MATRIX.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
