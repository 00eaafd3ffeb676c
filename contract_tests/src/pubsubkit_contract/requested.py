"""What the options of the plugin ask for."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from pubsubkit import PubSubError
from pubsubkit_contract.harness import load_harness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit_contract.case import Case

__all__ = ["check", "select", "targets"]

_targets: list[str] = []


def check(config: pytest.Config) -> None:
    """Refuse a target that cannot be opened at once, in one line, instead of in every case."""
    for named in config.option.pubsubkit_contract:
        try:
            load_harness(named)
        except PubSubError as error:
            raise pytest.UsageError(f"--pubsubkit-contract: {error}") from None
    _targets[:] = config.option.pubsubkit_contract
    if config.option.pubsubkit_seed is None:
        config.option.pubsubkit_seed = secrets.randbits(32)  # one for all processes of the run


def targets() -> Sequence[str]:
    """The harnesses and URLs that were asked for."""
    return tuple(_targets)


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the cases of the groups of ``--pubsubkit-only``, and every test that is no case.

    :raises UsageError: there is no group of that name.
    """
    from pubsubkit_contract.suite import ContractSuite, cases_of

    wanted = {name.strip() for name in config.option.pubsubkit_only.split(",")}
    known = {case.group for case in cases_of(ContractSuite).values()}
    if unknown := wanted - known:
        names = f"no group {', '.join(sorted(unknown))}; there are: {', '.join(sorted(known))}"
        raise pytest.UsageError(f"--pubsubkit-only: {names}")
    dropped = [item for item in items if (case := _case(item)) is not None and case.group not in wanted]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]


def _case(item: pytest.Item) -> Case | None:
    return getattr(getattr(item, "obj", None), "case", None)
