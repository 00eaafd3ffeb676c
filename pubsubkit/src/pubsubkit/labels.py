"""Names of few values for what has many, so that metrics and names of spans do not grow without bound."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pubsubkit.subjects import check_filter, matches

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Templates", "group_name", "type_name"]

_SUBJECTS_KEPT = 4096
_ephemeral = re.compile(r"ephemeral-[0-9a-f]{16}").fullmatch


class Templates:
    """Stands a pattern in for all subjects that it selects.

    :param patterns: subjects that may hold the wildcards ``*`` and ``>``; of several the first one counts.
    :raises InvalidArgumentError: one of them is no filter.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(check_filter(pattern) for pattern in patterns)
        self._found: dict[str, str] = {}

    def of(self, subject: str) -> str:
        """The pattern that selects *subject*; empty when none does."""
        found = self._found.get(subject)
        if found is None:
            if len(self._found) >= _SUBJECTS_KEPT:
                self._found.clear()
            found = next((pattern for pattern in self._patterns if matches(pattern, subject)), "")
            self._found[subject] = found
        return found


def group_name(consumer: str) -> str:
    """The name of a durable consumer; empty for an ephemeral one, whose name is made up anew each time."""
    return "" if _ephemeral(consumer) else consumer


def type_name(error: BaseException) -> str:
    """The full name of an exception's class, without the module when it is a builtin."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
