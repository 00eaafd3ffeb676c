"""The measurements of ``pubsubkit bench``, each on a stream of its own, by the public API alone."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pubsubkit.cli.failure import CommandError
from pubsubkit.cli.throwaway import throwaway_stream
from pubsubkit.options import ConsumerOptions, PublisherOptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from pubsubkit.backend import Backend
    from pubsubkit.cli.stopping import Stop
    from pubsubkit.options import Storage, StreamOptions
    from pubsubkit.publisher import Publisher
    from pubsubkit.subscription import Subscription

__all__ = ["Bench", "Measured"]

_ONE_BY_ONE = 1000
_CONSUMER = "bench"
_CONFIRM_SECONDS = 10.0
_POLL_SECONDS = 0.001


@dataclass(frozen=True)
class Measured:
    """How long one job took; times in seconds."""

    what: str
    messages: int
    seconds: float
    latencies: Sequence[float] = ()
    """Of each message, sorted; empty where there were several under way at a time."""

    def quantile(self, share: float) -> float | None:
        """Return the latency that *share* of the messages did not exceed."""
        if not self.latencies:
            return None
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))]


class Bench:
    """Measures one broker.

    :param count: how many messages; where there is one at a time, 1000 at the most.
    :param size: bytes of each payload.
    """

    def __init__(self, stop: Stop, backend: Backend, storage: Storage, *, count: int, size: int) -> None:
        self._stop = stop
        self._backend = backend
        self._storage = storage
        self._count = count
        self._few = min(count, _ONE_BY_ONE)
        self._payload = secrets.token_bytes(size)
        self._what = ""
        self._done = 0

    def line(self) -> str:
        """Return how far it is."""
        return f"{self._what}: {self._done}"

    async def run(self) -> AsyncGenerator[Measured]:
        """Give out each measurement when it is made.

        :raises Stopped: the command was asked to stop; the stream of the measurement under way is deleted.
        :raises CommandError: messages were left without an ack.
        """
        async with self._publisher() as (publisher, _):
            yield await self._stop.race(self._publish_one_by_one(publisher))
        async with self._publisher() as (publisher, stream):
            yield await self._stop.race(self._publish_many(publisher))
            yield await self._stop.race(self._consume(stream))
        async with self._publisher() as (publisher, stream):
            yield await self._stop.race(self._round_trips(publisher, stream))

    @asynccontextmanager
    async def _publisher(self) -> AsyncGenerator[tuple[Publisher, StreamOptions]]:
        async with throwaway_stream(self._backend, "bench", self._storage) as stream:
            options = PublisherOptions(stream=stream, subject_prefix=stream.name)
            async with self._backend.publisher(options) as publisher:
                yield publisher, stream

    async def _publish_one_by_one(self, publisher: Publisher) -> Measured:
        latencies: list[float] = []
        started = time.perf_counter()
        for _ in self._steps("publish one by one", self._few):
            before = time.perf_counter()
            await publisher.publish("message", self._payload)
            latencies.append(time.perf_counter() - before)
        return self._measured(started, latencies)

    async def _publish_many(self, publisher: Publisher) -> Measured:
        steps = self._steps("publish many", self._count)
        started = time.perf_counter()
        await publisher.publish_many(("message", self._payload) for _ in steps)
        return self._measured(started)

    async def _consume(self, stream: StreamOptions) -> Measured:
        """Until the broker has confirmed every ack."""
        async with self._subscription(stream) as subscription:
            started = time.perf_counter()
            for _ in self._steps("consume and ack", self._count):
                await (await anext(subscription)).ack()
            await self._all_acked(stream)
            return self._measured(started)

    async def _round_trips(self, publisher: Publisher, stream: StreamOptions) -> Measured:
        """From the call of publish until the consumer has the message, one at a time."""

        async def arrival() -> float:
            message = await anext(subscription)
            arrived = time.perf_counter()
            await message.ack()
            return arrived

        latencies: list[float] = []
        async with self._subscription(stream) as subscription:
            started = time.perf_counter()
            for _ in self._steps("publish to consumer", self._few):
                before = time.perf_counter()
                arrived, _ = await asyncio.gather(arrival(), publisher.publish("message", self._payload))
                latencies.append(arrived - before)
            return self._measured(started, latencies)

    @asynccontextmanager
    async def _subscription(self, stream: StreamOptions) -> AsyncGenerator[Subscription]:
        options = ConsumerOptions(stream=stream, consumer_name=_CONSUMER)
        async with self._backend.consumer(options) as consumer, consumer.subscribe() as subscription:
            yield subscription

    async def _all_acked(self, stream: StreamOptions) -> None:
        left = 0
        try:
            async with asyncio.timeout(_CONFIRM_SECONDS):
                while left := await self._left(stream):  # noqa: ASYNC110 - the broker does not tell by itself
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            text = f"{left} messages are without an ack {_CONFIRM_SECONDS:g} s after the last one was acknowledged"
            raise CommandError(text) from None

    async def _left(self, stream: StreamOptions) -> int:
        info = await self._backend.consumer_info(stream.name, _CONSUMER)
        return info.num_pending + info.num_ack_pending

    def _steps(self, what: str, total: int) -> Iterator[int]:
        self._what = what
        for self._done in range(total):
            yield self._done
        self._done = total

    def _measured(self, started: float, latencies: Sequence[float] = ()) -> Measured:
        return Measured(self._what, self._done, time.perf_counter() - started, sorted(latencies))
