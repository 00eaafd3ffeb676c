"""The paths, and how one cell (a path with a size, a storage and an event loop) is measured.

All contenders of a cell take turns for some rounds, in an order that is rotated between the rounds, on one server.  A
round of as many messages that is not counted comes first, unless there is only one round.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from contenders import ACK_PENDING, CONTENDERS, Work

from pubsubkit import ConsumerOptions, PublisherOptions, StreamOptions, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from contenders.work import Run

    from pubsubkit import Backend

__all__ = ["PATHS", "Cell", "Measured", "cells", "measure"]


_RUN_SECONDS = 600.0
"""After which a run has failed."""


def rate(count: int, seconds: float, _: object) -> dict[str, float]:
    return {"msg/s": count / seconds}


def cost(count: int, seconds: float, _: object) -> dict[str, float]:
    return {"us": seconds / count * 1e6}


def latency(_: int, __: float, trips: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(trips, n=100)
    return {"p50 us": cuts[49] * 1e6, "p99 us": cuts[98] * 1e6}


def growth(_: int, __: float, size: int) -> dict[str, float]:
    return {"MB": size / 1e6}


@dataclass(frozen=True, kw_only=True)
class Path:
    """What is measured, with how many messages in a run."""

    about: str
    count: int
    quick: int
    figures: Callable[[int, float, object], dict[str, float]] = rate
    consumes: bool = False
    """Whether a durable consumer is needed."""
    filled: bool = False
    """Whether the stream holds the messages beforehand."""
    sizes: tuple[int, ...] = (128, 4096)
    storages: tuple[str, ...] = ("memory", "file")
    loops: tuple[str, ...] = ("asyncio", "uvloop")
    rounds: int | None = None
    """How many rounds, whatever is asked for."""
    note: str = ""
    """What a reader of the figures should know."""


_IN_PROCESS = {"sizes": (128,), "storages": ("",), "loops": ("asyncio",)}
PATHS: dict[str, Path] = {
    "consume": Path(about="consume, one ack per message", count=10_000, quick=2_000, consumes=True, filled=True),
    "publish many": Path(about="publish, many under way, every confirmation awaited", count=10_000, quick=2_000),
    "publish": Path(about="await publish() one by one", count=2_000, quick=300),
    "latency": Path(
        about="from a publish to an idle consumer until delivered",
        count=1_000,
        quick=300,
        figures=latency,
        consumes=True,
        note="The publisher is a process of its own. "
        "JetStream, bare, is a client of a hundred lines that can do nothing else: "
        "what server, kernel and interpreter take for a message that is confirmed and acked.",
    ),
    "growth": Path(
        about="growth of memory over a million messages through one consumer, after the first tenth",
        count=1_000_000,
        quick=50_000,
        figures=growth,
        consumes=True,
        sizes=(128,),
        storages=("file",),
        loops=("asyncio",),
        rounds=1,
    ),
    "in process": Path(about="publish, deliver, ack in one process", count=20_000, quick=5_000, **_IN_PROCESS),
    "beside durables": Path(
        about="publish beside durable consumers of other subjects",
        count=20_000,
        quick=5_000,
        figures=cost,
        **_IN_PROCESS,
    ),
}


class Cell(NamedTuple):
    """What all contenders do in one comparison."""

    path: str
    loop: str
    storage: str
    """Empty without a server."""
    size: int


def cells(paths: Sequence[str], loop: str) -> Iterator[Cell]:
    """The cells of *paths* that run on *loop*."""
    for name in paths:
        path = PATHS[name]
        if loop in path.loops:
            for storage, size in itertools.product(path.storages, path.sizes):
                yield Cell(name, loop, storage, size)


class Measured(NamedTuple):
    """What came of a cell."""

    cell: Cell
    figures: dict[str, dict[str, list[float]]]
    """By contender and name of the figure, one value for each round."""
    absent: dict[str, str]
    """Who could not be measured, and why."""

    def add(self, name: str, figures: dict[str, float]) -> None:
        for figure, value in figures.items():
            self.figures[name].setdefault(figure, []).append(value)

    def median(self, name: str, figure: str) -> float:
        return statistics.median(self.figures[name][figure])


class Referee:
    """Prepares what a run needs on the server, times it, and sees that nothing was left undone."""

    def __init__(self, backend: Backend, cell: Cell, count: int) -> None:
        self._backend = backend
        self._path = PATHS[cell.path]
        self._stream = StreamOptions(name=f"s{cell.size}-{cell.storage}", storage=cell.storage)
        self._work = Work(self._stream.name, "reader", b"x" * cell.size, count, self._begin, self._settled)
        self._started = self._finished = 0.0

    async def time(self, run: Run) -> dict[str, float]:
        await self._prepare()
        self._finished = 0.0
        async with asyncio.timeout(_RUN_SECONDS):
            result = await run(self._work)
        seconds = (self._finished or time.perf_counter()) - self._started
        await self._check()
        return self._path.figures(self._work.count, seconds, result)

    def _begin(self) -> None:
        self._started = time.perf_counter()

    async def _settled(self) -> None:
        while await self._left():
            pass
        self._finished = time.perf_counter()

    async def _left(self) -> int:
        info = await self._backend.consumer_info(self._work.stream, self._work.consumer)
        return info.num_pending + info.num_ack_pending

    async def _prepare(self) -> None:
        work = self._work
        await self._backend.ensure_stream(self._stream)
        stored, wanted = (await self._backend.stream_info(work.stream)).messages, self._path.filled * work.count
        if stored != wanted:
            await self._backend.delete_stream(work.stream)
            await self._backend.ensure_stream(self._stream)
        if stored != wanted and self._path.filled:
            async with self._backend.publisher(PublisherOptions(stream_name=work.stream)) as publisher:
                await publisher.publish_many((work.subject, work.payload) for _ in range(work.count))
        if self._path.consumes:
            options = ConsumerOptions(stream_name=work.stream, consumer_name=work.consumer, max_in_flight=ACK_PENDING)
            async with self._backend.consumer(options):
                pass

    async def _check(self) -> None:
        if self._path.consumes:
            assert not await self._left(), "messages without an ack"
            await self._backend.delete_consumer(self._work.stream, self._work.consumer)
        else:
            stored = (await self._backend.stream_info(self._work.stream)).messages
            assert stored == self._work.count, f"{stored} messages stored of {self._work.count}"


class Stopwatch:
    """Times a run that needs no server."""

    def __init__(self, cell: Cell, count: int) -> None:
        self._path = PATHS[cell.path]
        self._work = Work("", "", b"x" * cell.size, count, self._begin, self._settled)
        self._started = 0.0

    async def time(self, run: Run) -> dict[str, float]:
        await run(self._work)
        return self._path.figures(self._work.count, time.perf_counter() - self._started, None)

    def _begin(self) -> None:
        self._started = time.perf_counter()

    async def _settled(self) -> None:
        """In one process every ack has arrived when it returns."""


async def measure(cell: Cell, url: str, rounds: int, count: int) -> Measured:
    path, measured = PATHS[cell.path], Measured(cell, {}, {})
    rounds = path.rounds or rounds
    async with AsyncExitStack() as stack:
        runs: dict[str, Run] = {}
        for name in sorted(CONTENDERS[cell.path], key=lambda name: (not name.startswith("pubsubkit"), name)):
            try:
                runs[name] = await stack.enter_async_context(CONTENDERS[cell.path][name](url))
            except ImportError as error:
                measured.absent[name] = str(error)
        if cell.storage:
            backend = await stack.enter_async_context(connect(url))
            timed = Referee(backend, cell, count).time
        else:
            timed = Stopwatch(cell, count).time
        names = list(runs)
        measured.figures.update((name, {}) for name in names)
        for number in range(rounds + (rounds > 1)):
            for name in names:
                figures = await timed(runs[name])
                if number or rounds == 1:
                    measured.add(name, figures)
            names = names[1:] + names[:1]
        if cell.storage:
            await backend.delete_stream(f"s{cell.size}-{cell.storage}")
    return measured
