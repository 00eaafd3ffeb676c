"""The code of the how-to page about observing runs as it stands."""

import logging
import re
import textwrap
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "observe.md"


async def test_the_page(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """The code runs from top to bottom, and prints what its comments say."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    page = PAGE.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    names: dict[str, object] = {}
    exec(f"async def example():\n{textwrap.indent(code, '    ')}\n    return locals()", names)
    made = await names["example"]()  # type: ignore[operator]
    await made["backend"].aclose()
    said = re.findall(r"print\(.*\)  # (.*)", page)
    assert said == capsys.readouterr().out.splitlines()
    assert b'pubsubkit_published_total{backend="memory://",' in made["generate_latest"](made["registry"])


def test_its_links():
    """Every relative link of the page points to something that exists."""
    links = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8"))
    assert not [link for link in links if "://" not in link and not (PAGE.parent / link).exists()]


def test_its_metrics():
    """The page lists every metric with its labels, as the module's documentation does."""
    from prometheus_client import CollectorRegistry

    from pubsubkit import prometheus

    registry = CollectorRegistry()
    prometheus.PrometheusPlugin(registry)
    page = PAGE.read_text(encoding="utf-8")
    for metric in registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        assert f"| `{name}` |" in page
        assert f"``{name}``" in prometheus.__doc__
