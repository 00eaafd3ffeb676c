"""The trace of one event, from the process that publishes it to the one that handles it, through a real server."""

import asyncio
import json
import sys

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pubsubkit import ConsumerOptions, connect
from pubsubkit.hooks import processing
from pubsubkit.otel import OpenTelemetryPlugin
from pubsubkit_nats.testing import NatsServer

READER = ConsumerOptions(stream_name="orders", consumer_name="billing")
PUBLISHER = """
import asyncio, json, sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pubsubkit import PublisherOptions, connect
from pubsubkit.otel import OpenTelemetryPlugin

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))

async def main(url):
    async with connect(url, plugins=[OpenTelemetryPlugin(tracer_provider=provider)]) as backend:
        async with backend.publisher(PublisherOptions(stream_name="orders")) as publisher:
            with provider.get_tracer("shop").start_as_current_span("POST /orders"):
                await publisher.publish("orders.created", b"{}")

asyncio.run(main(sys.argv[1]))
print(json.dumps([json.loads(span.to_json(indent=None)) for span in exporter.get_finished_spans()]))
"""


async def publish_elsewhere(url: str) -> tuple[dict, dict]:
    """Publish an event in a process of its own; return its span and that of the application around it."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PUBLISHER, url, stdout=pipe)
    out, _ = await process.communicate()
    publish, request = json.loads(out)
    return publish, request


async def test_the_trace_of_an_event(server: NatsServer):
    """The handler's span is a child of the publish in the other process, whose own parent is the request there."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    plugin = OpenTelemetryPlugin(tracer_provider=provider, trace_mode="parent")
    publish, request = await publish_elsewhere(server.url)
    async with connect(server.url, plugins=[plugin]) as backend:
        async with backend.consumer(READER).subscribe() as messages:
            message = await anext(messages)
            with processing(backend._connection.hooks, message.delivery):
                await asyncio.sleep(0)
            await message.ack(confirm=True)
    assert publish["parent_id"] == request["context"]["span_id"]
    assert [span.name for span in exporter.get_finished_spans()] == ["receive orders", "process orders", "ack orders"]
    for span in exporter.get_finished_spans():
        assert f"0x{span.context.trace_id:032x}" == request["context"]["trace_id"]
        assert f"0x{span.parent.span_id:016x}" == publish["context"]["span_id"]
        assert span.attributes["messaging.system"] == "nats"
        assert span.attributes["messaging.nats.stream"] == "orders"
        assert span.attributes["server.address"] == "127.0.0.1"
        assert span.attributes["server.port"] == int(server.url.rpartition(":")[2])
