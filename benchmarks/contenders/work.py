"""The contenders: for each path, who runs it and how.

A contender opens its connection, yields the coroutine function that does the work, and closes the connection.  Stream
and durable consumer exist.  The starting line is ``work.begin()``: what is opened first, asks for and sends nothing
before.  A consumer settles every message with an ack of its own and then crosses the finish line, ``work.settled()``,
which waits until the server has them all; tidying up comes after it.  A publisher's finish line is its return: the
confirmation of every message has been looked at by then.  Those that do less, to show a floor, say so.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    Run = Callable[["Work"], Awaitable[object]]
    Arrival = tuple[int, bytes]  # the reading of time.perf_counter_ns, and the payload
    Contender = Callable[[str], AbstractAsyncContextManager[Run]]

__all__ = [
    "ACK_PENDING",
    "BUFFER",
    "CONTENDERS",
    "WINDOW",
    "Post",
    "Work",
    "contender",
    "gathered",
    "one_by_one",
    "trips",
]

WINDOW = 1024
"""Messages that wait for their confirmation at a time, for everybody who counts them."""
TASKS = 256
"""Tasks that publish, for everybody who can only gather; more are slower."""
BUFFER = 500
"""Messages that are asked for at a time, for everybody whose name does not say otherwise."""
ACK_PENDING = 5000
"""The ``max_ack_pending`` of the consumers: the largest batch that anybody asks for."""
_TRIP_SECONDS = 10.0
_COLD = 20
"""One of so many trips is not counted, at the beginning: the other process has just started."""


class Work(NamedTuple):
    """One run."""

    stream: str
    consumer: str
    payload: bytes
    count: int
    begin: Callable[[], None]
    settled: Callable[[], Awaitable[None]]

    @property
    def subject(self) -> str:
        return f"{self.stream}.x"


class Post:
    """Notes when the message that is expected arrives, for who has it in a callback."""

    def expect(self) -> asyncio.Future[Arrival]:
        self._arrival: asyncio.Future[Arrival] = asyncio.get_running_loop().create_future()
        return self._arrival

    def arrived(self, data: bytes) -> None:
        self._arrival.set_result((time.perf_counter_ns(), data))


CONTENDERS: dict[str, dict[str, Contender]] = {}
"""By path, then by name."""


def contender(path: str, name: str) -> Callable[[Callable[[str], AsyncGenerator[Run]]], None]:
    def register(function: Callable[[str], AsyncGenerator[Run]]) -> None:
        CONTENDERS.setdefault(path, {})[name] = asynccontextmanager(function)

    return register


async def one_by_one(work: Work, publish: Callable[[], Awaitable[object]]) -> None:
    """Publish each message when the one before it is confirmed."""
    work.begin()
    for _ in range(work.count):
        await publish()


async def gathered(work: Work, publish: Callable[[], Awaitable[object]]) -> None:
    """Publish by many tasks, each of which waits for the confirmation of its message."""
    left = iter(range(work.count))
    work.begin()

    async def worker() -> None:
        for _ in left:
            await publish()

    await asyncio.gather(*(worker() for _ in range(TASKS)))


async def trips(url: str, way: str, work: Work, subject: str, expect: Callable[[], Awaitable[Arrival]]) -> list[float]:
    """The seconds from the call of a publish in another process until the arrival here; one message at a time.

    :param way: how that process publishes; see ``contenders/there.py``.
    :param expect: begins to wait for the next message.
    """
    loop = "uvloop" if type(asyncio.get_running_loop()).__module__.startswith("uvloop") else "asyncio"
    there = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "contenders.there", way, loop, url, work.stream, subject, str(len(work.payload))),
        stdin=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert there.stdin is not None
    seconds: list[float] = []
    for _ in range(work.count):
        arrival = expect()
        there.stdin.write(b"\n")
        async with asyncio.timeout(_TRIP_SECONDS):
            nanoseconds, data = await arrival
        seconds.append((nanoseconds - int.from_bytes(data[:8], "big")) / 1e9)
    there.stdin.close()
    assert await there.wait() == 0
    return seconds[work.count // _COLD :]
