"""Traces and metrics, seen by OpenTelemetry's own SDK."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from pubsubkit import (
    Backend,
    ConfigurationError,
    ConsumerOptions,
    InvalidArgumentError,
    Message,
    PublishBatchError,
    PublisherOptions,
    TransientError,
    connect,
)
from pubsubkit.driver import Delivery
from pubsubkit.hooks import processing
from pubsubkit.hookspecs import hookimpl
from pubsubkit.otel import OpenTelemetryPlugin
from pubsubkit.otel import pending as pending_spans

STREAM = PublisherOptions(stream_name="orders")
READER = ConsumerOptions(stream_name="orders", consumer_name="billing")
APPLICATION = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EARLIER = "00-11111111111111111111111111111111-2222222222222222-01"


class Telemetry:
    """An SDK that keeps everything in memory."""

    def __init__(self, sampler: object = None) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracing = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracing.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.metering = MeterProvider([self.reader], shutdown_on_exit=False)

    def plugin(self, **options: object) -> OpenTelemetryPlugin:
        return OpenTelemetryPlugin(tracer_provider=self.tracing, meter_provider=self.metering, **options)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        (found,) = (span for span in self.spans if span.name == name)
        return found

    def points(self, name: str) -> list[tuple[Mapping[str, object], float]]:
        """The attributes of a metric with its values: how many there are for a histogram."""
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        metrics = [metric for scope in scopes for metric in scope.metrics if metric.name == name]
        points = [point for metric in metrics for point in metric.data.data_points]
        return [(dict(point.attributes), getattr(point, "value", None) or point.count) for point in points]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@asynccontextmanager
async def handling(backend: Backend, message: Message) -> AsyncGenerator[None]:
    """What runs handlers does this around each."""
    with processing(backend._connection.hooks, message.delivery):
        yield


async def through(
    backend: Backend, subject: str = "orders.eu.created", headers: Mapping[str, str] | None = None
) -> Message:
    """Publish a message, receive it, handle it and ack it."""
    async with backend.publisher(STREAM) as publisher:
        await publisher.publish(subject, b"1234", headers=headers)
    async with backend.consumer(READER).subscribe() as messages:
        message = await anext(messages)
        async with handling(backend, message):
            await asyncio.sleep(0)
        await message.ack()
    return message


def identity(span: ReadableSpan) -> tuple[int, int]:
    return span.context.trace_id, span.context.span_id


def linked(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


async def test_spans_of_a_message(telemetry: Telemetry):
    """Each operation is a span named by operation and stream, of its kind, linked to the publish."""
    async with connect("memory://", plugins=[telemetry.plugin()]) as backend:
        message = await through(backend)
    kinds = [(span.name, span.kind) for span in telemetry.spans]
    assert kinds == [
        ("publish orders", SpanKind.PRODUCER),
        ("receive orders", SpanKind.CLIENT),
        ("process orders", SpanKind.CONSUMER),
        ("ack orders", SpanKind.CLIENT),
    ]
    publish, *others = telemetry.spans
    trace_id, span_id = identity(publish)
    assert message.headers["traceparent"] == f"00-{trace_id:032x}-{span_id:016x}-{publish.context.trace_flags:02x}"
    assert publish.context.trace_flags.sampled
    assert [linked(span) for span in others] == [[(trace_id, span_id)]] * 3
    assert [span.parent for span in telemetry.spans] == [None] * 4
    assert all(span.end_time >= span.start_time for span in telemetry.spans)


async def test_attributes(telemetry: Telemetry):
    """Spans have the attributes of the conventions; the subject itself is one of them."""
    async with connect("memory://", plugins=[telemetry.plugin(templates=["orders.*.created"])]) as backend:
        await through(backend)
    common = {
        "messaging.system": "memory",
        "messaging.destination.template": "orders.*.created",
        "messaging.destination.name": "orders.eu.created",
        "messaging.memory.stream": "orders",
    }
    group = {
        "messaging.consumer.group.name": "billing",
        "messaging.destination.subscription.name": "billing",
        "messaging.memory.delivery_count": 1,
    }
    operation = "messaging.operation.name", "messaging.operation.type"
    assert dict(telemetry.span("publish orders.*.created").attributes) == {
        **common,
        **dict(zip(operation, ("publish", "send"), strict=True)),
    }
    assert dict(telemetry.span("receive orders.*.created").attributes) == {
        **common,
        **group,
        **dict(zip(operation, ("receive", "receive"), strict=True)),
    }
    for name, kind in (("process", "process"), ("ack", "settle")):
        assert dict(telemetry.span(f"{name} orders.*.created").attributes) == {
            **common,
            **group,
            **dict(zip(operation, (name, kind), strict=True)),
        }


async def test_parent_mode(telemetry: Telemetry):
    """With trace_mode="parent" everything is in the trace of the publish."""
    async with connect("memory://", plugins=[telemetry.plugin(trace_mode="parent")]) as backend:
        await through(backend)
    publish, *others = telemetry.spans
    assert [(span.parent.trace_id, span.parent.span_id) for span in others] == [identity(publish)] * 3
    assert [linked(span) for span in others] == [[]] * 3


@pytest.mark.parametrize("trace_mode", ["link", "parent"])
async def test_inside_a_handler(telemetry: Telemetry, trace_mode: str):
    """A handler runs inside its span: what it publishes is a child of it, and has the baggage of the message."""
    plugin = telemetry.plugin(trace_mode=trace_mode)
    async with connect("memory://", plugins=[plugin]) as backend, backend.publisher(STREAM) as publisher:
        token = context.attach(baggage.set_baggage("customer", "c7"))
        await publisher.publish("orders.a", b"")
        context.detach(token)
        async with backend.consumer(READER).subscribe() as messages:
            message = await anext(messages)
            before = trace.get_current_span()
            async with handling(backend, message):
                assert baggage.get_baggage("customer") == "c7"
                await publisher.publish("orders.b", b"")
            assert trace.get_current_span() is before
            await message.ack()
    first, second = (span for span in telemetry.spans if span.name == "publish orders")
    process = telemetry.span("process orders")
    assert second.parent.span_id == process.context.span_id
    assert (process.context.trace_id == first.context.trace_id) is (trace_mode == "parent")


async def test_publishing_inside_a_span_of_the_application(telemetry: Telemetry):
    """A publish is a child of the span in which it was called, also when others send it."""
    tracer = telemetry.tracing.get_tracer("application")
    async with connect("memory://", plugins=[telemetry.plugin()]) as backend, backend.publisher(STREAM) as publisher:
        with tracer.start_as_current_span("one"):
            await publisher.publish_soon("orders.1", b"")
        with tracer.start_as_current_span("two"):
            await publisher.publish_soon("orders.2", b"")
        await publisher.flush()
    parents = {
        span.attributes["messaging.destination.name"]: span.parent.span_id
        for span in telemetry.spans
        if span.name == "publish orders"
    }
    assert parents == {f"orders.{n}": telemetry.span(name).context.span_id for n, name in ((1, "one"), (2, "two"))}


async def test_a_context_of_the_application_is_kept(telemetry: Telemetry):
    """A traceparent that the application set, in whatever case, is not replaced; the publish is linked to it."""
    for name in ("traceparent", "Traceparent"):
        telemetry.exporter.clear()
        async with connect("memory://", plugins=[telemetry.plugin()]) as backend:
            message = await through(backend, headers={name: APPLICATION})
        assert dict(message.headers) == {name: APPLICATION}
        carried = (int(APPLICATION[3:35], 16), int(APPLICATION[36:52], 16))
        assert [linked(span) for span in telemetry.spans] == [[carried]] * 4
        assert telemetry.spans[0].kind is SpanKind.CLIENT


@pytest.mark.parametrize("header", ["", "00-0-0-00", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 600])
async def test_a_malformed_context(telemetry: Telemetry, header: str):
    """A traceparent that is none is not followed."""
    async with connect("memory://", plugins=[telemetry.plugin()]) as backend:
        message = await through(backend, headers={"traceparent": header})
    assert message.headers["traceparent"] == header
    assert [linked(span) for span in telemetry.spans] == [[]] * 4


EVENT = {
    "ce-specversion": "1.0",
    "ce-id": "e%201",
    "ce-source": "/shop",
    "ce-type": "order.created",
    "ce-subject": "%C0",
    "ce-traceparent": EARLIER,
}


@pytest.mark.parametrize("trace_mode", ["link", "parent"])
async def test_cloudevents(telemetry: Telemetry, trace_mode: str):
    """An event in binary mode is described by its attributes, and linked to where it came to be."""
    async with connect("memory://", plugins=[telemetry.plugin(trace_mode=trace_mode)]) as backend:
        await through(backend, headers=EVENT)
    publish, *others = telemetry.spans
    came_to_be = (int(EARLIER[3:35], 16), int(EARLIER[36:52], 16))
    assert linked(publish) == [came_to_be]
    links = [identity(publish), came_to_be] if trace_mode == "link" else [came_to_be]
    assert [linked(span) for span in others] == [links] * 3
    for span in telemetry.spans:
        event = {name: value for name, value in span.attributes.items() if name.startswith("cloudevents.")}
        assert event == {
            "cloudevents.event_id": "e 1",
            "cloudevents.event_source": "/shop",
            "cloudevents.event_type": "order.created",
            "cloudevents.event_spec_version": "1.0",
        }


async def test_an_event_of_the_same_context(telemetry: Telemetry):
    """A context that a message carries twice, in its own header and in its event's, is one link."""
    headers = {**EVENT, "traceparent": EARLIER}
    async with connect("memory://", plugins=[telemetry.plugin()]) as backend:
        await through(backend, headers=headers)
    assert [len(span.links) for span in telemetry.spans] == [1] * 4


