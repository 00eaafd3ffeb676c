"""The plugin, which makes spans and metrics of what the hooks tell."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from opentelemetry import context, metrics, propagate, trace
from opentelemetry.trace import SpanKind, StatusCode

from pubsubkit.driver import Verdict
from pubsubkit.errors import ConfigurationError
from pubsubkit.hookspecs import hookimpl
from pubsubkit.labels import type_name
from pubsubkit.otel.operations import ERROR_TYPE, Operations
from pubsubkit.otel.origin import Origin, origin_of
from pubsubkit.otel.pending import Pending

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from contextlib import AbstractContextManager

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from pubsubkit.otel.operations import Operation

__all__ = ["OpenTelemetryPlugin"]

Spans = Literal["publish", "receive", "process", "settle"]

_ALL: tuple[Spans, ...] = ("publish", "receive", "process", "settle")
_SCOPE = "pubsubkit"
_SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_SUBJECT = "messaging.destination.name"
_MESSAGE_ID = "messaging.message.id"


class OpenTelemetryPlugin:
    """Traces and metrics of one connection, or of several.

    :param templates: patterns such as ``orders.*.created``, of which the first that selects a subject names it in
        spans and metrics; the stream names all others.  The subject itself is an attribute of spans only.
    :param trace_mode: ``link`` starts a new trace with each delivery, linked to the publish; ``parent`` goes on with
        that of the publish.
    :param spans: what spans are made of; metrics are made of all.  Without ``publish`` the span in which the
        application publishes goes with the message.
    :param tracer_provider: None for the global one; also *meter_provider*.
    :raises InvalidArgumentError: a template is no filter.
    :raises ConfigurationError: *trace_mode* or *spans* has another value.
    """

    def __init__(
        self,
        *,
        templates: Iterable[str] = (),
        trace_mode: Literal["link", "parent"] = "link",
        spans: Iterable[Spans] = _ALL,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._spans = frozenset(spans)
        if trace_mode not in {"link", "parent"}:
            raise ConfigurationError(f"trace_mode={trace_mode!r}: expected 'link' or 'parent'")
        if unknown := self._spans.difference(_ALL):
            raise ConfigurationError(f"spans: {', '.join(map(repr, unknown))} is none of {', '.join(_ALL)}")
        self._parent = trace_mode == "parent"
        self._operations = Operations(templates)
        self._pending = Pending()
        self._tracer = trace.get_tracer(_SCOPE, None, tracer_provider, _SCHEMA)
        meter = metrics.get_meter(_SCOPE, "", meter_provider, _SCHEMA)
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Messages that were published, or could not be."
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Messages that were handed to the application."
        )
        self._durations = meter.create_histogram(
            "messaging.client.operation.duration",
            "s",
            "How long a publish or a verdict took.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._process_durations = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "How long a handler took.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )

    @hookimpl
    def pubsubkit_before_send(
        self, address: str, stream: str, subject: str, headers: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Begin the span of a publish; return its context as headers, unless the message carries one."""
        origin, added = origin_of(headers), dict[str, str]()
        if "publish" not in self._spans:
            if not origin.carried:
                propagate.inject(added)
            return added
        operation = self._operations.of("publish", address, stream, subject)
        span = self._tracer.start_span(
            operation.span_name,
            kind=SpanKind.CLIENT if origin.carried else SpanKind.PRODUCER,
            attributes={**operation.span_attributes, **origin.event, _SUBJECT: subject},
            links=origin.links,
        )
        if not origin.carried:
            propagate.inject(added, trace.set_span_in_context(span))
        if span.is_recording():
            self._pending.add(_key(subject, {**added, **headers}), span)
        return added

    @hookimpl
    def pubsubkit_published(
        self,
        address: str,
        stream: str,
        subject: str,
        message_id: str | None,
        headers: Mapping[str, str],
        error: BaseException | None,
        latency: float,
    ) -> None:
        """Measure a publish and end its span."""
        attributes = self._operations.of("publish", address, stream, subject).ended(error)
        self._durations.record(latency, attributes)
        self._sent.add(1, attributes)
        span = self._pending.take(_key(subject, headers)) if self._pending else None
        if span is not None:
            if message_id is not None:
                span.set_attribute(_MESSAGE_ID, message_id)
            _end(span, error)

    @hookimpl
    def pubsubkit_received(
        self,
        address: str,
        stream: str,
        subject: str,
        consumer: str,
        num_delivered: int,
        headers: Mapping[str, str],
    ) -> None:
        """Count a message that was handed out, and make a span of that."""
        operation = self._operations.of("receive", address, stream, subject, consumer)
        self._consumed.add(1, operation.attributes)
        if "receive" in self._spans:
            self._follow(operation, SpanKind.CLIENT, subject, num_delivered, origin_of(headers)).end()

    @hookimpl
    def pubsubkit_processing(
        self,
        address: str,
        stream: str,
        subject: str,
        consumer: str,
        num_delivered: int,
        headers: Mapping[str, str],
    ) -> AbstractContextManager[None]:
        """A span around a handler, which is the current one inside it."""
        operation = self._operations.of("process", address, stream, subject, consumer)
        return self._process(operation, subject, num_delivered, headers)

    @hookimpl
    def pubsubkit_settled(
        self,
        address: str,
        stream: str,
        subject: str,
        consumer: str,
        verdict: Verdict,
        num_delivered: int,
        headers: Mapping[str, str],
        error: Exception | None,
        latency: float,
    ) -> None:
        """Measure a verdict, and make a span of it; a lease that was extended is none."""
        if verdict is Verdict.IN_PROGRESS:
            return
        operation = self._operations.of(verdict.value, address, stream, subject, consumer)
        self._durations.record(latency, operation.ended(error))
        if "settle" in self._spans:
            begun = time.time_ns() - int(latency * 1e9)
            span = self._follow(operation, SpanKind.CLIENT, subject, num_delivered, origin_of(headers), begun)
            _end(span, error)

    @contextmanager
    def _process(
        self, operation: Operation, subject: str, num_delivered: int, headers: Mapping[str, str]
    ) -> Generator[None]:
        origin = origin_of(headers)
        span: Span | None = None
        inside = origin.around() if self._parent else context.get_current()
        if "process" in self._spans:
            span = self._follow(operation, SpanKind.CONSUMER, subject, num_delivered, origin)
            inside = trace.set_span_in_context(span, origin.around())
        token = context.attach(inside)
        started = time.perf_counter()
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            self._process_durations.record(time.perf_counter() - started, operation.ended(failure))
            context.detach(token)
            if span is not None:
                _end(span, failure)

    def _follow(
        self,
        operation: Operation,
        kind: SpanKind,
        subject: str,
        num_delivered: int,
        origin: Origin,
        begun: int | None = None,
    ) -> Span:
        """Begin a span of what happens to a message after its publish."""
        is_child = self._parent and origin.carried
        count = f"messaging.{operation.attributes['messaging.system']}.delivery_count"
        return self._tracer.start_span(
            operation.span_name,
            context=origin.around() if is_child else None,
            kind=kind,
            attributes={**operation.span_attributes, **origin.event, _SUBJECT: subject, count: num_delivered},
            links=origin.links[1:] if is_child else origin.links,
            start_time=begun,
        )


def _key(subject: str, headers: Mapping[str, str]) -> tuple[str | None, ...]:
    """What a message is known by until its publish ends: subject and trace context."""
    return subject, headers.get("traceparent")


def _end(span: Span, error: BaseException | None) -> None:
    if error is not None and span.is_recording():
        span.record_exception(error)
        span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")
        span.set_attribute(ERROR_TYPE, type_name(error))
    span.end()
