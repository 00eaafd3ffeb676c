"""The metrics and the dashboard of the how-to page about observing are those that there are."""

import json
import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from pubsubkit import prometheus

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "observe.md"


def test_its_metrics():
    """The page lists every metric with its labels, as the module's documentation does."""
    registry = CollectorRegistry()
    prometheus.PrometheusPlugin(registry)
    page = PAGE.read_text(encoding="utf-8")
    for metric in registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        assert f"| `{name}` |" in page
        assert f"``{name}``" in prometheus.__doc__


def test_its_dashboard():
    """The dashboard asks for series that there are, by labels that they have."""
    registry = CollectorRegistry()
    metrics = vars(prometheus.PrometheusPlugin(registry)._metrics).values()
    labels: dict[str, set[str]] = {}
    for children in metrics:
        metric = children._child.__self__
        assert isinstance(metric, MetricWrapperBase)
        children[metric._labelnames].collect()  # makes a child, so that there are samples
    for sample in (sample for metric in registry.collect() for sample in metric.samples):
        labels.setdefault(sample.name, set()).update(sample.labels)
    dashboard = json.loads(PAGE.with_name("observe-dashboard.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert asked
    for expression in asked:
        by = re.findall(r"by \(([^)]*)\)", expression)
        for name, selector in re.findall(r"(pubsubkit_\w+)\{([^}]*)\}", expression):
            wanted = {*re.findall(r"(\w+)=~?\"", selector), *(label for each in by for label in each.split(", "))}
            assert wanted <= labels[name], expression
    used = {name for expression in asked for name in re.findall(r"pubsubkit_[a-z_]+?(?=_bucket|_count|\{)", expression)}
    assert used == {
        f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in registry.collect()
    }
