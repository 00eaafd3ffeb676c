"""The ``native`` settings of options: one backend's own, under its own names, handed through as they are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pubsubkit.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_settings", "differences", "merged"]


def check_settings(settings: object) -> dict[str, Any]:
    """Return a copy of *settings*, all the way down.

    :raises InvalidArgumentError: it is no dict of JSON values.
    """
    try:
        copy: object = json.loads(json.dumps(settings, allow_nan=False))
    except (TypeError, ValueError):
        copy = None
    if not isinstance(copy, dict):
        raise InvalidArgumentError(f"expected a dict of JSON values, got {settings!r:.200}")
    return copy  # pyright: ignore[reportUnknownVariableType]


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any], within: str = "") -> list[str]:
    """What *wanted* says otherwise than *found*, as lines ``setting: is -> wanted``.

    What is not wanted does not count, also inside a mapping.  Brokers leave out what is false, zero or empty.
    """
    lines: list[str] = []
    for name, want in wanted.items():
        have = found.get(name)
        if isinstance(want, dict) and isinstance(have, dict | None):
            lines += differences(want, have or {}, f"{within}{name}.")  # pyright: ignore[reportUnknownArgumentType]
        elif want != have and (want or have):
            lines.append(f"{within}{name}: {have!r} -> {want!r}")
    return lines


def merged(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """*found* with everything that *wanted* says, also inside mappings."""
    both = {name: merged(found[name], want) for name, want in wanted.items() if _are_mappings(want, found.get(name))}
    return {**found, **wanted, **both}


def _are_mappings(*values: object) -> bool:
    return all(isinstance(value, dict) for value in values)
