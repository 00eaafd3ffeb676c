"""What the hooks cost per message."""

from __future__ import annotations

import asyncio
import statistics
import sys
import timeit

import pluggy

from pubsubkit import ConsumerOptions, PublisherOptions, connect, hookspecs
from pubsubkit.hooks import Hooks
from pubsubkit.hookspecs import hookimpl

ROUNDS, MESSAGES = 7, 5_000


class Counter:
    """A plugin that counts on every hook of the message path."""

    count = 0

    @hookimpl
    def pubsubkit_published(self, subject: str) -> None:
        self.count += 1

    @hookimpl
    def pubsubkit_received(self, subject: str) -> None:
        self.count += 1

    @hookimpl
    def pubsubkit_settled(self, subject: str) -> None:
        self.count += 1


async def message_path(plugins: list[object]) -> float:
    """Seconds per message for publish → receive → ack through memory://."""
    async with (
        connect("memory://", plugins=plugins) as backend,
        backend.publisher(PublisherOptions(stream_name="s", storage="memory")) as publisher,
        backend.consumer(ConsumerOptions(stream_name="s", consumer_name="d")).subscribe() as messages,
    ):
        started = asyncio.get_running_loop().time()
        for _ in range(MESSAGES):
            await publisher.publish("s.x", b"payload")
            await (await anext(messages)).ack()
        return (asyncio.get_running_loop().time() - started) / MESSAGES


def per_call(statement: str, **names: object) -> float:
    """Seconds of one execution."""
    return min(timeit.repeat(statement, globals=names, number=100_000, repeat=5)) / 100_000


def main() -> None:
    without, with_one = [], []
    for _ in range(ROUNDS):
        without.append(asyncio.run(message_path([])))
        with_one.append(asyncio.run(message_path([Counter()])))
    manager = pluggy.PluginManager("pubsubkit")
    manager.add_hookspecs(hookspecs)
    test = per_call("hooks.published is not None", hooks=Hooks())
    asked = per_call(
        "hook(stream=1, subject=2, size=3, message_id=4, headers=5, error=6, latency=7, address=8)",
        hook=manager.hook.pubsubkit_published,
    )
    none, one = statistics.median(without), statistics.median(with_one)
    share = 5 * test / none
    lines = [
        f"publish, receive, ack without a plugin      {none * 1e6:8.2f} us a message",
        f"the same with one plugin on three hooks     {one * 1e6:8.2f} us a message  ({one / none:.2f} x)",
        f"one test of a hook without listeners        {test * 1e9:8.0f} ns  ({share:.2%} of a message for all five)",
        f"asking pluggy instead, without listeners    {asked * 1e9:8.0f} ns  ({asked / test:.0f} x the test)",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


main()
