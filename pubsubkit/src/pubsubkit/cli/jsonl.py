"""Messages as JSON lines: what ``pub --jsonl`` reads and ``sub`` writes.  The second can be fed to the first."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, NoReturn, cast

from pubsubkit.driver import OutgoingMessage
from pubsubkit.errors import InvalidArgumentError
from pubsubkit.params import did_you_mean
from pubsubkit.payload import check_headers, check_message_id, check_size
from pubsubkit.subjects import check_subject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pubsubkit.message import Message

__all__ = ["check_message", "format_line", "format_message", "parse_message"]

_PAYLOAD = ("data", "text", "base64")
_SENT = ("subject", *_PAYLOAD, "headers", "message_id")
_RECEIVED = ("sequence", "num_delivered", "timestamp")
_EXPECTED = 'expected an object such as {"subject": "orders.created", "data": {"id": 1}}'


def parse_message(line: bytes) -> OutgoingMessage:
    """Return the message that one line describes.

    :raises InvalidArgumentError: it is not UTF-8 or JSON, or not an object with the right members.
    """
    document = _load(line)
    if not isinstance(document, dict):
        raise InvalidArgumentError(_EXPECTED)
    fields = cast("dict[str, Any]", document)
    for name in fields:
        if name not in _SENT and name not in _RECEIVED:
            raise InvalidArgumentError(f"unknown member {name!r}{did_you_mean(name, _SENT)}; {_EXPECTED}")
    if "subject" not in fields:
        raise InvalidArgumentError(f"'subject' is missing; {_EXPECTED}")
    headers = fields.get("headers")
    if headers is not None and not isinstance(headers, dict):
        raise InvalidArgumentError("'headers' must be an object of text to text")
    return OutgoingMessage(fields["subject"], _payload(fields), headers or None, fields.get("message_id"))


def check_message(message: OutgoingMessage, limit: int) -> OutgoingMessage:
    """Return *message* when it can be published.

    :param limit: the most bytes, headers included.
    :raises InvalidArgumentError: it cannot.
    """
    check_subject(message.subject)
    check_headers(message.headers or {})
    if message.message_id is not None:
        check_message_id(message.message_id)
    check_size(message.data, message.headers, message.message_id, limit)
    return message


def format_message(message: Message) -> bytes:
    """Return a received message as one line; its payload is as in :func:`format_line`."""
    meta = message.metadata
    row = {
        "subject": message.subject,
        "sequence": meta.sequence,
        "num_delivered": meta.num_delivered,
        "timestamp": meta.timestamp.isoformat(),
        "headers": dict(message.headers),
    }
    return format_line(row, message.data)


def format_line(row: Mapping[str, Any], payload: bytes | None = None) -> bytes:
    """Return *row* as a line of JSON.

    A payload goes into ``data`` when it is JSON, else into ``text`` when it is UTF-8, else into ``base64``.
    """
    if payload is None:
        return _dump(row) + b"\n"
    try:
        return _dump({**row, "data": _load(payload)}) + b"\n"
    except ValueError:
        pass
    try:
        return _dump({**row, "text": payload.decode()}) + b"\n"
    except UnicodeDecodeError:
        return _dump({**row, "base64": base64.b64encode(payload).decode()}) + b"\n"


def _payload(fields: Mapping[str, Any]) -> bytes:
    given = [name for name in _PAYLOAD if name in fields]
    if len(given) != 1:
        raise InvalidArgumentError(f"{' and '.join(given) or 'the payload'}: give one of 'data', 'text' and 'base64'")
    value = fields[given[0]]
    if given[0] == "data":
        return _dump(value)
    if not isinstance(value, str):
        raise InvalidArgumentError(f"'{given[0]}' must be text; any other JSON goes into 'data'")
    try:
        return value.encode() if given[0] == "text" else base64.b64decode(value, validate=True)
    except ValueError as error:
        raise InvalidArgumentError(f"'{given[0]}' cannot be decoded: {error}") from error


def _load(line: bytes) -> object:
    """Parse strict JSON: RFC 8259 has no NaN and no Infinity."""
    try:
        return cast("object", json.loads(line.decode(), parse_constant=_refuse))
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"not UTF-8: {error.reason} at byte {error.start + 1}") from error
    except json.JSONDecodeError as error:
        raise InvalidArgumentError(f"not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError:
        raise InvalidArgumentError("not usable: the JSON is nested too deeply") from None
    except ValueError as error:
        raise InvalidArgumentError(f"not JSON: {error}") from error


def _dump(value: object) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (UnicodeEncodeError, RecursionError, ValueError) as error:
        raise InvalidArgumentError(f"cannot be written as JSON: {error}") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON value")
