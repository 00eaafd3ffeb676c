"""Where ``pub`` gets its messages from: an argument, stdin as it is, or JSON lines."""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from array import array
from contextlib import aclosing
from typing import TYPE_CHECKING, BinaryIO

from pubsubkit.cli.failure import WRONG_INPUT, CommandError
from pubsubkit.cli.jsonl import check_message, parse_message
from pubsubkit.cli.pipes import read_chunk, split_lines
from pubsubkit.cli.stopping import Stopped
from pubsubkit.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from pubsubkit.cli.stopping import Stop
    from pubsubkit.driver import OutgoingMessage

__all__ = ["Argument", "JsonLines", "Source", "StandardInput"]

_LONGEST_LINE = 64 * 1024 * 1024


class Source(ABC):
    """The messages of one run of ``pub``.

    It ends early, instead of raising, when the command is asked to stop or the input is wrong, so that what was taken
    before is still published and counted.
    """

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self.cut: bool = False
        """Whether it ended because the command was asked to stop."""
        self.problem: CommandError | None = None
        """What is wrong with the input, where it ended because of that."""

    async def messages(self, limit: int) -> AsyncGenerator[OutgoingMessage]:
        """Give out the messages, none of them larger than *limit* bytes."""
        try:
            async with aclosing(self._read(limit)) as reader:
                while not self.stop.asked:
                    message = await anext(reader, None)
                    if message is None:
                        return
                    yield message
            self.cut = True
        except Stopped:
            self.cut = True
        except CommandError as error:
            self.problem = error

    @abstractmethod
    def _read(self, limit: int) -> AsyncGenerator[OutgoingMessage]:
        """Give out the messages; raise CommandError for wrong input and Stopped on the request to stop."""

    def place(self, index: int) -> str:  # noqa: ARG002 - for sources with more than one message
        """Where the message with this *index* came from; empty when that is plain."""
        return ""

    async def count_rest(self) -> int | None:
        """How many messages were not given out; None when that cannot be told."""
        return None


class Argument(Source):
    """One message whose payload is known."""

    def __init__(self, stop: Stop, message: OutgoingMessage) -> None:
        super().__init__(stop)
        self._message = message

    async def _read(self, limit: int) -> AsyncGenerator[OutgoingMessage]:
        yield check_message(self._message, limit)


class StandardInput(Source):
    """One message whose payload is all of stdin, byte for byte."""

    def __init__(self, stop: Stop, source: BinaryIO, message: OutgoingMessage) -> None:
        super().__init__(stop)
        self._source = source
        self._message = message

    async def _read(self, limit: int) -> AsyncGenerator[OutgoingMessage]:
        parts: list[bytes] = []
        size = 0
        while chunk := await self.stop.race(read_chunk(self._source)):
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                raise InvalidArgumentError(
                    f"stdin has more than the {limit} bytes that the broker takes in one message"
                )
        yield check_message(self._message._replace(data=b"".join(parts)), limit)


class JsonLines(Source):
    """A message per line of a file or pipe, which is read as it comes; blank lines are passed over.

    :param name: of the input, for errors.
    :param headers: for every message; those of a line win.
    """

    def __init__(self, stop: Stop, source: BinaryIO, name: str, headers: Mapping[str, str]) -> None:
        super().__init__(stop)
        self._source = source
        self._name = name
        self._headers = headers
        self._numbers = array("Q")
        self._lines = self._numbered()

    async def _read(self, limit: int) -> AsyncGenerator[OutgoingMessage]:
        async for number, line in self._lines:
            try:
                message = parse_message(line)
                if self._headers:
                    message = message._replace(headers={**self._headers, **(message.headers or {})})
                check_message(message, limit)
            except InvalidArgumentError as error:
                raise CommandError(f"{self._name}:{number}: {error}", WRONG_INPUT) from error
            self._numbers.append(number)
            yield message

    def place(self, index: int) -> str:
        """``FILE:LINE``."""
        return f"{self._name}:{self._numbers[index]}"

    async def count_rest(self) -> int | None:
        """The number of lines that are left in a file; None for a pipe, which may never end."""
        return len([number async for number, _ in self._lines]) if self._source.seekable() else None

    async def _numbered(self) -> AsyncGenerator[tuple[int, bytes]]:
        number = 0
        async for line in split_lines(self._chunks(), _LONGEST_LINE):
            number += 1
            content = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip()
            if len(line) > _LONGEST_LINE:
                raise CommandError(f"{self._name}:{number}: longer than {_LONGEST_LINE} bytes", WRONG_INPUT)
            if content:
                yield number, content

    async def _chunks(self) -> AsyncGenerator[bytes]:
        """Only a pipe may keep one waiting, so only there the request to stop interrupts."""
        if self._source.seekable():
            while chunk := await read_chunk(self._source):
                yield chunk
        else:
            while chunk := await self.stop.race(read_chunk(self._source)):
                yield chunk
