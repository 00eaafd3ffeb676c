"""The pytest plugin: ``--pubsubkit-contract=HARNESS_OR_URL`` runs the contract on a backend.

pytest imports this module in every run of everybody, so it imports nothing but pytest; the suite is imported when a
case of it is collected or asked for.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pubsubkit_contract.records import Collected

__all__ = ["CASE", "PROPERTY", "REPORTER", "pytest_addoption", "pytest_collection_modifyitems", "pytest_configure"]

PROPERTY = "pubsubkit_contract"
"""The name of the property of a test report that holds the record of a case, as JSON."""
CASE = "pubsubkit_contract_case"
"""The name of the property of every test that is a case, also where it does not get as far as a record."""
REPORTER = "pubsubkit_contract_reporter"
"""The name under which pytest knows the plugin object that has collected the records."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the contract."""
    group = parser.getgroup("pubsubkit", "pubsubkit contract")
    group.addoption(
        "--pubsubkit-contract",
        action="append",
        default=[],
        metavar="HARNESS_OR_URL",
        help="run the pubsubkit contract on package.module:Harness or on a URL, e.g. memory:// or nats://localhost:4222;"
        " may be given several times",
    )
    group.addoption(
        "--pubsubkit-report", metavar="FILE", help="write how each case ended, with the evidence, to FILE as JSON"
    )
    group.addoption(
        "--pubsubkit-only",
        metavar="GROUP,...",
        help="run only these groups of cases, e.g. ack,nak; the verdict is partial",
    )
    group.addoption(
        "--pubsubkit-seed", type=int, metavar="N", help="repeat the random histories of the run that reported this seed"
    )
    group.addoption(
        "--pubsubkit-time-scale",
        type=_above_zero,
        default=1.0,
        metavar="FACTOR",
        help="wait this many times as long, on a slow machine (default: 1)",
    )


def _above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


def pytest_configure(config: pytest.Config) -> None:
    """Collect the suite when it was asked for, alone or beside the tests that were named."""
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)  # of pytest-xdist
    if worker is not None:
        config.option.pubsubkit_seed = worker["pubsubkit_seed"]
    elif config.option.pubsubkit_seed is None:
        config.option.pubsubkit_seed = random.SystemRandom().getrandbits(32)
    if config.option.pubsubkit_report and worker is None:
        _clear(Path(config.option.pubsubkit_report))
    if config.option.pubsubkit_contract:
        from pubsubkit_contract.requested import check

        check(config)
        suite = str(Path(__file__).with_name("requested_suites.py"))
        if config.args_source.name in ("INVOCATION_DIR", "TESTPATHS"):
            config.args[:] = [suite]
        else:
            config.args.append(suite)
    if worker is None:
        config.pluginmanager.register(_Reporter(config), REPORTER)


def _clear(report: Path) -> None:
    """Remove what an earlier run reported, which must not be taken for the result of this one."""
    try:
        report.unlink(missing_ok=True)
        report.touch()
        report.unlink()
    except OSError as error:
        raise pytest.UsageError(f"--pubsubkit-report: {error.strerror}: {report}") from None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the groups that ``--pubsubkit-only`` does not name, and mark the cases that are left."""
    for item in items:
        if hasattr(getattr(item, "obj", None), "case"):
            item.user_properties.append((CASE, item.name))
    if config.option.pubsubkit_only:
        from pubsubkit_contract.requested import select

        select(config, items)


class _Reporter:
    """Collects the records of cases, in whichever process they ran, and reports them when there are any."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.collected: Collected | None = None
        self._skipped = 0

    @pytest.hookimpl(optionalhook=True)  # of pytest-xdist
    def pytest_configure_node(self, node: Any) -> None:
        """Give each process of pytest-xdist the seed of the run."""
        node.workerinput["pubsubkit_seed"] = self._config.option.pubsubkit_seed

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the record of a case, and count those that were skipped before they ran."""
        if report.when == "setup" and report.skipped and any(name == CASE for name, _ in report.user_properties):
            self._skipped += 1
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == PROPERTY:
                self._add(str(value))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report, and fail a run whose tests passed but whose verdict is not that the backend conforms."""
        if self._skipped and session.exitstatus in (0, 5):
            session.exitstatus = 1
        if self.collected is None:
            return
        if self._config.option.pubsubkit_report:
            self.collected.write(Path(self._config.option.pubsubkit_report))
        if session.exitstatus == 0:
            session.exitstatus = self.collected.exit_code()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Show the matrix and the verdict of each target."""
        if self._skipped:
            text = f"{self._skipped} cases of the pubsubkit contract were skipped before they ran: that is no pass"
            terminalreporter.write_line(text)
        if self.collected is not None:
            self.collected.show(terminalreporter)

    def _add(self, value: str) -> None:
        if self.collected is None:
            from pubsubkit_contract.records import Collected

            self.collected = Collected()
        self.collected.add(value)
