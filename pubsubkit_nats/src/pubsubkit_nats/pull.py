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
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from pubsubkit.driver import DriverSubscription, Settlement, Verdict
from pubsubkit.errors import NotFoundError, TransientError
from pubsubkit_nats.codec import nanoseconds
from pubsubkit_nats.delivery import NatsDelivery
from pubsubkit_nats.private import stop_delivery
from pubsubkit_nats.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from nats.aio.subscription import Subscription

    from pubsubkit.driver import ConsumerInfo, ConsumerSpec, Delivery
    from pubsubkit_nats.frames import Headers
    from pubsubkit_nats.link import Link
    from pubsubkit_nats.manager import StreamManager

__all__ = ["PullSubscription"]

logger: logging.Logger = logging.getLogger("pubsubkit.nats")

_EXPIRES_SECONDS = 30.0
_MAX_BYTES = 16 * 1024 * 1024
_RETRY_SECONDS = 0.25
_STOP_SECONDS = 5.0
_RAISE_SECONDS = 1.0
_BACK_SECONDS = 2.0
_SHORTEST_TICK = 0.01
_DOUBT_SECONDS, _DOUBT_TURNS = 0.05, 20
_PARTS = 6
"""Into so many parts ``ack_wait`` is cut; the lease of a message in the buffer is extended in its second part, so that
two thirds are left to the handler."""
_KEEP = Settlement(Verdict.IN_PROGRESS)
_PASSING = (TransientError, NatsError, OSError)


