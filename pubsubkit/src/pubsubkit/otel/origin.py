"""Where a message comes from, as its headers tell: contexts of traces, and what a CloudEvent says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from opentelemetry import context, propagate, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pubsubkit.attributes import decode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.context import Context

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
    """The current one, with the message's span and baggage where it carries them."""
    carried: bool
    """Whether the message carries a span."""
    links: Sequence[trace.Link]
    """To the span that it carries, and to the one in which its CloudEvent came to be."""
    event: Mapping[str, str]
    """The attributes of its CloudEvent."""


def origin_of(headers: Mapping[str, str]) -> Origin:
    """Read *headers*; case does not matter in their names, and what is malformed counts as missing."""
    current = context.get_current()
    if not headers:
        return Origin(current, carried=False, links=(), event={})
    fields = {name.lower(): value for name, value in headers.items()}
    propagator = propagate.get_global_textmap()
    found = current if propagator.fields.isdisjoint(fields) else propagator.extract(fields, current)
    span = trace.get_current_span(found)
    carried = span is not trace.get_current_span(current)
    contexts = [span.get_span_context()] if carried else []
    if "ce-specversion" not in fields:
        return Origin(found, carried, [trace.Link(each) for each in contexts], {})
    event = {name: text for name, value in fields.items() if name.startswith(_PREFIX) and (text := _text(value))}
    origin = trace.get_current_span(_w3c.extract({name.removeprefix(_PREFIX): text for name, text in event.items()}))
    if origin.get_span_context().is_valid and origin.get_span_context() not in contexts:
        contexts.append(origin.get_span_context())
    described = {_EVENT[name]: text for name, text in event.items() if name in _EVENT}
    return Origin(found, carried, [trace.Link(each) for each in contexts], described)


def _text(value: str) -> str:
    try:
        return decode(value)
    except ValueError:
        return ""
