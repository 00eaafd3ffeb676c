"""The code of the how-to pages on dead letters and on testing runs as it stands."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from pubsubkit_nats.testing import NatsServer

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), re.DOTALL)


async def run(code: str) -> None:
    names: dict[str, Any] = {}
    exec(f"async def example():\n{textwrap.indent(code, '    ')}", names)
    await names["example"]()


async def test_dead_letters(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The example works on memory://, and on nats:// when nothing but the URL is changed."""
    (code,) = blocks("dead-letters.md")
    async with NatsServer(tmp_path) as server:
        for url in ("memory://", server.url):
            await run(code.replace('"memory://"', repr(url)))
            assert capsys.readouterr().out == "1 orders.created no such customer\n1 2\n"


async def test_testing():
    """The tests that the page shows pass, and so does the example of the clock."""
    tests, clock = blocks("testing.md")
    names: dict[str, Any] = {}
    exec(tests, names)
    found = [name for name in names if name.startswith("test_")]
    assert len(found) == 2
    for name in found:
        await names[name]()
    await run(clock)


@pytest.mark.parametrize("page", ["dead-letters.md", "testing.md"])
def test_links(page: str):
    """Every relative link points to something that exists."""
    links = re.findall(r"\]\(([^)#]+)", (PAGES / page).read_text(encoding="utf-8"))
    assert links
    assert not [link for link in links if "://" not in link and not (PAGES / link).exists()]
