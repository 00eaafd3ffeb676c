"""Logs as lines of JSON, with the trace they belong to."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from opentelemetry import trace

from pubsubkit import ConsumerOptions, PublisherOptions, TransientError, connect
from pubsubkit.logs import JsonFormatter, TraceFilter

PUBLISHED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CURRENT = trace.NonRecordingSpan(trace.SpanContext(7, 8, is_remote=False))


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the library logs, from warnings on, as JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.WARNING)
    handler.addFilter(TraceFilter())
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("pubsubkit")
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


async def test_a_failure_is_one_line(lines: io.StringIO, monkeypatch: pytest.MonkeyPatch):
    """A failure is one line with subject, stream, consumer, number of deliveries and trace, without the payload."""
    reader = ConsumerOptions(stream_name="orders", consumer_name="billing", max_deliver=1, dead_letter="orders-dead")
    async with connect("memory://") as backend:
        async with backend.publisher(PublisherOptions(stream_name="orders")) as publisher:
            await publisher.publish("orders.x", b"secret payload", headers={"traceparent": PUBLISHED})
        async with backend.consumer(reader).subscribe() as messages:
            message = await anext(messages)

            async def fail(batch, timeout):
                return [TransientError("gone to nats://user:secret@host")] * len(batch)

            monkeypatch.setattr(backend._driver, "send", fail)
            await message.nak()
    (line,) = map(json.loads, lines.getvalue().splitlines())
    assert line.pop("time").endswith("Z")
    assert "gone to nats://" in line.pop("message")
    assert line == {
        "level": "WARNING",
        "logger": "pubsubkit.consumer",
        "stream": "orders",
        "subject": "orders.x",
        "consumer": "billing",
        "num_delivered": 1,
        "trace_id": PUBLISHED[3:35],
    }
    assert "secret" not in lines.getvalue()


async def test_an_exception_in_a_span(lines: io.StringIO):
    """Inside a span its ids are in the line; an exception is in it with its traceback, on the same line."""

    def on_publish(subject, error, latency):
        raise ValueError("two\nlines, nats://user:secret@host")

    options = PublisherOptions(stream_name="orders", on_publish=on_publish)
    async with connect("memory://") as backend, backend.publisher(options) as publisher:
        with trace.use_span(CURRENT):
            await publisher.publish("orders.x", b"", headers={"traceparent": PUBLISHED})
    (line,) = map(json.loads, lines.getvalue().splitlines())
    assert (line["trace_id"], line["span_id"]) == (f"{7:032x}", f"{8:016x}")
    assert (line["stream"], line["subject"]) == ("orders", "orders.x")
    assert line["error"].startswith("ValueError: two\nlines")
    assert "on_publish" in line["traceback"]
    assert "secret" not in lines.getvalue()


def record(**extra: object) -> logging.LogRecord:
    made = logging.getLogger("pubsubkit").makeRecord("pubsubkit.x", 40, "f", 1, "text %s", ("é",), None, extra=extra)
    TraceFilter().filter(made)
    return made


def test_text_formats():
    """A format of text can use the ids in every record: they are empty outside a trace."""
    formatter = logging.Formatter("%(message)s [%(trace_id)s/%(span_id)s]")
    assert formatter.format(record()) == "text é [/]"
    with trace.use_span(CURRENT):
        assert formatter.format(record()) == f"text é [{7:032x}/{8:016x}]"


def test_lines_without_the_filter():
    """The formatter works by itself; what cannot be JSON is text, and what is empty is left out."""
    plain = logging.getLogger("x").makeRecord("x", 20, "f", 1, "text", (), None, extra={"at": {1}, "consumer": ""})
    line = json.loads(JsonFormatter().format(plain))
    assert {**line, "time": ""} == {"time": "", "level": "INFO", "logger": "x", "message": "text", "at": "{1}"}


@pytest.mark.parametrize("header", ["", "00-7-8-01", PUBLISHED.upper()])
async def test_no_trace(lines: io.StringIO, header: str):
    """A header that is no trace context is no trace."""

    def on_publish(subject, error, latency):
        raise ValueError("no")

    options = PublisherOptions(stream_name="orders", on_publish=on_publish)
    async with connect("memory://") as backend, backend.publisher(options) as publisher:
        await publisher.publish("orders.x", b"", headers={"traceparent": header})
    assert "trace_id" not in json.loads(lines.getvalue())


def test_a_line_is_json_whatever_is_in_the_record():
    """Nothing is lost, no secret is shown, and an extra replaces no field of the line."""
    record = logging.makeLogRecord({"name": "app", "levelno": 20, "levelname": "INFO", "msg": "odd \udcff"})
    odd = {"url": "nats://u:hunter2@h", "level": "other", "pairs": {(1, 2): {3}}, "number": float("nan")}
    vars(record).update(odd)
    text = JsonFormatter().format(record)
    text.encode()
    line = json.loads(text, parse_constant=pytest.fail)
    assert line["level"] == "INFO"
    assert "hunter2" not in text
    assert line["pairs"] == {"(1, 2)": "{3}"}
