"""The README's code runs as it stands."""

import asyncio
import re
import textwrap
from pathlib import Path

import pytest

from pubsubkit_nats.testing import NatsServer

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
async def test_an_example(server: NatsServer, number: int):
    """Each example works on a server that is where the example says."""
    code = BLOCKS[number].replace("nats://localhost:4222", server.url)
    names: dict[str, object] = {}
    exec(f"async def example():\n{textwrap.indent(code, '    ')}\n    return locals()", names)
    async with asyncio.timeout(10):
        found = await names["example"]()  # type: ignore[operator]
    if "client" in found:
        await found["client"].close()
