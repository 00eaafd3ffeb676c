"""Base of the groups of cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pubsubkit_contract.case import Case

if TYPE_CHECKING:
    from pubsubkit_contract.harness import Harness

__all__ = ["Cases", "cases_of", "hidden_in"]


class Cases:
    """What a suite runs on.

    A subclass sets :attr:`harness` or :attr:`url`.  A method that hides a case is reported as a deviation.
    """

    harness: ClassVar[str | type[Harness] | Harness] = ""
    """``package.module:Class``, a harness class, or an instance of one."""
    url: ClassVar[str] = ""
    """The URL of a broker, in place of a harness."""


def cases_of(suite: type[Cases]) -> dict[str, Case]:
    """The cases of *suite* by id, also those that a subclass has hidden."""
    found: dict[str, Case] = {}
    for kind in reversed(suite.__mro__):
        for member in vars(kind).values():
            declared = getattr(member, "case", None)
            if isinstance(declared, Case):
                found[declared.id] = declared
    return found


def hidden_in(suite: type[Cases]) -> list[str]:
    """The ids of the contract's cases that *suite* has hidden, by whatever it put in their place."""
    ours = [vars(kind) for kind in suite.__mro__ if kind.__module__.startswith("pubsubkit_contract.cases.")]
    originals = {name: member for members in ours for name, member in members.items() if hasattr(member, "case")}
    return sorted(member.case.id for name, member in originals.items() if getattr(suite, name, None) is not member)
