"""The code of the how-to pages and the examples runs as it stands."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pubsubkit import connect
from pubsubkit_nats.testing import NatsServer

ROOT = Path(__file__).parents[2]
PAGES = ("cloudevents", "configuration")
URLS = ("PUBSUBKIT_URL", "PUBSUBKIT_BILLING_URL", "ORDERS_URL", "BILLING_URL")


async def run(page: str, names: dict[str, object]) -> None:
    """Run all of the code of a page, one block after the other."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    exec(f"async def example():\n{textwrap.indent(code, '    ')}", names)
    await names["example"]()  # type: ignore[operator]


@pytest.mark.parametrize("name", PAGES)
async def test_a_page(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The page's code runs on memory://, and prints what its comments say."""
    for variable in URLS:
        monkeypatch.setenv(variable, "memory://")
    monkeypatch.setenv("SHOP_PASSWORD", "hunter2")
    page = (ROOT / "docs" / "how-to" / f"{name}.md").read_text(encoding="utf-8")
    await run(page, {})
    said = re.findall(r"print\(.*\)  # (.*)", page)
    assert set(said) <= set(capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("name", PAGES)
def test_links(name: str):
    """Every relative link of the page points to something that exists."""
    page = ROOT / "docs" / "how-to" / f"{name}.md"
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]


def orders(monkeypatch: pytest.MonkeyPatch, url: str) -> list[str]:
    """What the example prints when the environment is changed by one variable."""
    monkeypatch.setenv("PUBSUBKIT_URL", url)
    command = [sys.executable, str(ROOT / "examples" / "orders.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


async def test_the_environment_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The example does the same on memory:// and on a real NATS server, and only a variable is different."""
    in_memory = orders(monkeypatch, "memory://")
    async with NatsServer(tmp_path) as server:
        on_nats = orders(monkeypatch, server.url)
        async with connect(server.url) as backend:
            stream, consumer = await backend.stream_info("shop"), await backend.consumer_info("shop", "billing")
    assert in_memory[0] == "on memory://"
    assert on_nats[0] == f"on {server.url}"
    assert (
        in_memory[1:]
        == on_nats[1:]
        == ["billed 12.50 for order 1", "billed 3.99 for order 2", "billed 70.00 for order 3"]
    )
    assert (stream.messages, consumer.num_pending, consumer.num_ack_pending) == (3, 0, 0)
