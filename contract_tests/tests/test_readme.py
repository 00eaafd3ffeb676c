"""The README's code runs as it stands, on both backends."""

import asyncio
import os
import re
import signal
import textwrap
from pathlib import Path

import pytest

from pubsubkit import ConsumerOptions, Message, PublisherOptions, connect
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


@pytest.mark.parametrize("command", ["demo", "test"])
def test_commands_are_where_ci_finds_them(command: str):
    """The two set-up commands of the README are single lines that begin with python3."""
    found = re.search(rf"<!-- command: {command} -->\n```\n(.*)\n```", README.read_text(encoding="utf-8"))
    assert found
    assert found[1].startswith("python3 -m pip install uv && python3 -m uv run ")


async def test_the_examples_of_service_and_plugin():
    """The loop of a service drains at a signal: the handler finishes, and its ack counts; the plugin counts too."""
    service, plugin = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1:3]
    names: dict[str, object] = {"connect": connect}
    exec(service, names)
    exec(plugin, names)
    counter = names["Counter"]()  # type: ignore[operator]
    async with connect("memory://", plugins=[counter]) as backend, asyncio.timeout(10):
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish_many([("s.x", b"one"), ("s.x", b"two")])
        handled: list[bytes] = []

        async def handle(message: Message) -> None:
            handled.append(message.data)
            os.kill(os.getpid(), signal.SIGTERM)
            while (await backend.health()).consuming:
                await asyncio.sleep(0)

        await names["serve"](backend, ConsumerOptions(stream_name="s", consumer_name="d"), handle)  # type: ignore[operator]
        info = await backend.consumer_info("s", "d")
    assert (handled, counter.count) == ([b"one"], 2)
    assert (info.num_pending, info.num_ack_pending) == (1, 0)
