"""What traces and metrics cost per message: publish, receive, handle and ack, with each plugin beside none.

    python benchmarks/observe.py [URL]

All variants take turns on one broker, in an order that is rotated between the rounds; the first round is not counted.
The figures are CPU time of this process, so that they say something on a machine that is busy, too.
The SDK's spans go to a processor that drops them: what is measured is making them, not exporting them.
"""

from __future__ import annotations

import asyncio
import platform
import statistics
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from prometheus_client import CollectorRegistry

from pubsubkit import ConsumerOptions, PublisherOptions, connect
from pubsubkit.hooks import processing
from pubsubkit.otel import OpenTelemetryPlugin
from pubsubkit.prometheus import PrometheusPlugin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROUNDS, MESSAGES = 9, 2_000
TEMPLATES = ("orders.*.created",)
NAMES = ("opentelemetry-api", "opentelemetry-sdk", "prometheus-client")


def sdk(sampled: bool, **options: object) -> OpenTelemetryPlugin:
    tracing = TracerProvider(sampler=ALWAYS_ON if sampled else ALWAYS_OFF, shutdown_on_exit=False)
    tracing.add_span_processor(SpanProcessor())
    metering = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    return OpenTelemetryPlugin(templates=TEMPLATES, tracer_provider=tracing, meter_provider=metering, **options)


VARIANTS: Mapping[str, Callable[[], list[object]]] = {
    "no plugin": list,
    "OpenTelemetry, the API alone": lambda: [OpenTelemetryPlugin(templates=TEMPLATES)],
    "OpenTelemetry, sampled out": lambda: [sdk(False)],
    "OpenTelemetry, spans of publish and process": lambda: [sdk(True, spans=("publish", "process"))],
    "OpenTelemetry, all four spans": lambda: [sdk(True)],
    "Prometheus": lambda: [PrometheusPlugin(CollectorRegistry(), templates=TEMPLATES)],
}


async def message_path(url: str, plugins: list[object]) -> float:
    """Seconds of CPU time per message."""
    async with connect(url, plugins=plugins) as backend:
        async with (
            backend.publisher(PublisherOptions(stream_name="orders")) as publisher,
            backend.consumer(ConsumerOptions(stream_name="orders", consumer_name="c")).subscribe() as messages,
        ):
            hooks = backend._connection.hooks  # noqa: SLF001 - a worker gets them from its subscription
            started = time.process_time()
            for number in range(MESSAGES):
                await publisher.publish(f"orders.{number % 100}.created", b"payload")
                message = await anext(messages)
                with processing(hooks, message.delivery):
                    pass
                await message.ack()
            seconds = (time.process_time() - started) / MESSAGES
        await backend.delete_stream("orders")
        return seconds


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "memory://"
    taken: dict[str, list[float]] = {name: [] for name in VARIANTS}
    order = list(VARIANTS)
    for _ in range(ROUNDS + 1):
        for name in order:
            taken[name].append(asyncio.run(message_path(url, VARIANTS[name]())))
        order = order[1:] + order[:1]
    medians = {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}
    base = medians["no plugin"]
    packages = ", ".join(f"{name} {version(name)}" for name in NAMES)
    sys.stdout.write(f"{url.partition('://')[0]}://, Python {platform.python_version()}, {packages}\n\n")
    sys.stdout.write("| | CPU time a message | more than without | ratio |\n|---|---|---|---|\n")
    for name, seconds in medians.items():
        more = f"{(seconds - base) * 1e6:.1f} µs"
        sys.stdout.write(f"| {name} | {seconds * 1e6:.1f} µs | {more} | {seconds / base:.2f} |\n")


main()
