"""The suite inside pytest: one runner per target, and a record of every case in its test report."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from pubsubkit import ConfigurationError
from pubsubkit_contract.base import Cases, cases_of, hidden_in
from pubsubkit_contract.case import rule_link
from pubsubkit_contract.harness import Harness, load_harness, make_harness
from pubsubkit_contract.outcome import Outcome
from pubsubkit_contract.plugin import PROPERTY
from pubsubkit_contract.records import case_record
from pubsubkit_contract.runner import Runner
from pubsubkit_contract.timing import Timing

if TYPE_CHECKING:
    from pubsubkit_contract.case import Case

__all__ = ["run_in_pytest"]

_runners = pytest.StashKey[dict[type[Cases] | Harness, Runner]]()


def run_in_pytest(case: Case, suite: Cases, request: pytest.FixtureRequest) -> None:
    """Run *case* for the test of *request*, record how it ended, and end the test accordingly."""
    __tracebackhide__ = True
    runner = _runner(type(suite), request.config)
    result = runner.run(case, suite)
    fields = asdict(case_record(result))
    target = {**runner.describe(), "suite": type(suite).__qualname__, "overridden": hidden_in(type(suite))}
    target["place"] = f"{request.node.path}::{type(suite).__qualname__}"
    request.node.user_properties.append((PROPERTY, json.dumps({"target": target, "case": fields})))
    if result.outcome in (Outcome.NOT_APPLICABLE, Outcome.NOT_RUN):
        pytest.skip(f"{result.outcome.value.replace('_', ' ')}: {result.reason}")
    if result.outcome is Outcome.DEVIATION:
        pytest.xfail(result.reason)
    if result.outcome is Outcome.FAIL:
        raise _explained(result.error or AssertionError(result.reason), case, fields)


def _explained(error: BaseException, case: Case, fields: dict[str, Any]) -> BaseException:
    observed = "\n".join(f"    {line}" for line in fields["evidence"][-12:]) or "    nothing"
    error.add_note(f"rule {case.id}: {case.rule}\nwhy: {case.why}\nsee: {rule_link(case.id)}\nobserved:\n{observed}")
    return error


def _runner(suite: type[Cases], config: pytest.Config) -> Runner:
    __tracebackhide__ = True
    runners = config.stash.setdefault(_runners, {})
    key = suite.harness if isinstance(suite.harness, Harness) else suite
    if key not in runners:
        harness = _harness(suite)
        if unknown := harness.deviations.keys() - cases_of(suite).keys():
            raise ConfigurationError(f"deviations of {type(harness).__name__}: no case {', '.join(sorted(unknown))}")
        timing = Timing(short=harness.shortest_ack_wait).scaled(config.option.pubsubkit_time_scale)
        runner = runners[key] = Runner(harness, seed=config.option.pubsubkit_seed, timing=timing)
        config.add_cleanup(runner.close)
    return runners[key]


def _harness(suite: type[Cases]) -> Harness:
    __tracebackhide__ = True
    named = suite.harness or suite.url
    if isinstance(named, Harness):
        return named
    if isinstance(named, str):
        assert named, f"set {suite.__name__}.harness or {suite.__name__}.url"
        return load_harness(named)
    return make_harness(named)