def test_pending_spans_end_in_their_order():
    """Of spans with the same key the first one is taken first."""
    pending = pending_spans.Pending()
    spans = [trace.NonRecordingSpan(trace.SpanContext(1, number, is_remote=False)) for number in (1, 2)]
    for span in spans:
        pending.add("key", span)
    assert [pending.take("key") for _ in range(3)] == [*spans, None]
    assert not pending


async def test_failures(telemetry: Telemetry):
    """What fails is an error with its type: a publish that is refused, and a handler, whose exception goes on."""
    async with connect("memory://", plugins=[telemetry.plugin()]) as backend:
        async with backend.publisher(STREAM) as publisher:
            with pytest.raises(InvalidArgumentError):
                await publisher.publish("orders.large", bytes(backend.max_payload))
            await publisher.publish("orders.x", b"")
        async with backend.consumer(READER).subscribe() as messages:
            message = await anext(messages)
            with pytest.raises(KeyError, match="mine"):
                async with handling(backend, message):
                    raise KeyError("mine")
            await message.nak()
            with pytest.raises(asyncio.CancelledError):
                async with handling(backend, await anext(messages)):
                    raise asyncio.CancelledError
    refused = next(span for span in telemetry.spans if span.name == "publish orders")
    failed, cancelled = (span for span in telemetry.spans if span.name == "process orders")
    assert [span.attributes["messaging.memory.delivery_count"] for span in (failed, cancelled)] == [1, 2]
    types = [span.attributes["error.type"] for span in (refused, failed, cancelled)]
    assert types == ["pubsubkit.errors.InvalidArgumentError", "KeyError", "asyncio.exceptions.CancelledError"]
    for span in (refused, failed, cancelled):
        assert span.status.status_code is StatusCode.ERROR
        assert [event.name for event in span.events] == ["exception"]
    assert failed.status.description == "KeyError: 'mine'"
    durations = telemetry.points("messaging.process.duration")
    assert [(point["error.type"], count) for point, count in durations] == [
        ("KeyError", 1),
        ("asyncio.exceptions.CancelledError", 1),
    ]
    sent = telemetry.points("messaging.client.sent.messages")
    assert [(point.get("error.type"), count) for point, count in sent] == [
        ("pubsubkit.errors.InvalidArgumentError", 1),
        (None, 1),
    ]


