"""Data of CloudEvents as bytes, and the JSON event format as it is received.

Every value is taken as it was sent: JSON data are the very bytes that stood in the envelope, so that no number is
rounded and no signature breaks.  What is malformed raises ``ValueError``.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from typing import NamedTuple, NoReturn

__all__ = ["JSON", "data_bytes", "is_json", "read"]

JSON = "application/json"
"""The content type that is meant where a JSON value has none."""

_OPEN, _COLON, _COMMA, _CLOSE = (re.compile(rf"[ \t\n\r]*{sign}[ \t\n\r]*") for sign in (r"\{", ":", ",", r"\}"))
_charset = re.compile(r';\s*charset\s*=\s*"?([^\s";]+)', re.IGNORECASE).search


class _Member(NamedTuple):
    value: object
    source: str


_ABSENT = _Member(None, "")


def is_json(content_type: str) -> bool:
    """Whether data of this content type are JSON: ``*/json`` or ``*/*+json``."""
    subtype = content_type.partition(";")[0].strip().lower().rpartition("/")[2]
    return subtype == "json" or subtype.endswith("+json")


def data_bytes(data: object, content_type: str | None) -> bytes:
    """Return data as bytes: text in the charset of *content_type* (UTF-8 without one), other values as JSON.

    :raises ValueError: it is a value for JSON and *content_type* is not, or the charset cannot express a text.
    :raises TypeError: JSON cannot express it.
    """
    if data is None:
        return b""
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(data, str):
        return _encoded(data, content_type)
    if not is_json(content_type or JSON):
        raise ValueError(f"data of type {type(data).__name__} for {content_type!r}: encode them to bytes")
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def read(payload: bytes) -> tuple[dict[str, object], bytes | None]:
    """Return the attributes and the data of an event in the JSON format; None when it has no data.

    Where ``data`` has no content type, ``application/json`` is meant and is set.

    :raises ValueError: it is no JSON object with unique names, or its data do not go with their content type.
    :raises RecursionError: it is nested too deeply.
    """
    members = _members(payload.decode())
    plain, coded = members.pop("data", None), members.pop("data_base64", _ABSENT).value
    attributes = {name: member.value for name, member in members.items()}
    if coded is not None:
        if not isinstance(coded, str) or (plain and plain.value is not None):
            raise ValueError("data_base64 must be text, and not together with data")
        return attributes, b64decode(coded, validate=True)
    if plain is None:
        return attributes, None
    if attributes.get("datacontenttype") is None:
        attributes["datacontenttype"] = JSON
    return attributes, _data(plain, str(attributes["datacontenttype"]))


def _data(member: _Member, content_type: str) -> bytes | None:
    if is_json(content_type):
        return member.source.encode()
    if isinstance(member.value, str):
        return _encoded(member.value, content_type)
    if member.value is None:
        return None
    raise ValueError(f"data for {content_type!r} must be text")


def _encoded(content: str, content_type: str | None) -> bytes:
    charset = _charset(content_type or "")
    try:
        return content.encode(charset[1] if charset else "utf-8")
    except LookupError as error:
        raise ValueError(str(error)) from error


def _members(document: str) -> dict[str, _Member]:
    """Each member of a JSON object: its value, and the text that it was written as."""
    scan = json.JSONDecoder(parse_constant=_refuse).raw_decode
    found: dict[str, _Member] = {}
    at = _after(_OPEN, document, 0)
    end = _CLOSE.match(document, at)
    while end is None:
        name, at = scan(document, at)
        if not isinstance(name, str) or name in found:
            raise ValueError(f"member {name!r} of the JSON object: expected a name that was not there before")
        start = _after(_COLON, document, at)
        value, at = scan(document, start)
        found[name] = _Member(value, document[start:at])
        end = _CLOSE.match(document, at)
        if end is None:
            at = _after(_COMMA, document, at)
    if end.end() != len(document):
        raise ValueError("there is text after the JSON object")
    return found


def _after(sign: re.Pattern[str], document: str, at: int) -> int:
    match = sign.match(document, at)
    if match is None:
        raise ValueError(f"the payload is no JSON object (at character {at})")
    return match.end()


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
