"""Runs the contract for ``pubsubkit contract``: pytest without its reports, and a line that tells where it is.

pytest is told to look at no configuration, no ``conftest.py`` and no other plugin of the place where it runs, so that
the verdict is the same everywhere.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import TYPE_CHECKING, TextIO

import pytest

from pubsubkit import ConfigurationError, PubSubError, connect
from pubsubkit_contract.case import CONTRACT_VERSION, rule_link
from pubsubkit_contract.harness import load_harness
from pubsubkit_contract.outcome import Outcome
from pubsubkit_contract.plugin import PROPERTY, REPORTER
from pubsubkit_contract.records import Collected, read_record
from pubsubkit_contract.report.terminal import matrix
from pubsubkit_contract.requested import case_of, wanted_groups

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["run"]

_CLEAR = "\r\x1b[K"
_TOLD = (Outcome.FAIL, Outcome.DEVIATION, Outcome.NOT_RUN)
_INTERRUPTED = 130


def run(
    targets: Sequence[str], *, only: str | None, seed: int | None, time_scale: float
) -> tuple[Collected | None, int]:
    """Run the contract on *targets*, show on stdout how it goes and the verdicts; return the records and an exit code.

    :param targets: harnesses and URLs.
    :param only: the groups to run, with commas between them; None for all.
    :param seed: what random histories are made from; None for a new one.
    :param time_scale: how many times as long to wait.
    :raises ConfigurationError: a target cannot be opened; then nothing is run on the others either.
    :raises InvalidArgumentError: there is no such group.
    """
    __tracebackhide__ = True
    groups = None if only is None else ",".join(wanted_groups(only))
    for target in targets:
        load_harness(target)
        if "://" in target:
            asyncio.run(_try(target))
    options = [f"--pubsubkit-time-scale={time_scale}"]
    if groups is not None:
        options.append(f"--pubsubkit-only={groups}")
    if seed is not None:
        options.append(f"--pubsubkit-seed={seed}")
    watch = _Watch(sys.stdout)
    with tempfile.TemporaryDirectory() as folder, _alone():
        arguments = ["-c", os.devnull, "--rootdir", folder, "--noconftest", "-s", "-p", "no:cacheprovider"]
        arguments += ["-p", "no:terminal", "-p", "no:terminalreporter", "-p", "pubsubkit_contract.plugin"]
        arguments += [f"--pubsubkit-contract={target}" for target in targets]
        code = pytest.main([*arguments, *options], plugins=[watch])
    watch.end()
    return watch.collected, _INTERRUPTED if watch.interrupted else int(code != 0)


async def _try(url: str) -> None:
    """Open the broker of *url* once, so that one that is not there is told before any case runs.

    :raises ConfigurationError: it cannot be opened.
    """
    __tracebackhide__ = True
    try:
        async with connect(url):
            pass
    except PubSubError as error:
        raise ConfigurationError(str(error)) from error


@contextmanager
def _alone() -> Generator[None]:
    """Keep other plugins out, and the options of the environment."""
    settings = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": ""}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Watch:
    """A pytest plugin that tells how far the run is."""

    def __init__(self, out: TextIO) -> None:
        self.collected: Collected | None = None
        self.interrupted = False
        """Whether somebody has stopped the run, as by Ctrl-C."""
        self._out = out
        self._live = out.isatty()
        self._colour = self._live and "NO_COLOR" not in os.environ
        self._total = 0
        self._done = 0
        self._reason = ""

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._say(report.longreprtext)

    def pytest_internalerror(self, excrepr: object) -> None:
        self._say(str(excrepr))

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.interrupted = not isinstance(excinfo.value, pytest.Session.Interrupted)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._total = len(session.items)
        if not self._live:
            self._say(f"pubsubkit contract {CONTRACT_VERSION}: {self._total} cases")

    def pytest_runtest_call(self, item: pytest.Item) -> None:
        case = case_of(item)
        if self._live and case is not None:
            self._out.write(
                f"{_CLEAR}{self._done}/{self._total}  {case.id}  {case.rule}"[
                    : get_terminal_size().columns - len("^C") - 1 + len(_CLEAR)
                ]
            )
            self._out.flush()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        self._done += 1
        if report.failed and not any(name == PROPERTY for name, _ in report.user_properties):
            self._say(report.longreprtext)
        for name, value in report.user_properties:
            if name == PROPERTY:
                self._tell(str(value))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.collected = getattr(session.config.pluginmanager.get_plugin(REPORTER), "collected", None)

    def end(self) -> None:
        """Show the matrix and the verdict of each target."""
        if self._live:
            self._out.write(_CLEAR)
        if self.collected is not None:
            for target in self.collected.report().targets:
                self._say(f"\n{target.name}  ({target.broker}, {target.address})\n")
                columns = get_terminal_size().columns if self._live else None
                self._say(matrix(target, colour=self._colour, columns=columns))

    def _tell(self, value: str) -> None:
        target, case = read_record(value)
        if case.outcome in _TOLD and case.reason != self._reason:
            self._say(
                f"{_CLEAR if self._live else ''}{target:8} {case.outcome.value.upper():9} {case.id}: {case.reason}"
            )
            if case.outcome is Outcome.FAIL:
                self._say(f"{'':8} rule: {case.rule} ({rule_link(case.id)})")
        self._reason = case.reason

    def _say(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()