async def test_a_verdict_that_takes_time_and_fails(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch):
    """The span of a verdict is as long as the verdict took; one that does not reach the broker is an error."""
    async with connect("memory://", plugins=[telemetry.plugin()]) as backend:
        async with backend.publisher(STREAM) as publisher:
            await publisher.publish("orders.x", b"")
        async with backend.consumer(READER).subscribe() as messages:
            message = await anext(messages)

            async def fail(settlement):
                await asyncio.sleep(0.02)
                raise TransientError("gone")

            with monkeypatch.context() as patched:
                patched.setattr(type(message.delivery), "settle", lambda self, settlement: fail(settlement))
                patched.setattr(type(message.delivery), "settle_now", Delivery.settle_now)
                with pytest.raises(TransientError):
                    await message.ack()
    span = telemetry.span("ack orders")
    assert span.end_time - span.start_time > 15e6
    assert (span.status.status_code, span.attributes["error.type"]) == (
        StatusCode.ERROR,
        "pubsubkit.errors.TransientError",
    )
    durations = telemetry.points("messaging.client.operation.duration")
    assert [point.get("error.type") for point, _ in durations] == [None, "pubsubkit.errors.TransientError"]


async def test_metrics(telemetry: Telemetry):
    """Publishes, deliveries, verdicts and handlers are counted and measured, by template and never by subject."""
    plugin = telemetry.plugin(templates=["orders.*.created"])
    async with connect("memory://", plugins=[plugin]) as backend, backend.publisher(STREAM) as publisher:
        await publisher.publish_many([(f"orders.{number}.created", b"") for number in range(50)])
        await publisher.publish("orders.other", b"")
        async with backend.consumer(READER).subscribe() as messages:
            for verdict in ["nak"] + ["ack"] * 49 + ["term", "ack"]:
                message = await anext(messages)
                await message.in_progress()
                async with handling(backend, message):
                    pass
                await getattr(message, verdict)()

    def expected(name: str, template: str, **more: object) -> Mapping[str, object]:
        place = {"messaging.system": "memory", "messaging.destination.template": template}
        return {**place, "messaging.operation.name": name, **more}

    created, other, group = "orders.*.created", "orders", {"messaging.consumer.group.name": "billing"}
    sent = [(expected("publish", created), 50), (expected("publish", other), 1)]
    assert telemetry.points("messaging.client.sent.messages") == sent
    assert telemetry.points("messaging.client.consumed.messages") == [
        (expected("receive", created, **group), 51),
        (expected("receive", other, **group), 1),
    ]
    durations = telemetry.points("messaging.client.operation.duration")
    assert [entry for entry in durations if entry[0]["messaging.operation.name"] == "publish"] == sent
    settled = {
        (point["messaging.operation.name"], point["messaging.destination.template"]): count
        for point, count in durations
        if point["messaging.operation.name"] != "publish"
    }
    assert settled == {("nak", created): 1, ("ack", created): 49, ("term", created): 1, ("ack", other): 1}
    handled = telemetry.points("messaging.process.duration")
    assert sum(count for _, count in handled) == 52


