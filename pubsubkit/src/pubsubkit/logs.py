"""Logs as lines of JSON, each with the trace that it belongs to.

::

    handler = logging.StreamHandler()
    handler.addFilter(TraceFilter())
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler])

What the library says of a message it logs as one record with the attributes ``stream``, ``subject``, ``consumer`` and
``num_delivered``, and ``trace_id`` when the message carries one; never with the payload.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pubsubkit.redaction import redact

if TYPE_CHECKING:
    from pubsubkit.driver import Delivery, OutgoingMessage

__all__ = ["JsonFormatter", "TraceFilter", "delivery_fields", "log_about", "outgoing_fields"]

_traceparent = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}").match
_OWN = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"))


def delivery_fields(delivery: Delivery) -> dict[str, object]:
    """What a record about *delivery* gets as ``extra``."""
    meta = delivery.metadata
    return {
        "stream": meta.stream,
        "subject": delivery.subject,
        "consumer": meta.consumer,
        "num_delivered": meta.num_delivered,
        **_trace(delivery.headers),
    }


def outgoing_fields(stream: str, message: OutgoingMessage) -> dict[str, object]:
    """What a record about *message*, to be stored in *stream*, gets as ``extra``."""
    return {"stream": stream, "subject": message.subject, **_trace(message.headers or {})}


def log_about(logger: logging.Logger, level: int, fields: Mapping[str, object], text: str, *arguments: object) -> None:
    """Log *text* with *fields* as ``extra``; never raises, as what depends on a message must not fail with its log.

    An application's record factory may have a field of its own by one of the names, and a filter may fail.
    """
    with suppress(Exception):
        try:
            logger.log(level, text, *arguments, extra=fields, stacklevel=2)
        except KeyError:
            logger.log(level, text, *arguments, stacklevel=2)


class TraceFilter(logging.Filter):
    """Sets ``trace_id`` and ``span_id`` of each record to those of OpenTelemetry's current span.

    Outside a span ``trace_id`` stays that of the message which the record is about; what is unknown is empty.  Put it
    on the handler whose format uses them; it lets every record pass.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set both, and let *record* pass."""
        trace = sys.modules.get("opentelemetry.trace")  # what nobody has imported has no current span
        current = trace.get_current_span().get_span_context() if trace else None
        if trace and current and current.is_valid:
            record.trace_id = trace.format_trace_id(current.trace_id)
            record.span_id = trace.format_span_id(current.span_id)
        else:
            record.trace_id = getattr(record, "trace_id", "")
            record.span_id = ""
        return True


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON, without secrets.

    It has ``time`` (UTC), ``level``, ``logger``, ``message``, everything that was given as ``extra`` and is not empty,
    and for an exception ``error`` and ``traceback``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        moment = datetime.fromtimestamp(record.created, UTC)
        own: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info and (error := record.exc_info[1]) is not None:
            own["error"] = redact(f"{type(error).__name__}: {error}")
            own["traceback"] = redact(self.formatException(record.exc_info))
        extra = {name: _plain(value) for name, value in vars(record).items() if name not in _OWN}
        line = {**own, **{name: value for name, value in extra.items() if name not in own and value not in ("", None)}}
        return json.dumps(line, ensure_ascii=False).encode(errors="replace").decode()


def _trace(headers: Mapping[str, str]) -> dict[str, object]:
    found = _traceparent(headers.get("traceparent", ""))
    return {"trace_id": found[1]} if found else {}


def _plain(value: Any) -> object:
    """A value as JSON has it, texts without secrets; what JSON does not have is its text."""
    if isinstance(value, bool | int | None) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        items: Mapping[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return {str(name): _plain(each) for name, each in items.items()}
    if isinstance(value, list | tuple):
        return [*map(_plain, value)]  # pyright: ignore[reportUnknownArgumentType]
    return redact(str(value))
