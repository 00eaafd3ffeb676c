"""Prometheus metrics, seen in a registry of the real client."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from pubsubkit import (
    Backoff,
    ConfigurationError,
    ConsumerOptions,
    InvalidArgumentError,
    PublisherOptions,
    StreamFullError,
    StreamOptions,
    TransientError,
    connect,
)
from pubsubkit.driver import Delivery
from pubsubkit.hooks import processing
from pubsubkit.prometheus import PrometheusPlugin

STREAM = PublisherOptions(stream_name="orders")
READER = ConsumerOptions(stream_name="orders", consumer_name="billing")
PLACE = {"backend": "memory://", "stream": "orders"}


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """The values of one metric by subject, and consumer and outcome where it has them."""
    found = {}
    for metric in registry.collect():
        for sample in metric.samples:
            if sample.name == name:
                assert sample.labels.items() >= PLACE.items()
                found[tuple(value for label, value in sample.labels.items() if label not in PLACE)] = sample.value
    return found


async def test_metrics_of_messages():
    """Publishes, deliveries, redeliveries, handlers and verdicts are counted by template, never by subject."""
    registry = CollectorRegistry()
    plugin = PrometheusPlugin(registry, templates=["orders.*.created"])
    async with connect("memory://", plugins=[plugin]) as backend, backend.publisher(STREAM) as publisher:
        await publisher.publish_many([(f"orders.{number}.created", b"") for number in range(20)])
        await publisher.publish("orders.other", b"")
        with pytest.raises(InvalidArgumentError):
            await publisher.publish("orders.7.created", "text")
        async with backend.consumer(READER).subscribe() as messages:
            for verdict in ["nak"] + ["ack"] * 19 + ["term", "ack"]:
                message = await anext(messages)
                await message.in_progress()
                with processing(backend._connection.hooks, message.delivery):
                    assert samples(registry, "pubsubkit_in_flight")[message_label(message), "billing"] == 1
                await getattr(message, verdict)()
    created = "orders.*.created"
    assert samples(registry, "pubsubkit_published_total") == {
        (created, "ok"): 20,
        ("", "ok"): 1,
        (created, "error"): 1,
    }
    assert samples(registry, "pubsubkit_publish_seconds_count") == samples(registry, "pubsubkit_published_total")
    assert samples(registry, "pubsubkit_received_total") == {(created, "billing"): 21, ("", "billing"): 1}
    assert samples(registry, "pubsubkit_redelivered_total") == {(created, "billing"): 1}
    assert samples(registry, "pubsubkit_processed_total") == {
        (created, "billing", "nak"): 1,
        (created, "billing", "ack"): 19,
        (created, "billing", "term"): 1,
        ("", "billing", "ack"): 1,
    }
    assert samples(registry, "pubsubkit_process_seconds_count") == {
        (created, "billing", "ok"): 21,
        ("", "billing", "ok"): 1,
    }
    assert set(samples(registry, "pubsubkit_in_flight").values()) == {0}
    assert b"orders.7" not in generate_latest(registry)


def message_label(message) -> str:
    return "orders.*.created" if message.subject.endswith(".created") else ""


async def test_handlers_that_fail():
    """A handler that raises, or is cancelled, counts as error, and is in flight no more."""
    registry = CollectorRegistry()
    async with connect("memory://", plugins=[PrometheusPlugin(registry)]) as backend:
        async with backend.publisher(STREAM) as publisher:
            await publisher.publish("orders.x", b"")
        async with backend.consumer(READER).subscribe() as messages:
            delivery = (await anext(messages)).delivery
            for error in (KeyError("mine"), asyncio.CancelledError()):
                with pytest.raises(type(error)), processing(backend._connection.hooks, delivery):
                    raise error
    assert samples(registry, "pubsubkit_process_seconds_count") == {("", "billing", "error"): 2}
    assert samples(registry, "pubsubkit_in_flight") == {("", "billing"): 0}


async def test_dead_letters_are_publishes():
    """What is moved to a dead-letter stream is counted there."""
    registry = CollectorRegistry()
    reader = ConsumerOptions(stream_name="orders", consumer_name="billing", max_deliver=1, dead_letter="orders-dead")
    async with connect("memory://", plugins=[PrometheusPlugin(registry)]) as backend:
        async with backend.publisher(STREAM) as publisher:
            await publisher.publish("orders.x", b"")
        async with backend.consumer(reader).subscribe() as messages:
            await (await anext(messages)).nak()
    labels = {"backend": "memory://", "stream": "orders-dead", "subject": "", "outcome": "ok"}
    assert registry.get_sample_value("pubsubkit_published_total", labels) == 1


async def test_what_is_refused_by_the_broker():
    """A publish that the broker refuses is an error."""
    registry = CollectorRegistry()
    options = PublisherOptions(stream=StreamOptions(name="orders", max_messages=1, discard="new"))
    async with connect("memory://", plugins=[PrometheusPlugin(registry)]) as backend:
        async with backend.publisher(options) as publisher:
            await publisher.publish("orders.x", b"")
            with pytest.raises(StreamFullError):
                await publisher.publish("orders.x", b"")
    assert samples(registry, "pubsubkit_published_total") == {("", "ok"): 1, ("", "error"): 1}


async def test_retries(monkeypatch: pytest.MonkeyPatch):
    """An attempt that is repeated is counted as such, and its publish once."""
    registry = CollectorRegistry()
    options = PublisherOptions(stream_name="orders", retry_attempts=2, retry_backoff=Backoff(initial=0.001))
    async with connect("memory://", plugins=[PrometheusPlugin(registry)]) as backend:
        failures = iter([TransientError("not yet")])
        send = backend._driver.send

        async def fail_first(messages, timeout):
            error = next(failures, None)
            return [error] if error else await send(messages, timeout)

        async with backend.publisher(options) as publisher:
            monkeypatch.setattr(backend._driver, "send", fail_first)
            await publisher.publish("orders.x", b"")
    assert samples(registry, "pubsubkit_publish_retries_total") == {("",): 1}
    assert samples(registry, "pubsubkit_published_total") == {("", "ok"): 1}


async def test_a_verdict_that_fails(monkeypatch: pytest.MonkeyPatch):
    """A verdict that does not reach the broker is an error, and not what it was to be."""
    registry = CollectorRegistry()
    async with connect("memory://", plugins=[PrometheusPlugin(registry)]) as backend:
        async with backend.publisher(STREAM) as publisher:
            await publisher.publish("orders.x", b"")
        async with backend.consumer(READER).subscribe() as messages:
            message = await anext(messages)

            async def fail(self, settlement):
                raise TransientError("gone")

            with monkeypatch.context() as patched:
                patched.setattr(type(message.delivery), "settle", fail)
                patched.setattr(type(message.delivery), "settle_now", Delivery.settle_now)
                with pytest.raises(TransientError):
                    await message.ack()
            await message.ack()
    assert samples(registry, "pubsubkit_processed_total") == {("", "billing", "error"): 1, ("", "billing", "ack"): 1}


async def test_several_connections():
    """One plugin serves several connections, told apart by their address; ephemeral consumers have no name."""
    registry = CollectorRegistry()
    plugin = PrometheusPlugin(registry)
    for url in ("memory://metrics-one", "memory://metrics-two"):
        async with connect(url, plugins=[plugin]) as backend:
            async with backend.publisher(STREAM) as publisher:
                await publisher.publish("orders.x", b"")
            for _ in range(2):
                async with backend.consumer(ConsumerOptions(stream_name="orders")).subscribe() as messages:
                    await anext(messages)
            labels = {"backend": url, "stream": "orders", "subject": "", "consumer": ""}
            assert backend.address == url
            assert registry.get_sample_value("pubsubkit_received_total", labels) == 2


def test_two_plugins_of_one_registry():
    """A second plugin for the same registry, or a metric of the application with our name, is a clear error."""
    registry = CollectorRegistry()
    PrometheusPlugin(registry)
    with pytest.raises(ConfigurationError, match="one PrometheusPlugin to all connections"):
        PrometheusPlugin(registry)
    registry = CollectorRegistry()
    Counter("pubsubkit_received", "mine", registry=registry)
    with pytest.raises(ConfigurationError, match="pubsubkit_received"):
        PrometheusPlugin(registry)


def test_wrong_templates():
    """A template that is no filter is an error, and nothing was registered."""
    registry = CollectorRegistry()
    with pytest.raises(InvalidArgumentError, match=r"orders\.\.x"):
        PrometheusPlugin(registry, templates=["orders..x"])
    PrometheusPlugin(registry)
