"""Reading what a stream holds, from a number to its present end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit.errors import ClosedError
from pubsubkit.options import ConsumerOptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pubsubkit.backend import Backend
    from pubsubkit.message import Message

__all__ = ["read_stored"]

_QUIET_SECONDS = 1.0
"""After so long without a message it is asked whether there are any."""


async def read_stored(backend: Backend, stream: str, start: int = 1) -> AsyncGenerator[Message]:
    """Give out the messages of *stream* from number *start* to its present end, through an ephemeral consumer.

    :raises NotFoundError: there is no such stream.
    :raises ClosedError: the backend was closed meanwhile.
    :raises PubSubError: as reading a subscription does.
    """
    info = await backend.stream_info(stream)
    if not info.messages or start > info.last_sequence:
        return
    message: Message | None = None
    options = ConsumerOptions(stream_name=stream, deliver_from=start, manage="none")
    async with backend.consumer(options) as consumer, consumer.subscribe() as subscription:
        while message is None or message.metadata.sequence < info.last_sequence:
            try:
                async with asyncio.timeout(_QUIET_SECONDS):
                    following = await anext(subscription, None)
            except TimeoutError:
                if await _is_through(backend, stream, message, info.last_sequence):
                    return
                continue
            if following is None:
                raise ClosedError(f"stream {stream!r} was not read to its end: the backend was closed")
            message = following
            await message.ack()
            if message.metadata.sequence > info.last_sequence:
                return
            yield message


async def _is_through(backend: Backend, stream: str, latest: Message | None, last: int) -> bool:
    """Whether the rest up to *last* is gone, because of its age or by another hand."""
    if latest is not None:
        consumer = await backend.consumer_info(stream, latest.metadata.consumer)
        return consumer.num_pending == consumer.num_ack_pending == 0
    info = await backend.stream_info(stream)
    return not info.messages or info.first_sequence > last
