"""How many messages per second a worker handles with a handler that does nothing.

    python -m uv run python benchmarks/worker.py [MESSAGES]

For ``memory://`` and for a ``nats-server`` of its own, by concurrency; beside it the plain loop over a subscription
with the same number of messages fetched ahead.  The median of three runs each.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from pubsubkit import Backend, ConsumerOptions, Message, PublisherOptions, Worker, connect
from pubsubkit_nats.testing import NatsServer

RUNS = 3
CONCURRENCY = (1, 16, 100)


async def by_worker(backend: Backend, durable: str, count: int, concurrency: int, kind: str) -> None:
    worker, left = Worker(backend), count

    def done() -> None:
        nonlocal left
        left -= 1
        if not left:
            worker.stop()

    async def handle(message: Message) -> None:
        done()

    loop = asyncio.get_running_loop()

    def handle_in_thread(message: Message) -> None:
        loop.call_soon_threadsafe(done)

    key = (lambda message: message.metadata.sequence % 1000) if kind == "keyed" else None
    function = handle_in_thread if kind == "sync" else handle
    worker.add(function, stream="s", durable=durable, concurrency=concurrency, key=key)
    await worker.run()


async def by_loop(backend: Backend, durable: str, count: int, concurrency: int, _kind: str) -> None:
    options = ConsumerOptions(stream_name="s", consumer_name=durable, channel_buf_size=concurrency)
    async with backend.consumer(options).subscribe() as messages:
        for _ in range(count):
            await (await anext(messages)).ack()


async def rate(run: Callable[..., Awaitable[None]], backend: Backend, count: int, concurrency: int, kind: str) -> float:
    rates: list[float] = []
    for number in range(RUNS):
        started = time.perf_counter()
        await run(backend, f"{run.__name__}-{kind}-{concurrency}-{number}", count, concurrency, kind)
        rates.append(count / (time.perf_counter() - started))
    return statistics.median(rates)


async def measure(url: str, count: int) -> None:
    async with connect(url) as backend:
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish_many(("s.x", b"x" * 128) for _ in range(count))
        for concurrency in CONCURRENCY:
            rates = [await rate(by_loop, backend, count, concurrency, "loop")]
            rates += [await rate(by_worker, backend, count, concurrency, kind) for kind in ("async", "keyed", "sync")]
            figures = "".join(f"{each:15,.0f}" for each in rates)
            sys.stdout.write(f"{url.partition(':')[0]:8}{concurrency:5}{figures}\n")


async def main(count: int) -> None:
    sys.stdout.write("messages/s   at once   plain loop   async worker   keyed worker    sync worker\n")
    await measure("memory://", count)
    with tempfile.TemporaryDirectory() as folder:
        async with NatsServer(Path(folder)) as server:
            await measure(server.url, count)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000))
