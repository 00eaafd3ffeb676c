"""Takes messages out of what comes off the socket, or out of what nats-py's read loop has read.

nats-py's parser matches regular expressions against a buffer, from which it then cuts what it has dealt with, and calls
a coroutine for each message.
"""

from __future__ import annotations

import logging
from asyncio import StreamReader
from typing import TYPE_CHECKING, Any

from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, CRLF_SIZE, Parser

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from nats.aio.client import Client

    Headers = Mapping[str, str] | None
    Sink = Callable[[str, str, bytes, Headers], None]

__all__ = ["FrameParser"]

logger: logging.Logger = logging.getLogger("pubsubkit.nats")

_CRLF = b"\r\n"
_MSG, _HMSG = b"MSG", b"HMSG"
_LARGE = 64 * 1024
_WAITER = "_waiter"
"""The attribute of a StreamReader that is None unless somebody waits for more, and from when more has come."""


class FrameParser(Parser):
    """Cuts the messages for :attr:`sinks` out of a read; all else goes to nats-py's own parser.

    What is incomplete waits in ``buf`` for the next read, but for a large payload, which nats-py's parser collects.

    :param client: a nats-py client.
    :param parse_headers: its method that does that.
    """

    def __init__(self, client: Client, parse_headers: Callable[[bytes], Awaitable[Headers]]) -> None:
        super().__init__(client)  # pyright: ignore[reportUnknownMemberType]
        self.sinks: dict[bytes, Sink] = {}
        """Who takes the messages of a subscription, by its number in digits: subject, reply subject, data, headers."""
        self._parse_headers = parse_headers
        self._stats = client.stats

    def tap(self, reader: StreamReader) -> None:
        """Take messages as they come off the socket, in place of waking up the read loop for them.

        The read loop gets what is for no sink or has headers, and everything while it is at work on what came before.
        """

        def feed_data(data: Any) -> None:
            if getattr(reader, _WAITER, None) is not None and self.state == AWAITING_CONTROL_LINE:
                data = self._joined(bytes(data))  # on Windows a bytearray comes
                data = data[self._take(data, 0) :]
            if data:
                StreamReader.feed_data(reader, data)

        reader.feed_data = feed_data  # type: ignore[method-assign]

    async def parse(self, data: bytes = b"") -> None:
        """Take what was read, in order.

        :raises ProtocolError: it is not what a server says.
        """
        if self.state == AWAITING_CONTROL_LINE:
            data = self._joined(data)
        at, length = 0, len(data)
        while at < length:
            if self.state != AWAITING_CONTROL_LINE:
                end = at + self.needed + CRLF_SIZE - len(self.buf)
                await super().parse(data[at:end])
                at = end
                continue
            at = self._take(data, at)
            line = data.find(_CRLF, at)
            if line < 0:
                break
            start = line + CRLF_SIZE
            fields = data[at:line].split()
            sink = self.sinks.get(fields[2]) if len(fields) > 3 and fields[0] in (_MSG, _HMSG) else None
            size = 0 if sink is None else _number(fields[-1])
            end = start + size
            if sink is None or (size > _LARGE and end + CRLF_SIZE > length):
                await super().parse(data[at:start])
                at = start
            elif end + CRLF_SIZE > length:
                break
            else:
                at = end + CRLF_SIZE
                payload = start + _number(fields.pop(-2))
                headers = await self._parse_headers(data[start:payload])
                reply = fields[3] if len(fields) > 4 else b""
                self.hand_over(sink, fields[1], reply, data[payload:end], headers)
        self.buf += data[at:]

    def _joined(self, data: bytes) -> bytes:
        """*data* behind what is incomplete."""
        if self.buf:
            data = bytes(self.buf) + data
            self.buf.clear()
        return data

    def _take(self, data: bytes, at: int) -> int:
        """Hand over the whole messages from *at* on that have a sink and no headers; return where they end."""
        sinks, length = self.sinks, len(data)
        while data.startswith(_MSG, at):
            line = data.find(_CRLF, at)
            fields = data[at:line].split()
            sink = sinks.get(fields[2]) if line > 0 and len(fields) > 3 and fields[0] == _MSG else None
            if sink is None or not fields[-1].isdigit():
                break
            start = line + CRLF_SIZE
            end = start + int(fields[-1])
            if end + CRLF_SIZE > length:
                break
            at = end + CRLF_SIZE
            reply = fields[3] if len(fields) > 4 else b""
            self.hand_over(sink, fields[1], reply, data[start:end], None)
        return at

    def hand_over(self, sink: Sink, subject: bytes, reply: bytes, data: bytes, headers: Headers) -> None:
        """Call *sink*; what it raises would end the read loop, and so would a subject that is no UTF-8."""
        stats = self._stats
        stats["in_msgs"] += 1
        stats["in_bytes"] += len(data)
        try:
            sink(subject.decode(errors="replace"), reply.decode(errors="replace"), data, headers)
        except Exception:
            logger.exception("a message on %r was not understood", subject)


def _number(digits: bytes) -> int:
    try:
        return int(digits)
    except ValueError:
        raise ProtocolError from None
