"""What the options of the plugin ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pubsubkit import InvalidArgumentError, PubSubError
from pubsubkit_contract.harness import load_harness
from pubsubkit_contract.suite import ContractSuite, cases_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit_contract.case import Case

__all__ = ["case_of", "check", "select", "targets", "wanted_groups"]

_targets: list[str] = []


def check(config: pytest.Config) -> None:
    """Refuse a target that cannot be opened at once, in one line, instead of in every case."""
    for named in config.option.pubsubkit_contract:
        try:
            load_harness(named)
        except PubSubError as error:
            raise pytest.UsageError(f"--pubsubkit-contract: {error}") from None
    _targets[:] = config.option.pubsubkit_contract


def targets() -> Sequence[str]:
    """The harnesses and URLs that were asked for."""
    return tuple(_targets)


def wanted_groups(only: str) -> set[str]:
    """The groups that ``ack,nak`` names.

    :raises InvalidArgumentError: there is no such group.
    """
    wanted = {name.strip() for name in only.split(",")}
    known = {case.group for case in cases_of(ContractSuite).values()}
    if unknown := wanted - known:
        raise InvalidArgumentError(f"no group {', '.join(sorted(unknown))}; there are: {', '.join(sorted(known))}")
    return wanted


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the cases of the groups of ``--pubsubkit-only``, and every test that is no case.

    :raises UsageError: there is no group of that name.
    """
    try:
        wanted = wanted_groups(config.option.pubsubkit_only)
    except InvalidArgumentError as error:
        raise pytest.UsageError(f"--pubsubkit-only: {error}") from None
    dropped = [item for item in items if (case := case_of(item)) is not None and case.group not in wanted]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]


def case_of(item: pytest.Item) -> Case | None:
    """The case that *item* runs, if it does."""
    return getattr(getattr(item, "obj", None), "case", None)
