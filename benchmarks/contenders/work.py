"""The contenders: for each path, who runs it and how.

A contender opens its connection, yields the coroutine function that does the work, and closes the connection.  Stream
and durable consumer exist.  The starting line is ``work.begin()``: what is opened first, asks for and sends nothing
before.  A consumer settles every message with an ack of its own and then crosses the finish line, ``work.settled()``,
which waits until the server has them all; tidying up comes after it.  A publisher's finish line is its return: the
confirmation of every message has been looked at by then.  Those that do less, to show a floor, say so.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    Run = Callable[["Work"], Awaitable[object]]
    Contender = Callable[[str], AbstractAsyncContextManager[Run]]

__all__ = ["ACK_PENDING", "BUFFER", "CONTENDERS", "WINDOW", "Work", "contender", "gathered", "one_by_one", "trips"]

WINDOW = 1024
"""Messages that wait for their confirmation at a time, for everybody who counts them."""
TASKS = 256
"""Tasks that publish, for everybody who can only gather; more are slower."""
BUFFER = 500
"""Messages that are asked for at a time, for everybody whose name does not say otherwise."""
ACK_PENDING = 5000
"""The ``max_ack_pending`` of the consumers: the largest batch that anybody asks for."""
_PAUSE_SECONDS = 0.001


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


async def trips(
    count: int, publish: Callable[[], Awaitable[object]], expect: Callable[[], Awaitable[float]]
) -> list[float]:
    """The seconds from the call of *publish* until the clock reading that *expect* gives; one message at a time."""
    seconds: list[float] = []
    for _ in range(count):
        arrival = expect()
        await asyncio.sleep(_PAUSE_SECONDS)
        started = time.perf_counter()
        await publish()
        seconds.append(await arrival - started)
    return seconds
