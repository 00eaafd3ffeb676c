"""Metrics for Prometheus, as a plugin.

::

    plugin = PrometheusPlugin()
    async with connect("nats://localhost:4222", plugins=[plugin]) as backend:
        ...

Needs ``pip install 'pubsubkit[prometheus]'``.  The application owns the registry, and serves or pushes it as it likes.

===================================  =======================================================  ======================
metric                               what it is                                               further labels
===================================  =======================================================  ======================
``pubsubkit_published_total``        publishes that have ended                                ``outcome`` ok or error
``pubsubkit_publish_seconds``        how long they took                                       ``outcome``
``pubsubkit_publish_retries_total``  attempts that failed and were repeated
``pubsubkit_received_total``         messages that were handed out                            ``consumer``
``pubsubkit_redelivered_total``      those of them that had been handed out before            ``consumer``
``pubsubkit_in_flight``              handlers that are running                                ``consumer``
``pubsubkit_process_seconds``        how long handlers took                                   ``consumer``,
                                                                                              ``outcome`` ok or error
``pubsubkit_processed_total``        verdicts: ``outcome`` ack, nak, term, or error when one  ``consumer``,
                                     did not reach the broker                                 ``outcome``
===================================  =======================================================  ======================

All have the labels ``backend``, the broker's address; ``stream``; and ``subject``, the template that selects the
subject, empty when none does.  ``consumer`` is empty for ephemeral ones.  Dead letters are publishes too, into the
stream that holds them.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as _error:  # pragma: no cover - tested in a process of its own
    raise ImportError("pubsubkit.prometheus needs prometheus-client: pip install 'pubsubkit[prometheus]'") from _error

from pubsubkit.driver import Verdict
from pubsubkit.errors import ConfigurationError
from pubsubkit.hookspecs import hookimpl
from pubsubkit.labels import Templates, group_name

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from contextlib import AbstractContextManager

__all__ = ["PrometheusPlugin"]

_PLACE = ("backend", "stream", "subject")
_CONSUMER = (*_PLACE, "consumer")
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_Metric = TypeVar("_Metric", bound="Counter | Gauge | Histogram")


class _Children(dict["tuple[str, ...]", _Metric]):
    """A metric's children by the values of their labels, each looked up once.

    :param child: looks one up.
    """

    def __init__(self, child: Callable[..., _Metric]) -> None:
        super().__init__()
        self._child = child

    def __missing__(self, labels: tuple[str, ...]) -> _Metric:
        child = self[labels] = self._child(*labels)
        return child


class _Metrics:
    """The metrics, registered.

    :raises ValueError: one of the names is taken.
    """

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float]) -> None:
        def counter(name: str, what: str, labels: Sequence[str]) -> _Children[Counter]:
            return _Children(Counter(f"pubsubkit_{name}", what, labels, registry=registry).labels)

        def seconds(name: str, what: str, labels: Sequence[str]) -> _Children[Histogram]:
            metric = Histogram(f"pubsubkit_{name}_seconds", what, labels, registry=registry, buckets=buckets)
            return _Children(metric.labels)

        self.published = counter("published", "Publishes that have ended.", (*_PLACE, "outcome"))
        self.publish_seconds = seconds("publish", "How long publishes took.", (*_PLACE, "outcome"))
        self.publish_retries = counter("publish_retries", "Attempts to publish that were repeated.", _PLACE)
        self.received = counter("received", "Messages that were handed out.", _CONSUMER)
        self.redelivered = counter("redelivered", "Messages that were handed out again.", _CONSUMER)
        self.processed = counter("processed", "Verdicts on messages.", (*_CONSUMER, "outcome"))
        self.process_seconds = seconds("process", "How long handlers took.", (*_CONSUMER, "outcome"))
        running = "Handlers that are running."
        in_flight = Gauge("pubsubkit_in_flight", running, _CONSUMER, registry=registry, multiprocess_mode="livesum")
        self.in_flight = _Children(in_flight.labels)


class PrometheusPlugin:
    """Counts and measures for one connection, or for several: give all of them the same plugin.

    :param registry: where the metrics are registered; once each, so that a second plugin needs another one.
    :param templates: patterns such as ``orders.*.created``, of which the first that selects a subject is its label.
    :param buckets: upper bounds of the histograms, in seconds.
    :raises InvalidArgumentError: a template is no filter.
    :raises ConfigurationError: the registry has the metrics of another plugin.
    """

    def __init__(
        self,
        registry: CollectorRegistry = REGISTRY,
        *,
        templates: Iterable[str] = (),
        buckets: Sequence[float] = _BUCKETS,
    ) -> None:
        self._templates = Templates(templates)
        try:
            self._metrics = _Metrics(registry, buckets)
        except ValueError as error:
            raise ConfigurationError(
                f"the registry cannot take pubsubkit's metrics: {error}; give one PrometheusPlugin to all connections, "
                "or each its own registry"
            ) from error

    @hookimpl
    def pubsubkit_published(
        self, address: str, stream: str, subject: str, error: BaseException | None, latency: float
    ) -> None:
        """Count and measure a publish."""
        labels = (address, stream, self._templates.of(subject), "ok" if error is None else "error")
        self._metrics.published[labels].inc()
        self._metrics.publish_seconds[labels].observe(latency)

    @hookimpl
    def pubsubkit_retrying(self, address: str, stream: str, subject: str) -> None:
        """Count an attempt that will be repeated."""
        self._metrics.publish_retries[address, stream, self._templates.of(subject)].inc()

    @hookimpl
    def pubsubkit_received(self, address: str, stream: str, subject: str, consumer: str, num_delivered: int) -> None:
        """Count a message that was handed out."""
        labels = (address, stream, self._templates.of(subject), group_name(consumer))
        self._metrics.received[labels].inc()
        if num_delivered > 1:
            self._metrics.redelivered[labels].inc()

    @hookimpl
    def pubsubkit_processing(
        self, address: str, stream: str, subject: str, consumer: str
    ) -> AbstractContextManager[None]:
        """Measure a handler."""
        return self._process((address, stream, self._templates.of(subject), group_name(consumer)))

    @hookimpl
    def pubsubkit_settled(
        self, address: str, stream: str, subject: str, consumer: str, verdict: Verdict, error: Exception | None
    ) -> None:
        """Count a verdict."""
        if verdict is not Verdict.IN_PROGRESS:
            outcome = verdict.value if error is None else "error"
            labels = (address, stream, self._templates.of(subject), group_name(consumer), outcome)
            self._metrics.processed[labels].inc()

    @contextmanager
    def _process(self, labels: tuple[str, ...]) -> Generator[None]:
        running = self._metrics.in_flight[labels]
        started = time.perf_counter()
        outcome = "error"
        running.inc()
        try:
            yield
            outcome = "ok"
        finally:
            running.dec()
            self._metrics.process_seconds[*labels, outcome].observe(time.perf_counter() - started)
