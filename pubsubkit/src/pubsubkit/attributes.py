"""Attributes of CloudEvents: their canonical text, and that text as the value of a header.

The rules are those of CloudEvents 1.0, "Type System", and of its NATS protocol binding, section 3.1.3.2.  What breaks
them raises ``ValueError``; the caller says whose fault it is.
"""

from __future__ import annotations

import re
from base64 import b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["decode", "encode", "incoming", "outgoing", "text"]

_REQUIRED = ("specversion", "id", "source", "type")
_STANDARD = {*_REQUIRED, "datacontenttype", "dataschema", "subject", "time"}
_LARGEST_INTEGER = 2**31 - 1

_name = re.compile(r"[a-z0-9]+").fullmatch
_plain = re.compile(r"[!#$&-~]*").fullmatch
_SAFE = "".join(sign for sign in map(chr, range(0x21, 0x7F)) if sign not in '"%')
_bad_percent = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_quoted = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL).fullmatch
_escaped = re.compile(r"\\(.)", re.DOTALL)
_rfc3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]([01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
).fullmatch


def text(value: object) -> str:
    """Return the canonical string of a value.

    :raises ValueError: CloudEvents have no type for it, or it holds half a surrogate pair.
    """
    if isinstance(value, str):
        return value.encode().decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, datetime):
        return _whole_minutes(value).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise ValueError(f"{type(value).__name__} is no type of a CloudEvents attribute")


def encode(plain: str) -> str:
    """Percent-encode a text for a header: space, ``"``, ``%`` and all but U+0021 to U+007E, as UTF-8."""
    return plain if _plain(plain) else quote(plain, safe=_SAFE)


def decode(value: str) -> str:
    """Return the text of a header's value: unquoted as in RFC 7230 when it is in double quotes, percent-decoded once.

    :raises ValueError: a ``%`` without two hexadecimal digits, or bytes that are not UTF-8.
    """
    quoted = _quoted(value)
    if quoted:
        value = _escaped.sub(r"\1", quoted[1])
    try:
        if not _bad_percent(value):
            return unquote_to_bytes(value).decode()
    except UnicodeError:
        pass
    raise ValueError(f"header value {value!r} is no percent-encoded UTF-8")


def outgoing(attributes: Mapping[str, object]) -> dict[str, str | int | datetime]:
    """Return the attributes of an event to publish, all of them values that both content modes can carry.

    :raises ValueError: a required one is missing, a value has a wrong type, or an integer has more than 32 bits.
    """
    taken: dict[str, str | int | datetime] = {}
    for name, value in _given(attributes).items():
        if name == "time" and isinstance(value, datetime):
            taken[name] = _whole_minutes(value)
        elif isinstance(value, int):
            if not -_LARGEST_INTEGER - 1 <= value <= _LARGEST_INTEGER:
                raise ValueError(f"attribute {name!r}: {value} has more than 32 bits; pass it as text")
            taken[name] = value
        else:
            taken[name] = text(value)
    return taken


def incoming(attributes: Mapping[str, object]) -> dict[str, str | datetime]:
    """Return the attributes of a received event: the time as a ``datetime``, extensions as their canonical text.

    :raises ValueError: a required one is missing, the time is not RFC 3339, or a value has a wrong type.
    """
    taken: dict[str, str | datetime] = {}
    for name, value in _given(attributes).items():
        if name in _STANDARD and not isinstance(value, str):
            raise ValueError(f"attribute {name!r} must be text, got {type(value).__name__}")
        taken[name] = _time(text(value)) if name == "time" else text(value)
    return taken


def _given(attributes: Mapping[str, object]) -> dict[str, object]:
    for name in attributes:
        if not _name(name):
            raise ValueError(f"invalid attribute name {name!r}: lower-case letters and digits only")
    given = {name: value for name, value in attributes.items() if value is not None}
    missing = [name for name in _REQUIRED if name not in given]
    if missing:
        raise ValueError(f"missing {', '.join(missing)}")
    return given


def _time(value: str) -> datetime:
    if not _rfc3339(value):
        raise ValueError(f"time {value!r} is not RFC 3339")
    return datetime.fromisoformat(value.upper())


def _whole_minutes(moment: datetime) -> datetime:
    """RFC 3339 has no seconds in an offset: such a time is put into UTC."""
    offset = moment.utcoffset()
    if offset is None:
        raise ValueError(f"time {moment} has no time zone")
    return moment.astimezone(UTC) if offset.total_seconds() % 60 else moment
