"""What receiver and workers agree on."""

import os
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from pubsubkit import Storage, StreamOptions
from pubsubkit.otel import OpenTelemetryPlugin

URL = os.environ.get("PUBSUBKIT_URL", "memory://github")
"""``memory://github`` carries events inside one process, ``nats://…`` between any number of them."""

STREAM = StreamOptions(name="github", storage=Storage.FILE)
"""Holds the subjects ``github.>``."""


def plugins() -> list[OpenTelemetryPlugin]:
    """Trace every event from the web hook to its handlers, when ``TRACES`` names a file for the spans."""
    if "TRACES" not in os.environ:
        return []
    file = Path(os.environ["TRACES"]).open("a", encoding="utf-8")  # noqa: SIM115 - as long as the process
    exporter = ConsoleSpanExporter(out=file, formatter=lambda span: f"{span.to_json(indent=None)}\n")
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))  # in production: an exporter for your collector
    return [OpenTelemetryPlugin(tracer_provider=provider, trace_mode="parent", spans=["publish", "process"])]
