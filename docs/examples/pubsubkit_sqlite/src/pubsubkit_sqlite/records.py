"""Options as they are kept in the file."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from pubsubkit import ConflictError, StreamOptions
from pubsubkit.driver import ConsumerSpec

if TYPE_CHECKING:
    from pubsubkit.options import DeliverFrom

__all__ = ["check_same", "effective", "read_spec", "read_stream", "write_spec", "write_stream"]

_WINDOW = 120.0
_Options = TypeVar("_Options", StreamOptions, ConsumerSpec)


def effective(options: StreamOptions) -> StreamOptions:
    """*options* with the defaults of this backend filled in."""
    window = min(_WINDOW, options.max_age or _WINDOW) if options.duplicate_window is None else options.duplicate_window
    return replace(options, duplicate_window=window, replicas=1)


def check_same(what: str, wanted: _Options, found: _Options) -> None:
    """Compare two configurations.

    :raises ConflictError: they differ.
    """
    names = [field.name for field in fields(wanted) if getattr(wanted, field.name) != getattr(found, field.name)]
    if names:
        different = ", ".join(f"{name}: {getattr(found, name)!r} -> {getattr(wanted, name)!r}" for name in names)
        raise ConflictError(f"{what} exists with another configuration: {different}")


def write_stream(options: StreamOptions) -> str:
    """*options* as text."""
    return json.dumps(asdict(options))


@lru_cache(1024)
def read_stream(text: str) -> StreamOptions:
    """What :func:`write_stream` was given."""
    return StreamOptions(**json.loads(text))


def write_spec(spec: ConsumerSpec) -> str:
    """*spec* as text."""
    start: DeliverFrom | list[str] = spec.deliver_from
    if isinstance(start, datetime):
        start = [start.isoformat()]
    return json.dumps({**asdict(spec), "deliver_from": start})


@lru_cache(1024)
def read_spec(text: str) -> ConsumerSpec:
    """What :func:`write_spec` was given."""
    values = json.loads(text)
    if isinstance(values["deliver_from"], list):
        values["deliver_from"] = datetime.fromisoformat(values["deliver_from"][0])
    return ConsumerSpec(**values)