async def test_only_some_spans(telemetry: Telemetry):
    """Spans are made of what is asked for; metrics of all; the application's own span goes with the message then."""
    tracer = telemetry.tracing.get_tracer("application")
    async with connect("memory://", plugins=[telemetry.plugin(spans=["process"])]) as backend:
        with tracer.start_as_current_span("application"):
            message = await through(backend)
        kept = await through(backend, headers={"traceparent": APPLICATION})
    process, other = (span for span in telemetry.spans if span.name == "process orders")
    application = telemetry.span("application")
    assert len(telemetry.spans) == 3
    assert linked(process) == [identity(application)]
    assert message.headers["traceparent"].split("-")[2] == f"{application.context.span_id:016x}"
    assert (kept.headers["traceparent"], len(other.links)) == (APPLICATION, 1)
    assert telemetry.points("messaging.client.sent.messages")[0][1] == 2


@pytest.mark.parametrize(("trace_mode", "inside"), [("link", False), ("parent", True)])
async def test_handlers_without_spans(telemetry: Telemetry, trace_mode: str, inside: bool):
    """Without spans of handlers, what they do is in the trace of the publish in parent mode only."""
    plugin = telemetry.plugin(spans=["publish"], trace_mode=trace_mode)
    async with connect("memory://", plugins=[plugin]) as backend, backend.publisher(STREAM) as publisher:
        await publisher.publish("orders.a", b"")
        async with backend.consumer(READER).subscribe() as messages:
            async with handling(backend, await anext(messages)):
                await publisher.publish("orders.b", b"")
    first, second = telemetry.spans
    assert (second.context.trace_id == first.context.trace_id) is inside


async def test_sampled_out():
    """What is not sampled makes no span and is not waited for; that it is not sampled goes with the message."""
    telemetry = Telemetry(ALWAYS_OFF)
    plugin = telemetry.plugin()
    async with connect("memory://", plugins=[plugin]) as backend:
        message = await through(backend)
    assert telemetry.spans == ()
    assert not trace.TraceFlags(int(message.headers["traceparent"].rpartition("-")[2], 16)).sampled
    assert not plugin._pending
    assert telemetry.points("messaging.client.sent.messages")[0][1] == 1


