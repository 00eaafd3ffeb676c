"""A case: one rule of the contract, as an async function that is given a :class:`~pubsubkit_contract.kit.Kit`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pubsubkit_contract.outcome import Level

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

    from pubsubkit.driver import Capability
    from pubsubkit_contract.harness import Knob
    from pubsubkit_contract.kit import Kit

__all__ = ["CONTRACT_VERSION", "Case", "anchor", "case", "rule_link"]

CONTRACT_VERSION = "1.0"
"""The version of the contract: that of the newest case."""

CaseFunction = Callable[[Any, "Kit"], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A rule with its proof."""

    id: str
    """Stable for ever: ``group.name``."""
    rule: str
    """What a backend must do."""
    why: str
    """What goes wrong for users when it does not."""
    needs: frozenset[Capability]
    """The backend must claim all of them; otherwise the rule is not applicable."""
    absent: frozenset[Capability]
    """The honest-absence case: it applies when one of them is withheld."""
    knobs: frozenset[Knob]
    """What the harness must be able to do."""
    level: Level
    since: str
    """The version of the contract that brought it."""
    function: CaseFunction

    @property
    def group(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


def anchor(case_id: str) -> str:
    """The heading of a rule in the rule book, as links name it."""
    return case_id.replace(".", "")


def rule_link(case_id: str) -> str:
    """Where the documentation has a rule."""
    return f"docs/reference/contract.md#{anchor(case_id)}"


def case(  # noqa: PLR0913 - a declaration, read as a row of a table
    case_id: str,
    *,
    why: str,
    needs: Iterable[Capability] = (),
    absent: Iterable[Capability] = (),
    knobs: Iterable[Knob] = (),
    level: Level = Level.MUST,
    since: str = "1.0",
) -> Callable[[CaseFunction], Callable[..., None]]:
    """Declare a case; the docstring of the function is the rule, and its name ``test_group_name``.

    The function becomes a plain test method, so that it runs whatever async plugin is installed.
    """

    def wrap(function: CaseFunction) -> Callable[..., None]:
        name = f"test_{case_id.replace('.', '_')}"
        assert function.__name__ == name, f"the function of case {case_id} must be called {name}"
        declared = Case(
            id=case_id,
            rule=" ".join((function.__doc__ or "").split()),
            why=why,
            needs=frozenset(needs),
            absent=frozenset(absent),
            knobs=frozenset(knobs),
            level=level,
            since=since,
            function=function,
        )

        def test(self: Any, request: pytest.FixtureRequest) -> None:
            __tracebackhide__ = True  # pytest would show the URL with its secrets
            from pubsubkit_contract.session import run_in_pytest

            run_in_pytest(declared, self, request)

        test.__name__, test.__qualname__ = function.__name__, function.__qualname__
        test.__doc__, test.__module__ = function.__doc__, function.__module__
        test.case = declared  # type: ignore[attr-defined]
        return test

    return wrap
