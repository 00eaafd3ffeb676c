"""memory:// against a bounded asyncio.Queue, and beside many durable consumers."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

from pubsubkit import ConsumerOptions, PublisherOptions, connect

ROUNDS, MESSAGES = 5, 20_000


async def through_memory() -> float:
    """Seconds per message for publish → deliver → ack."""
    async with (
        connect("memory://") as backend,
        backend.publisher(PublisherOptions(stream_name="s")) as publisher,
        backend.consumer(ConsumerOptions(stream_name="s", consumer_name="d")).subscribe() as messages,
    ):
        started = time.perf_counter()
        for _ in range(MESSAGES):
            await publisher.publish("s.x", b"payload")
            await (await anext(messages)).ack()
        return (time.perf_counter() - started) / MESSAGES


async def through_queue() -> float:
    """Seconds per put and get."""
    queue: asyncio.Queue[bytes] = asyncio.Queue(100)
    started = time.perf_counter()
    for _ in range(MESSAGES):
        await queue.put(b"payload")
        await queue.get()
    return (time.perf_counter() - started) / MESSAGES


async def beside(consumers: int) -> float:
    """Seconds per publish with that many durable consumers of other subjects in the stream."""
    async with connect("memory://") as backend, backend.publisher(PublisherOptions(stream_name="s")) as publisher:
        for number in range(consumers):
            options = ConsumerOptions(stream_name="s", consumer_name=f"c{number}", filter_subject=f"s.other.{number}")
            async with backend.consumer(options):
                pass
        started = time.perf_counter()
        for number in range(MESSAGES):
            await publisher.publish(f"s.x.{number % 100}", b"payload")
        return (time.perf_counter() - started) / MESSAGES


async def main() -> None:
    rows: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        rows.setdefault("memory", []).append(await through_memory())
        rows.setdefault("queue", []).append(await through_queue())
        for consumers in (10, 10_000):
            rows.setdefault(f"beside {consumers}", []).append(await beside(consumers))
    median = {name: statistics.median(values) for name, values in rows.items()}
    ratio = median["queue"] / median["memory"]
    lines = [
        f"publish, deliver, ack          {median['memory'] * 1e6:7.2f} us  {ratio:.3f} x queue",
        f"asyncio.Queue put, get         {median['queue'] * 1e6:7.2f} us",
        f"publish beside 10 durables     {median['beside 10'] * 1e6:7.2f} us",
        f"publish beside 10,000          {median['beside 10000'] * 1e6:7.2f} us  "
        f"{median['beside 10000'] / median['beside 10']:.2f} x that beside 10",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


asyncio.run(main())
