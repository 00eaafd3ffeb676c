"""Where a message comes from, as its headers tell: contexts of traces, and what a CloudEvent says of itself."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pubsubkit.attributes import decode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.propagators.textmap import TextMapPropagator

__all__ = ["Origin", "origin_of"]

_PREFIX = "ce-"
_EVENT = {
    "ce-id": "cloudevents.event_id",
    "ce-source": "cloudevents.event_source",
    "ce-type": "cloudevents.event_type",
    "ce-subject": "cloudevents.event_subject",
    "ce-specversion": "cloudevents.event_spec_version",
}
_w3c = TraceContextTextMapPropagator()


class Origin(NamedTuple):
    """What the headers of a message say."""

    context: Context
    """The span and the baggage that it carries, and nothing else."""
    carried: bool
    """Whether it carries a span."""
    links: Sequence[trace.Link]
    """To the span that it carries, and to the one in which its CloudEvent came to be."""
    event: Mapping[str, str]
    """The attributes of its CloudEvent."""

    def around(self) -> Context:
        """The current context with what the message carries."""
        return Context({**context.get_current(), **self.context}) if self.context else context.get_current()


_NOTHING = Origin(Context(), carried=False, links=(), event={})


def origin_of(headers: Mapping[str, str]) -> Origin:
    """Read *headers*; case does not matter in their names, and what is malformed counts as missing."""
    return _read(propagate.get_global_textmap(), tuple(headers.items())) if headers else _NOTHING


@lru_cache(maxsize=1024)  # a message is received, processed and settled
def _read(propagator: TextMapPropagator, headers: tuple[tuple[str, str], ...]) -> Origin:
    fields = {name.lower(): value for name, value in headers}
    found = propagator.extract(fields, Context())
    span = trace.get_current_span(found)
    carried = span is not trace.INVALID_SPAN
    contexts = [span.get_span_context()] if carried else []
    described: dict[str, str] = {}
    if "ce-specversion" in fields:
        event = {name: text for name, value in fields.items() if name.startswith(_PREFIX) and (text := _text(value))}
        described = {_EVENT[name]: text for name, text in event.items() if name in _EVENT}
        came_to_be = _w3c.extract({name.removeprefix(_PREFIX): text for name, text in event.items()})
        origin = trace.get_current_span(came_to_be).get_span_context()
        if origin.is_valid and origin not in contexts:
            contexts.append(origin)
    return Origin(found, carried, tuple(map(trace.Link, contexts)), described)


def _text(value: str) -> str:
    try:
        return decode(value)
    except ValueError:
        return ""
