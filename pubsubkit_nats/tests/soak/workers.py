"""Those who publish and consume during a soak, as an application would, through the public API alone."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from account import Account, Fate, payload

from pubsubkit import (
    Backend,
    ClosedError,
    ConnectionState,
    ConsumerOptions,
    OutgoingMessage,
    PublishBatchError,
    PublisherOptions,
    PubSubError,
    Storage,
    StreamOptions,
    TransientError,
)
from pubsubkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from random import Random

    from pubsubkit import Message, Publisher, Subscription

STREAM = StreamOptions(name="soak", storage=Storage.FILE)
BOLD = PublisherOptions(stream=STREAM, timeout=1)
PATIENT = PublisherOptions(stream=STREAM, timeout=2, retry_attempts=10, window=64)
CONSUMER = ConsumerOptions(stream=STREAM, consumer_name="soak", ack_wait=5, channel_buf_size=50)

_BATCH = 20
_PAUSE_SECONDS = 0.2
_PERSISTENT_SECONDS = 60  # well within the stream's window for message ids, 120 s


class Watch:
    """A plugin that counts lost connections."""

    def __init__(self, account: Account) -> None:
        self._account = account

    @hookimpl
    def pubsubkit_connection_changed(self, state: ConnectionState) -> None:
        self._account.counts["connections lost"] += state is ConnectionState.DISCONNECTED


class Producers:
    """Publish numbered messages by each way that there is, each under a message id of its own.

    The library tries again for some of them, for the others they do so themselves, or give up.

    :param rate: messages per second, all together, while nothing is broken.
    """

    def __init__(self, account: Account, random: Random, rate: float) -> None:
        self._account = account
        self._random = random
        self._interval = 3 / rate
        self.stopping = asyncio.Event()

    async def run(self, backend: Backend) -> None:
        """Publish until :attr:`stopping` is set and the fate of every message is known."""
        async with asyncio.TaskGroup() as group:
            for way, options in ((self._one_by_one, BOLD), (self._soon, BOLD), (self._many, PATIENT)):
                group.create_task(self._keep_on(backend.publisher(options), way))

    async def _keep_on(self, publisher: Publisher, way) -> None:
        async with publisher:
            while not self.stopping.is_set():
                await way(publisher)

    async def _one_by_one(self, publisher: Publisher) -> None:
        message = self._message()
        try:
            await publisher.publish(message.subject, message.data, message_id=message.message_id)
        except PubSubError as error:
            await self._failed(publisher, message, error)
        else:
            self._account.confirmed(number_of(message))
        await asyncio.sleep(self._interval)

    async def _soon(self, publisher: Publisher) -> None:
        batch = [self._message() for _ in range(_BATCH)]
        futures = []
        for message in batch:
            futures.append(await publisher.publish_soon(message.subject, message.data, message_id=message.message_id))
            await asyncio.sleep(self._interval)
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        await self._judge(publisher, batch, outcomes)

    async def _many(self, publisher: Publisher) -> None:
        batch = [self._message() for _ in range(_BATCH)]
        try:
            outcomes = await publisher.publish_many(batch)
        except PublishBatchError as error:
            outcomes = error.outcomes
            self._account.counts["not tried"] += len(batch) - len(outcomes)
        await self._judge(publisher, batch, outcomes)
        await asyncio.sleep(self._interval * _BATCH)

    async def _judge(self, publisher: Publisher, batch: list[OutgoingMessage], outcomes) -> None:
        for message, outcome in zip(batch, outcomes, strict=False):
            if isinstance(outcome, BaseException):
                await self._failed(publisher, message, outcome)
            else:
                self._account.confirmed(number_of(message))

    async def _failed(self, publisher: Publisher, message: OutgoingMessage, error: BaseException) -> None:
        """Give every second message up; publish the others again until they are confirmed."""
        give_up = time.monotonic() + _PERSISTENT_SECONDS * self._random.randrange(2)
        while isinstance(error, TransientError) and time.monotonic() < give_up:
            try:
                await publisher.publish(message.subject, message.data, message_id=message.message_id)
            except PubSubError as again:
                error = again
            else:
                self._account.confirmed(number_of(message))
                self._account.counts["confirmed later"] += 1
                return
        if not isinstance(error, TransientError):
            self._account.surprise(f"publish: {error!r}")

    def _message(self) -> OutgoingMessage:
        number = self._account.new()
        return OutgoingMessage("soak.x", payload(number), None, str(number))


class Member:
    """One of those that share the durable consumer; joins, works for a while, leaves, and joins again."""

    def __init__(self, account: Account, random: Random) -> None:
        self._account = account
        self._random = random
        self.stopping = asyncio.Event()

    async def run(self, backend: Backend) -> None:
        """Work until :attr:`stopping` is set."""
        while not self.stopping.is_set():
            try:
                async with backend.consumer(CONSUMER).subscribe() as messages:
                    self._account.counts["subscriptions"] += 1
                    await self._work(messages)
            except TransientError:
                self._account.counts["subscriptions that raised"] += 1
                await asyncio.sleep(_PAUSE_SECONDS)
            except PubSubError as error:
                self._account.surprise(f"subscription: {error!r}")
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _work(self, messages: Subscription) -> None:
        leaving = asyncio.create_task(self._leave(messages))
        try:
            async for message in messages:
                await self._handle(message)
        finally:
            leaving.cancel()

    async def _leave(self, messages: Subscription) -> None:
        try:
            async with asyncio.timeout(self._random.uniform(5, 30)):
                await self.stopping.wait()
        except TimeoutError:
            pass
        await (messages.drain(2) if self._random.random() < 0.5 else messages.aclose())

    async def _handle(self, message: Message) -> None:
        number = self._account.delivered(message.data, message.metadata.num_delivered)
        chance = self._random.random()
        try:
            if chance < 0.90:
                await self._settle("ack", number, message.ack())
            elif chance < 0.93:
                if await self._settle("confirmed ack", number, message.ack(confirm=True)):
                    self._account.acked(number, Fate.CONFIRMED_ACK)
            elif chance < 0.96:
                await self._settle("nak", None, message.nak())
            elif chance < 0.99:
                await self._settle("delayed nak", None, message.nak_with_delay(self._random.uniform(0.01, 1)))
            else:
                self._account.counts["none"] += 1
        except (TransientError, ClosedError):
            self._account.counts["raised"] += 1

    async def _settle(self, name: str, number: int | None, verdict) -> bool:
        if number is not None:
            self._account.acked(number)
        took = await verdict
        self._account.counts[name] += took
        return took


def number_of(message: OutgoingMessage) -> int:
    return int(message.message_id or "")
