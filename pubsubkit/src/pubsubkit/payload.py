"""Checks of what is published, the same on every backend: nothing is altered on its way, or it is refused here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pubsubkit.errors import InvalidArgumentError

__all__ = ["check_data", "check_headers", "check_message_id", "check_native_headers", "check_size", "message_size"]

_header_name = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_unsafe_in_value = re.compile(r"[\r\n\x00\ud800-\udfff]").search
_RESERVED = "nats-"
_ENVELOPE_BYTES = len("NATS/1.0\r\n\r\n")
_FIELD_BYTES = len(": \r\n")
_ID_BYTES = len("Nats-Msg-Id: \r\n")


def check_data(data: object) -> bytes:
    """Return a payload as bytes of its own, so that later changes to a buffer do not reach the message.

    :raises InvalidArgumentError: it is not bytes-like.
    """
    if type(data) is bytes:
        return data
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)  # pyright: ignore[reportUnknownArgumentType]
    hint = "; encode it: data.encode()" if isinstance(data, str) else ""
    raise InvalidArgumentError(f"data must be bytes, got {type(data).__name__}{hint}")


def check_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return a copy of *headers* when every backend can carry them exactly.

    A name is a token of RFC 9110 and does not begin with ``Nats-``, which brokers use; a value is any text without
    line breaks and NUL and without blanks at its ends (NATS headers, ADR-4, cannot carry those).

    :raises InvalidArgumentError: a name or value breaks these rules.
    """
    if not isinstance(headers, Mapping):
        raise InvalidArgumentError(f"headers must map names to values, got {type(headers).__name__}")
    for name, value in headers.items():
        if not isinstance(name, str) or not _header_name(name):
            raise InvalidArgumentError(f"invalid header name {name!r}: letters, digits and !#$%&'*+-.^_`|~ only")
        if name.lower().startswith(_RESERVED):
            raise InvalidArgumentError(
                f"header {name!r}: names that begin with 'Nats-' are the broker's own; what it takes goes into native="
            )
        _check_value(name, value)
    return dict(headers)


def check_native_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return *headers* for the broker when their values can be carried; their names the driver knows.

    :raises InvalidArgumentError: *headers* is no mapping, or a value breaks the rules of :func:`check_headers`.
    """
    if not isinstance(headers, Mapping):
        raise InvalidArgumentError(f"native must map names of headers to values, got {type(headers).__name__}")
    for name, value in headers.items():
        _check_value(name, value)
    return headers


def _check_value(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidArgumentError(f"header {name!r}: the value must be str, got {type(value).__name__}")
    if value != value.strip() or _unsafe_in_value(value):
        raise InvalidArgumentError(
            f"header {name!r}: the value must have no line break, no NUL and no blanks at its ends; percent-encode it"
        )


def check_message_id(message_id: str) -> str:
    """Return a message id that every backend can carry.

    :raises InvalidArgumentError: it is empty, or breaks the rules for a header's value.
    """
    good = isinstance(message_id, str) and message_id and message_id == message_id.strip()
    if not good or _unsafe_in_value(message_id):
        raise InvalidArgumentError(f"invalid message id {message_id!r}: expected text without line breaks")
    return message_id


def message_size(data: bytes, headers: Mapping[str, str] | None, message_id: str | None) -> int:
    """The bytes of payload, headers and message id together, counted as NATS counts them."""
    size = len(data)
    if headers or message_id:
        size += _ENVELOPE_BYTES + (_ID_BYTES + len(message_id.encode()) if message_id else 0)
        size += sum(len(name) + len(value.encode()) + _FIELD_BYTES for name, value in (headers or {}).items())
    return size


def check_size(data: bytes, headers: Mapping[str, str] | None, message_id: str | None, limit: int) -> None:
    """Check that payload, headers and message id together fit into *limit* bytes, counted as NATS counts them.

    :raises InvalidArgumentError: they do not.
    """
    size = message_size(data, headers, message_id)
    if size > limit:
        raise InvalidArgumentError(
            f"the message has {size} bytes (headers included), more than the {limit} that the broker takes; "
            "store large data elsewhere and publish a reference to it"
        )
