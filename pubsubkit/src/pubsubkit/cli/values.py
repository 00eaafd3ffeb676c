"""Types of option values, with errors that say what was expected."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from pubsubkit.errors import InvalidArgumentError
from pubsubkit.params import duration, size
from pubsubkit.payload import check_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pubsubkit.options import DeliverFrom

__all__ = ["byte_count", "header", "seconds", "start"]

_NAMED: Mapping[str, DeliverFrom] = {"all": "all", "new": "new", "last": "last"}
_START = "expected all, new, last, a sequence number from 1 or a time such as 2026-01-31T12:00:00Z"


def seconds(value: str) -> float:
    """Return the seconds of ``500ms``, ``30s``, ``5m`` or a bare number of seconds, above 0."""
    try:
        found = duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}") from None
    if not found:
        raise click.BadParameter(f"{value!r}: expected more than 0")
    return found


def byte_count(value: str) -> int:
    """Return the bytes of ``256``, ``4KiB`` or ``1MB``."""
    try:
        return size(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}") from None


def header(value: str) -> tuple[str, str]:
    """Return name and value of ``Name: value``."""
    name, colon, text = value.partition(":")
    if not colon:
        raise click.BadParameter("expected 'Name: value' with a colon")
    pair = (name.strip(), text.strip())
    try:
        check_headers(dict([pair]))
    except InvalidArgumentError as error:
        raise click.BadParameter(str(error)) from None
    return pair


def start(value: str) -> DeliverFrom:
    """Return where a new consumer starts, as ``ConsumerOptions.deliver_from`` has it."""
    if value in _NAMED:
        return _NAMED[value]
    if value.isdecimal() and int(value) > 0:
        return int(value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r}: {_START}") from None
    if moment.tzinfo is None:
        raise click.BadParameter(f"{value!r} has no time zone: append Z for UTC or an offset such as +02:00")
    return moment
