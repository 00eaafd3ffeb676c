"""Reading stdin and files and writing stdout without blocking the event loop.

What may block runs in a daemon thread on the bare file descriptor: a thread of the loop's own pool, or one that holds
the lock of a buffered stream, would keep the process from ending while the other side of the pipe is silent.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Literal, TextIO, TypeVar

from pubsubkit.cli.failure import WRONG_INPUT, CommandError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

__all__ = ["Output", "ReaderGone", "in_thread", "read_chunk", "split_lines", "standard_stream"]

_T = TypeVar("_T")
_CHUNK = 64 * 1024
_AT_ONCE = 512
"""Bytes that a pipe which is ready for writing takes without blocking, on every POSIX system."""


class ReaderGone(Exception):  # noqa: N818 - how a pipe ends, not a fault
    """Nobody reads the other end of stdout."""


async def in_thread(function: Callable[[], _T]) -> _T:
    """Run a blocking *function* in a daemon thread.  Cancelling abandons it: it runs on and its result is dropped."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def finish(result: _T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, failure = None, None
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - handed to who waits
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(finish, result, failure)

    threading.Thread(target=work, name="pubsubkit-io", daemon=True).start()
    return await future


def standard_stream(name: Literal["stdin", "stdout"]) -> BinaryIO:
    """Return stdin or stdout as bytes.

    :raises CommandError: the process has none.
    """
    stream: TextIO | None = getattr(sys, name)
    if stream is None:
        raise CommandError(f"{name} is closed", WRONG_INPUT)
    return stream.buffer


async def read_chunk(source: BinaryIO) -> bytes:
    """Return the next bytes of *source* as soon as there are some; empty at its end."""
    number = _descriptor(source)
    return await in_thread(lambda: source.read(_CHUNK) if number is None else os.read(number, _CHUNK))


async def split_lines(chunks: AsyncGenerator[bytes], longest: int) -> AsyncGenerator[bytes]:
    """Split *chunks* at line feeds; the last line needs none.

    :param longest: more bytes than this without a line feed are given out as a line, and what follows as the next one.
    """
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        *ended, tail = chunk.split(b"\n")
        for piece in ended:
            yield b"".join((*parts, piece))
            parts, size = [], 0
        parts.append(tail)
        size += len(tail)
        if size > longest:
            yield b"".join(parts)
            parts, size = [], 0
    if size:
        yield b"".join(parts)


class Output:
    """Writes lines to a binary stream; a line is out when :meth:`write` returns."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._number = _descriptor(stream)
        self._is_file = self._number is not None and stat.S_ISREG(os.fstat(self._number).st_mode)

    async def write(self, line: bytes) -> None:
        """Write all of *line*.

        :raises ReaderGone: nobody reads the other end.
        :raises CommandError: it cannot be written, because a disk is full for example.
        """
        try:
            await self._write(line)
        except BrokenPipeError as error:
            raise ReaderGone from error
        except OSError as error:
            raise CommandError(f"cannot write to stdout: {error.strerror}") from error

    async def _write(self, line: bytes) -> None:
        if self._number is None or self._is_file or (len(line) <= _AT_ONCE and _is_ready(self._number)):
            self._write_now(line)
        else:
            await in_thread(lambda: self._write_now(line))

    def _write_now(self, line: bytes) -> None:
        if self._number is None:
            self._stream.write(line)
            self._stream.flush()
            return
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(self._number, rest) :]


def _descriptor(stream: BinaryIO) -> int | None:
    """The file descriptor of *stream*; None for a stream in memory."""
    try:
        return stream.fileno()
    except OSError:
        return None


def _is_ready(number: int) -> bool:
    try:
        return bool(select.select([], [number], [], 0)[1])
    except (OSError, ValueError):  # Windows, or a descriptor beyond what select can watch
        return False
