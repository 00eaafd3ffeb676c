"""Consuming: overlapping pull requests into a bounded buffer (ADR-37), watched by heartbeats.

Why not nats-py's ``fetch``: it makes two tasks and a timer per message, stalls now and then on an idle consumer
(nats.py #986), and takes a deleted consumer for an empty one.

Giving unread messages back at close costs each of them a delivery.  Where that was the last one that ``max_deliver``
allows, the message would be dead although no handler saw it, so the consumer's limit is raised by what is needed; the
application's own number stays in the consumer's metadata.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from typing import TYPE_CHECKING, cast

from pubsubkit.driver import DriverSubscription, Settlement, Verdict
from pubsubkit.errors import NotFoundError, PubSubError, TransientError
from pubsubkit_nats.codec import nanoseconds
from pubsubkit_nats.delivery import NatsDelivery
from pubsubkit_nats.private import stop_delivery

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from pubsubkit.driver import ConsumerInfo, ConsumerSpec, Delivery
    from pubsubkit_nats.link import Link
    from pubsubkit_nats.manager import StreamManager

__all__ = ["PullSubscription"]

logger = logging.getLogger("pubsubkit.nats")

_EXPIRES_SECONDS = 30.0
_MAX_BYTES = 16 * 1024 * 1024
_RETRY_SECONDS = 0.25
_STOP_SECONDS = 5.0
_KEEP = Settlement(Verdict.IN_PROGRESS)
_HEARTBEAT, _NO_RESPONDERS = "100", "503"


class PullSubscription(DriverSubscription):
    """One member of a consumer."""

    def __init__(self, link: Link, manager: StreamManager, spec: ConsumerSpec, size: int) -> None:
        self._link = link
        self._manager = manager
        self._spec = spec
        self._size = size
        self._buffer: deque[NatsDelivery] = deque()
        self._asked = 0
        self._arrived = asyncio.Event()
        self._error: PubSubError | None = None
        self._closing = False
        self._heard = 0.0
        self._heartbeat = min(link.options.heartbeat, _EXPIRES_SECONDS / 2)
        self._tick_seconds = min(self._heartbeat, spec.ack_wait / 3)
        self._request_subject = link.next_message_subject(spec.stream, spec.name)
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Subscribe to the inbox; nothing is asked for yet."""
        self._inbox = self._link.client.new_inbox()
        self._subscription = await self._link.subscribe(self._inbox, self._on_message)
        self._link.listeners.add(self._on_change)
        self._heard = self._now()
        self._timer = asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)

    @property
    def consuming(self) -> bool:
        """Connected, and the server has been heard of while something was asked for."""
        silent = self._asked > 0 and self._now() - self._heard > 2 * self._heartbeat
        return self._link.up and self._error is None and not silent

    async def receive(self) -> NatsDelivery | None:
        """Ask for more when half of the buffer is free, then take the oldest message or wait for one."""
        while not self._closing:
            if self._asked + len(self._buffer) <= self._size // 2 and self._error is None:
                await self._ask()
            if self._buffer:
                return self._buffer.popleft()
            if self._error is not None:
                raise self._error
            self._arrived.clear()
            await self._arrived.wait()
        return None

    async def aclose(self, held: Sequence[Delivery]) -> None:
        """Stop asking, fence what is on its way, give back what has no verdict."""
        self._closing = True
        self._arrived.set()
        self._link.listeners.discard(self._on_change)
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._subscription is None or not self._link.up:
            return
        async with asyncio.timeout(_STOP_SECONDS):
            await stop_delivery(self._link.client, self._subscription)
            # The answer comes behind everything that was on its way, and behind our acks.  The question makes the
            # server drop our open requests, which it would else try to serve first, out of order.
            exists = await self._find_consumer() is not None
            await self._subscription.unsubscribe()
            if exists and (held or self._buffer):
                await self._give_back(held)
                await self._find_consumer()

    async def _give_back(self, held: Sequence[Delivery]) -> None:
        await self._save_last_chances()
        for delivery in held:
            await cast("NatsDelivery", delivery).give_back(seen=True)
        for unseen in self._buffer:
            await unseen.give_back(seen=False)
        self._buffer.clear()

    async def _find_consumer(self) -> ConsumerInfo | None:
        return await self._manager.consumer_info(self._spec.stream, self._spec.name)

    async def _ask(self) -> None:
        room = self._size - self._asked - len(self._buffer)
        request = {
            "batch": room,
            "expires": nanoseconds(_EXPIRES_SECONDS),
            "idle_heartbeat": nanoseconds(self._heartbeat),
            "max_bytes": max(_MAX_BYTES, 2 * self._link.client.max_payload),
        }
        if not self._link.up:
            return
        if not self._asked:
            self._heard = self._now()
        self._asked += room
        await self._link.client.publish(self._request_subject, json.dumps(request).encode(), self._inbox)

    async def _on_message(self, message: Msg) -> None:
        self._heard = self._now()
        if message.reply.startswith("$JS.ACK."):
            self._asked = max(0, self._asked - 1)
            delivery = NatsDelivery(message, self._link, self._spec.max_deliver)
            delivery.lease = self._heard
            self._buffer.append(delivery)
            self._arrived.set()
        elif message.headers:
            self._on_status(message.headers)

    def _on_status(self, headers: dict[str, str]) -> None:
        """React to the end of a pull: it names what was not sent, or all that was asked for is off."""
        status, description = headers.get("Status", ""), headers.get("Description", "")
        if status == _HEARTBEAT:
            return
        unsent = headers.get("Nats-Pending-Messages")
        self._asked = max(0, self._asked - int(unsent)) if unsent else 0
        lowered = description.lower()
        if status == _NO_RESPONDERS or "leadership" in lowered or "shutdown" in lowered or "exceeded" in lowered:
            self._spawn_check()
        elif "deleted" in lowered:
            self._fail(NotFoundError(f"consumer {self._name} was deleted"))
        elif status == "400" or "push" in lowered:
            self._fail(PubSubError(f"consumer {self._name} refuses pull requests: {status} {description}"))
        else:
            self._arrived.set()

    def _on_change(self, up: bool) -> None:
        self._asked = 0
        self._heard = self._now()
        if up:
            self._arrived.set()

    def _tick(self) -> None:
        now = self._now()
        if self._asked and self._link.up and now - self._heard > 2 * self._heartbeat:
            logger.warning("no sign of life from consumer %s for %.1f s: asking again", self._name, now - self._heard)
            self._asked = 0
            self._heard = now
            self._spawn_check()
        if self._buffer and self._link.up and now - self._buffer[0].lease > self._spec.ack_wait / 3:
            self._spawn(self._keep_leases())
        self._timer = asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)

    async def _keep_leases(self) -> None:
        """Messages that wait in the buffer must not be delivered to somebody else."""
        for delivery in tuple(self._buffer):
            delivery.lease = self._now()
            await delivery.settle(_KEEP)

    def _spawn_check(self) -> None:
        if not any(task.get_name() == self._inbox for task in self._tasks):
            self._spawn(self._check_consumer(), self._inbox)

    async def _check_consumer(self) -> None:
        """Find out whether the consumer still exists, then let a waiting receive ask again."""
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            try:
                info = await self._find_consumer()
            except TransientError as error:
                logger.debug("consumer %s: %s", self._name, error)
            except PubSubError as error:
                return self._fail(error)
            else:
                if info is None:
                    return self._fail(NotFoundError(f"consumer {self._name} was deleted"))
                return self._arrived.set()

    def _fail(self, error: PubSubError) -> None:
        self._error = error
        self._asked = 0
        self._arrived.set()

    async def _save_last_chances(self) -> None:
        limit = self._spec.max_deliver
        highest = max((delivery.num_delivered for delivery in self._buffer), default=0)
        if limit and highest >= limit:
            await self._manager.allow_deliveries(self._spec, highest + 1)

    def _spawn(self, work: Coroutine[None, None, None], name: str | None = None) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def _name(self) -> str:
        return f"{self._spec.stream}/{self._spec.name}"
