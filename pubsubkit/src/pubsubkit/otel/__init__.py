"""Traces and metrics by OpenTelemetry's semantic conventions for messaging, version 1.44, as a plugin.

::

    async with connect("nats://localhost:4222", plugins=[OpenTelemetryPlugin()]) as backend:
        ...

Needs ``pip install 'pubsubkit[otel]'``, which is OpenTelemetry's API alone.  What becomes of spans and metrics decides
the application, which installs and configures an SDK; without one nothing is recorded.

A publish is a span of kind PRODUCER whose context goes with the message, in the header ``traceparent``.  That a message
was received is a span of kind CLIENT, its handler one of kind CONSUMER, inside which the handler runs, and its verdict
one of kind CLIENT again.  These are linked to the publish, or are its children with ``trace_mode="parent"``.
"""

try:
    from pubsubkit.otel.plugin import OpenTelemetryPlugin
except ModuleNotFoundError as _error:
    if (_error.name or "").partition(".")[0] != "opentelemetry":
        raise
    raise ImportError("pubsubkit.otel needs OpenTelemetry's API: pip install 'pubsubkit[otel]'") from _error

__all__ = ["OpenTelemetryPlugin"]
