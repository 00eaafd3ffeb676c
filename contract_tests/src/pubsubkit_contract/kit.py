"""What a case works with: a namespace of its own on the broker, and everything closed at the end."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from pubsubkit import Backend, ConsumerOptions, Message, Publisher, PublisherOptions, Subscription, connect

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["CAP", "SHORT", "Kit"]

CAP = 10.0
"""Seconds that a case may wait for something that must happen; spent only on failure."""
SHORT = 0.15
"""An ``ack_wait`` in seconds that is quick and yet far from the scheduler's noise."""


class Kit:
    """Opens backends, publishers and subscriptions in a namespace of one case."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.stream = f"c{secrets.token_hex(6)}"
        self._stack = AsyncExitStack()
        self._backend: Backend | None = None

    async def __aenter__(self) -> Self:
        self._backend = await self._stack.enter_async_context(connect(self.url))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.backend.closed:
                async with connect(self.url) as backend:
                    await backend.delete_stream(self.stream)
            else:
                await self.backend.delete_stream(self.stream)
        finally:
            await self._stack.aclose()

    @property
    def backend(self) -> Backend:
        """The case's backend."""
        assert self._backend is not None
        return self._backend

    def subject(self, tail: str) -> str:
        """A subject of the case's stream."""
        return f"{self.stream}.{tail}"

    async def publisher(self, **options: Any) -> Publisher:
        """Open a publisher into the case's stream."""
        options.setdefault("stream_name", self.stream)
        return await self._stack.enter_async_context(self.backend.publisher(PublisherOptions(**options)))

    async def subscription(self, consumer_name: str = "d", **options: Any) -> Subscription:
        """Open a member of a consumer of the case's stream; it is closed at the end of the case, if not before."""
        options.setdefault("stream_name", self.stream)
        consumer = self.backend.consumer(ConsumerOptions(consumer_name=consumer_name, **options))
        return await self._stack.enter_async_context(consumer.subscribe())

    async def publish(self, *datas: bytes, tail: str = "x") -> None:
        """Publish payloads to one subject, in order."""
        publisher = await self.publisher()
        for data in datas:
            await publisher.publish(self.subject(tail), data)


async def receive(subscription: Subscription) -> Message:
    """The next message, within the cap."""
    async with asyncio.timeout(CAP):
        return await anext(subscription)


async def read(subscription: Subscription, count: int, *, ack: bool = True) -> list[Message]:
    """The next *count* messages, acked unless told otherwise."""
    messages: list[Message] = []
    while len(messages) < count:
        message = await receive(subscription)
        messages.append(message)
        if ack:
            await message.ack()
    return messages


def payloads(messages: Sequence[Message]) -> list[bytes]:
    """The data of each."""
    return [message.data for message in messages]