async def test_without_an_sdk():
    """With OpenTelemetry's API alone nothing is added and nothing recorded; a context that there is goes on."""
    plugin = OpenTelemetryPlugin()
    async with connect("memory://", plugins=[plugin]) as backend:
        assert dict((await through(backend)).headers) == {}
        remote = trace.SpanContext(7, 8, is_remote=True, trace_flags=trace.TraceFlags(1))
        with trace.use_span(trace.NonRecordingSpan(remote)):
            message = await through(backend)
        assert message.headers["traceparent"] == f"00-{7:032x}-{8:016x}-01"
    assert not plugin._pending


async def test_spans_of_publishes_end(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch):
    """The span of a publish whose end is never told is pushed out by others, and ends."""

    class Replaces:
        @hookimpl
        def pubsubkit_before_send(self, subject: str):
            return {"traceparent": APPLICATION} if subject == "orders.lost" else None

    monkeypatch.setattr(pending_spans, "_MOST", 2)
    plugin = telemetry.plugin()
    async with connect("memory://", plugins=[plugin, Replaces()]) as backend, backend.publisher(STREAM) as publisher:
        for subject in ("orders.lost", "orders.a", "orders.lost", "orders.lost"):
            await publisher.publish(subject, b"")
    ended = [span.attributes["messaging.destination.name"] for span in telemetry.spans]
    assert ended == ["orders.a", "orders.lost"]
    assert len(plugin._pending) == 2


async def test_publishes_at_the_same_time(telemetry: Telemetry):
    """Of many publishes at once, also of the same message with one context, each has a span that ends."""
    plugin = telemetry.plugin()
    async with connect("memory://", plugins=[plugin]) as backend, backend.publisher(STREAM) as publisher:
        await publisher.publish_many([("orders.x", b"", None, f"m{number}") for number in range(100)])
        await publisher.publish_many([("orders.x", b"", {"traceparent": APPLICATION})] * 100)
        with pytest.raises(PublishBatchError):
            await publisher.publish_many([("orders.x", b""), ("orders.x", bytes(backend.max_payload))])
    assert len(telemetry.spans) == 202
    assert len({identity(span) for span in telemetry.spans}) == 202
    ids = {span.attributes.get("messaging.message.id") for span in telemetry.spans}
    assert ids == {None, *(f"m{number}" for number in range(100))}
    assert not plugin._pending


async def test_ephemeral_consumers_have_no_name(telemetry: Telemetry):
    """The made-up name of an ephemeral consumer is no attribute."""
    async with connect("memory://", plugins=[telemetry.plugin()]) as backend:
        async with backend.publisher(STREAM) as publisher:
            await publisher.publish("orders.x", b"")
        for _ in range(3):
            async with backend.consumer(ConsumerOptions(stream_name="orders")).subscribe() as messages:
                await (await anext(messages)).ack()
    ((attributes, count),) = telemetry.points("messaging.client.consumed.messages")
    assert count == 3
    assert not any("ephemeral" in str(value) for value in attributes.values())


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"trace_mode": "child"}, ConfigurationError, "'link' or 'parent'"),
        ({"spans": ["send"]}, ConfigurationError, "'send' is none of publish"),
        ({"templates": ["orders..x"]}, InvalidArgumentError, r"orders\.\.x"),
    ],
)
def test_wrong_options(options: dict[str, object], error: type[Exception], words: str):
    """A wrong option is an error that says what there is."""
    with pytest.raises(error, match=words):
        OpenTelemetryPlugin(**options)


@pytest.mark.parametrize(("module", "package"), [("otel", "opentelemetry"), ("prometheus", "prometheus_client")])
def test_missing_packages(module: str, package: str):
    """Without the optional package the import says which extra to install."""
    code = f"import sys; sys.modules['{package}'] = None; import pubsubkit.{module}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"pip install 'pubsubkit[{module}]'" in result.stderr.splitlines()[-1]


def test_optional_packages_are_not_imported():
    """`import pubsubkit` imports neither of them."""
    code = "import sys, pubsubkit.logs; print({'opentelemetry', 'prometheus_client'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
