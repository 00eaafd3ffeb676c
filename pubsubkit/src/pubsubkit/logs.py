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
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pubsubkit.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pubsubkit.driver import Delivery, OutgoingMessage

__all__ = ["JsonFormatter", "TraceFilter", "delivery_fields", "outgoing_fields"]

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
        line: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        extra = {name: value for name, value in vars(record).items() if name not in _OWN}
        line |= {name: value for name, value in extra.items() if value not in ("", None)}
        if record.exc_info and (error := record.exc_info[1]) is not None:
            line["error"] = redact(f"{type(error).__name__}: {error}")
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def _trace(headers: Mapping[str, str]) -> dict[str, object]:
    found = _traceparent(headers.get("traceparent", ""))
    return {"trace_id": found[1]} if found else {}
