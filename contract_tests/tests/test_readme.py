"""The README's code runs as it stands, on both backends."""

import asyncio
import re
import textwrap
from pathlib import Path

import pytest

from pubsubkit_nats.testing import NatsServer

README = Path(__file__).parents[2] / "README.md"


async def test_the_first_example(tmp_path: Path):
    """The example works on memory://, and on nats:// when nothing but the URL is changed."""
    code = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[0]
    assert "memory://" in code
    async with NatsServer(tmp_path) as server, asyncio.timeout(10):
        for url in ("memory://", server.url):
            names: dict[str, object] = {}
            body = textwrap.indent(code.replace('"memory://"', repr(url)), "    ")
            exec(f"async def example():\n{body}\n    return message", names)
            message = await names["example"]()  # type: ignore[operator]
            assert message.data == b'{"id": 1}'
            assert message.settled


def test_links_of_the_readme():
    """Every relative link of the README points to something that exists."""
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (README.parent / link).exists()]
    assert links
    assert not missing


@pytest.mark.parametrize("command", ["demo", "test"])
def test_commands_are_where_ci_finds_them(command: str):
    """The two set-up commands of the README are single lines that begin with python3."""
    found = re.search(rf"<!-- command: {command} -->\n```\n(.*)\n```", README.read_text(encoding="utf-8"))
    assert found
    assert found[1].startswith("python3 -m pip install uv && python3 -m uv run ")