class PullSubscription(DriverSubscription):
    """One member of a consumer.

    What was asked for is written off when the connection was lost or the server is silent.  It may be served all the
    same, so the inbox is given up with it: messages that still come there are kept, and nothing is asked for before
    the server has confirmed that no more will come.
    """

    def __init__(self, link: Link, manager: StreamManager, spec: ConsumerSpec, size: int) -> None:
        self._link = link
        self._manager = manager
        self._spec = spec
        self._size = size
        self._buffer: deque[NatsDelivery] = deque()
        self._latest: NatsDelivery | None = None
        """A delivery that was handed out or given back: its reply subject leads to who records verdicts."""
        self._asked = 0
        self._arrived = asyncio.Event()
        self._error: Exception | None = None
        self._closing = False
        self._heard = 0.0
        self._now = asyncio.get_running_loop().time
        self._heartbeat = min(link.options.heartbeat, _EXPIRES_SECONDS / 2)
        self._tick_seconds = max(_SHORTEST_TICK, min(self._heartbeat / 2, spec.ack_wait / _PARTS))
        self._request_subject = link.next_message_subject(spec.stream, spec.name)
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._given_up: list[Subscription] = []
        self._renewing = False
        self._pause = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Subscribe to the inbox; nothing is asked for yet."""
        await self._open_inbox()
        self._link.listeners.add(self._on_change)
        self._link.denials.listeners.add(self._on_denial)
        self._heard = self._now()
        self._timer = asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)

    @property
    def consuming(self) -> bool:
        """Connected, and the server has been heard of while something was asked for."""
        return self._link.up and self._error is None and not self._renewing and not self._silent

    def limit(self, room: int) -> None:
        """Ask for so many at a time from now on."""
        self._size = room

    def receive_now(self) -> NatsDelivery | None:
        """Take the oldest message, when it is not time to ask for more."""
        if self._closing or not self._buffer or self._asked + len(self._buffer) <= self._size // 2:
            return None
        return self._take()

    async def receive(self) -> NatsDelivery | None:
        """Ask for more when half of the buffer is free, then take the oldest message or wait for one."""
        while not self._closing:
            if self._asked + len(self._buffer) <= self._size // 2 and self._error is None and not self._renewing:
                await self._ask()
            if self._buffer:
                return self._take()
            if self._error is not None:
                raise self._error
            self._arrived.clear()
            await self._arrived.wait()
        return None

    def _take(self) -> NatsDelivery:
        delivery = self._buffer.popleft()
        delivery.waiting = False
        self._latest = delivery
        return delivery

    async def aclose(self, held: Sequence[Delivery]) -> None:
        """Stop asking, fence what is on its way, give back what has no verdict.

        :raises PubSubError: as :meth:`flush`; what was not given back comes again after ``ack_wait``.
        :raises TimeoutError: the server did not answer.
        """
        self._closing = True
        self._arrived.set()
        self._link.listeners.discard(self._on_change)
        self._link.denials.listeners.discard(self._on_denial)
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks.values():
            task.cancel()
        self._give_up_inbox()
        try:
            if self._link.up or self._buffer or self._latest is not None:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._wait_until_back()
                    if await self._fence():
                        await self._give_back(held)
        finally:
            await self._forget_inboxes()

    async def _give_back(self, held: Sequence[Delivery]) -> None:
        for delivery in held:
            await cast("NatsDelivery", delivery).give_back(seen=True)
        await self._save_last_chances()
        for unseen in self._buffer:
            await unseen.give_back(seen=False)
            self._latest = unseen
        self._buffer.clear()
        await self.flush()

    async def flush(self) -> None:
        """Let the consumer's leader say that it has dealt with all verdicts.

        The server deals with them on the side: the answer to any other question may not know of them yet.  What went
        down with a connection, it never sees.

        :raises TransientError: there is no connection, no leader, or no answer in time.
        :raises PubSubError: why the connection is gone for good.
        """
        if self._latest is None:
            return
        await self._wait_until_back()
        try:
            await self._latest.wait_for_verdicts()
        except NoRespondersError as error:
            if await self._find_consumer() is not None:
                raise TransientError(f"consumer {self._name} has no leader to take verdicts") from error

    async def _wait_until_back(self) -> None:
        """Wait for a server that comes back soon: what was written meanwhile waits in nats-py's buffer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_BACK_SECONDS):
                await self._link.wait_ready()
        self._link.require_up()

    async def _save_last_chances(self) -> None:
        limit = self._spec.max_deliver
        highest = max((delivery.num_delivered for delivery in self._buffer), default=0)
        if not limit or highest < limit:
            return
        try:
            async with asyncio.timeout(_RAISE_SECONDS):
                await self._manager.allow_deliveries(self._spec, highest + 1)
        except Exception as error:  # noqa: BLE001 - giving back is what matters
            logger.debug("consumer %s: max_deliver could not be raised: %r", self._name, error)

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
        try:
            await self._link.client.publish(self._request_subject, json.dumps(request).encode(), self._inbox)
        except Exception:
            self._asked = max(0, self._asked - room)
            raise

    def _on_message(self, inbox: str, subject: str, reply: str, data: bytes, headers: Headers) -> None:
        self._heard = self._now()
        if reply.startswith("$JS.ACK."):
            if inbox == self._inbox:
                self._asked = max(0, self._asked - 1)
            delivery = NatsDelivery(subject, reply, data, headers, self._link, self._spec.max_deliver)
            delivery.lease = self._heard
            self._buffer.append(delivery)
            self._arrived.set()
        elif headers and inbox == self._inbox:
            self._on_status(Status(headers))

    def _on_status(self, status: Status) -> None:
        """React to the end of a pull: it names what was not sent, or all that was asked for is off."""
        if status.heartbeat:
            return
        if error := status.failure(self._name):
            self._fail(error)
        elif status.unsent is None:
            self._write_off(_RETRY_SECONDS)
        else:
            self._asked = max(0, self._asked - status.unsent)
            self._arrived.set()

    def _on_change(self, up: bool) -> None:
        if gone := self._link.gone:
            self._buffer.clear()  # nobody can settle them any more
            self._fail(gone)
            return
        if self._asked:
            self._write_off()
        if up:
            self._arrived.set()

    def _on_denial(self) -> None:
        denials = self._link.denials
        pull = denials.of(self._request_subject, self._inbox)
        if error := pull or denials.of_verdicts(self._spec.stream, self._spec.name):
            self._fail(error)

    @property
    def _silent(self) -> bool:
        return self._asked > 0 and self._now() - self._heard > 2 * self._heartbeat

    def _tick(self) -> None:
        if self._silent and self._link.up:
            self._spawn(self._doubt)
        if self._buffer and self._link.up and self._now() - self._buffer[0].lease > self._spec.ack_wait / _PARTS:
            self._spawn(self._keep_leases)
        self._timer = asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)

    async def _doubt(self) -> None:
        """Tell silence from an event loop that was blocked: what has come meanwhile is read first."""
        await asyncio.sleep(_DOUBT_SECONDS)
        for _ in range(_DOUBT_TURNS):
            await asyncio.sleep(0)
        if self._silent and self._link.up:
            since = self._now() - self._heard
            logger.warning("no sign of life from consumer %s for %.1f s: asking again", self._name, since)
            self._write_off()

    async def _keep_leases(self) -> None:
        """Messages that wait in the buffer must not be delivered to somebody else."""
        for delivery in tuple(self._buffer):
            if delivery.waiting:
                delivery.lease = self._now()
                await delivery.settle(_KEEP)

    def _write_off(self, pause: float = 0.0) -> None:
        """Expect nothing more of what was asked for; ask anew, on another inbox, after *pause* seconds."""
        self._asked = 0
        self._renewing = True
        self._pause = pause
        self._give_up_inbox()
        self._spawn(self._renew)

    async def _renew(self) -> None:
        """Let the server confirm that nothing more will come, then let a waiting receive ask again."""
        await asyncio.sleep(self._pause)
        while self._renewing and self._error is None and not self._closing:
            try:
                await self._link.wait_ready()
                if self._subscription is None:
                    await self._open_inbox()
                if not await self._fence():
                    raise NotFoundError(f"consumer {self._name} was deleted")
            except _PASSING as error:
                logger.debug("consumer %s: %r", self._name, error)
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 - whatever it is, a receive that waits has to hear of it
                self._fail(error)
            else:
                self._renewing = False
                self._arrived.set()

    async def _open_inbox(self) -> None:
        inbox = self._link.client.new_inbox()
        self._subscription = await self._link.subscribe(inbox, partial(self._on_message, inbox))
        self._inbox = inbox

    def _give_up_inbox(self) -> None:
        if self._subscription is not None:
            self._given_up.append(self._subscription)
        self._subscription, self._inbox = None, ""

    async def _fence(self) -> bool:
        """Keep what still comes to the inboxes that were given up until there is no more; whether the consumer exists.

        The answer to the question comes behind everything that was on its way.  The question makes the server drop
        our open requests, which it would else try to serve first, out of order.
        """
        for subscription in tuple(self._given_up):
            await stop_delivery(self._link.client, subscription)
        found = await self._find_consumer()
        await self._forget_inboxes()
        return found is not None

    async def _forget_inboxes(self) -> None:
        while self._given_up:
            await self._link.unsubscribe(self._given_up.pop())

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._asked = 0
        self._arrived.set()

    def _spawn(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Start *work* unless it is under way."""
        name = work.__name__
        if name not in self._tasks or self._tasks[name].done():
            self._tasks[name] = task = asyncio.get_running_loop().create_task(work())
            task.add_done_callback(self._report)

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            logger.debug("consumer %s: %r", self._name, error)

    @property
    def _name(self) -> str:
        return f"{self._spec.stream}/{self._spec.name}"
