"""Deliveries, and one member of a consumer."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pubsubkit import MessageMetadata, NotFoundError, Verdict
from pubsubkit.driver import Delivery, DriverSubscription, Settlement
from pubsubkit_sqlite import consumers
from pubsubkit_sqlite.consumers import Found
from pubsubkit_sqlite.database import FileGoneError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from sqlite3 import Connection

    from pubsubkit.driver import ConsumerSpec
    from pubsubkit_sqlite.consumers import Row

    _T = TypeVar("_T")

__all__ = ["SqliteDelivery", "SqliteSubscription"]

_NOTHING = Found(None, None)
_EPOCH = datetime.fromtimestamp(0, UTC)


class Broker(Protocol):
    """What a member needs of its driver."""

    changes: int
    """Grows with every change of the file."""
    connected: bool
    """Whether the file was there when it was last used."""

    def read(self, job: Callable[[Connection], _T]) -> Awaitable[_T]:
        """Run *job*, which brings nobody a message."""
        ...

    def write(self, job: Callable[[Connection], _T]) -> Awaitable[_T]:
        """Run *job*, and let all who wait look again."""
        ...

    async def changed(self, since: int, due: float | None) -> None:
        """Return when :attr:`changes` is not *since* any more, or at the time *due*."""


class SqliteDelivery(Delivery):
    """A row of the file that was leased to a member."""

    __slots__ = ("_broker", "_number", "_spec", "data", "row", "subject")

    def __init__(self, broker: Broker, number: int, spec: ConsumerSpec, row: Row) -> None:
        self._broker = broker
        self._number = number
        self._spec = spec
        self.row = row
        self.subject = row.subject
        self.data = row.data

    @property
    def key(self) -> int:
        """The sequence number."""
        return self.row.sequence

    @property
    def headers(self) -> Mapping[str, str]:
        """The publisher's headers."""
        return json.loads(self.row.headers) if self.row.headers else {}

    @property
    def metadata(self) -> MessageMetadata:
        """What the file says of this delivery."""
        return MessageMetadata(
            num_delivered=self.row.delivered,
            timestamp=_EPOCH + timedelta(microseconds=self.row.stored_ns // 1000),
            subject=self.subject,
            stream=self._spec.stream,
            consumer=self._spec.name,
            sequence=self.row.sequence,
            message_id=self.row.message_id,
        )

    async def settle(self, settlement: Settlement) -> None:
        """Write the verdict; it is recorded when this returns, so that every ack is a confirmed one."""
        match settlement.verdict:
            case Verdict.NAK:
                job = partial(consumers.nak, number=self._number, row=self.row, delay=settlement.delay)
            case Verdict.IN_PROGRESS:
                job = partial(consumers.extend, number=self._number, row=self.row)
            case _:
                job = partial(consumers.finish, number=self._number, row=self.row)
        await self._broker.write(job)


class SqliteSubscription(DriverSubscription):
    """Takes one message at a time, and hands it out at once, or when the next call comes if this one was cancelled."""

    def __init__(self, broker: Broker, number: int, spec: ConsumerSpec) -> None:
        self._broker = broker
        self._number = number
        self._spec = spec
        self._deleted = False
        self._turn = asyncio.Lock()
        self._taking: asyncio.Future[Found] | None = None
        self._stale = _NOTHING
        """What was taken too long ago to hand it out, until it is given back."""
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def consuming(self) -> bool:
        """Whether it is open, and its consumer and the file are there."""
        return not self._closing.done() and not self._deleted and self._broker.connected

    async def receive(self) -> SqliteDelivery | None:
        """Take the next message; what a cancelled call has taken is kept for the next one."""
        async with self._turn:
            while not self._closing.done():
                since, left_over = self._broker.changes, self._taking is not None
                if self._taking is None:
                    self._taking = asyncio.ensure_future(self._take())
                await self._first(self._taking)
                if self._closing.done():
                    break
                taking, self._taking = self._taking, None
                found = self._found(taking)
                if found.row is not None:
                    if not left_over or _is_fresh(found):
                        return SqliteDelivery(self._broker, self._number, self._spec, found.row)
                    self._stale = found
                    continue
                waiting = asyncio.ensure_future(self._broker.changed(since, found.due))
                try:
                    await self._first(waiting)
                finally:
                    waiting.cancel()
            return None

    async def aclose(self, held: Sequence[Delivery]) -> None:
        """End :meth:`receive`; give back *held*, and what was taken and not handed out."""
        self._closing.set_result(None)
        taken = _NOTHING
        if self._taking is not None:
            with suppress(Exception):  # then nothing was taken
                taken = await self._taking
        unseen = taken if self._stale.row is None else self._stale
        rows = [delivery.row for delivery in held if isinstance(delivery, SqliteDelivery)]
        if rows or unseen.row is not None:
            await self._give_back(rows, unseen)

    async def _take(self) -> Found:
        """Lease the next message, once what is stale is given back; to be awaited by who is not cancelled."""
        if self._stale.row is not None:
            await self._give_back([], self._stale)
            self._stale = _NOTHING
        return await self._broker.read(partial(consumers.take, number=self._number))

    async def _give_back(self, held: Sequence[Row], unseen: Found) -> None:
        await self._broker.write(partial(consumers.give_back, number=self._number, held=held, unseen=unseen))

    def _found(self, taking: asyncio.Future[Found]) -> Found:
        try:
            return taking.result()
        except FileGoneError:
            return _NOTHING  # its return is a change
        except NotFoundError:
            self._deleted = True
            raise

    async def _first(self, work: asyncio.Future[Any]) -> None:
        """Return when *work* is done, which a cancellation leaves alone, or when this member is being closed."""
        await asyncio.wait([work, self._closing], return_when=asyncio.FIRST_COMPLETED)


def _is_fresh(found: Found) -> bool:
    """Whether a handler still has two thirds of ``ack_wait``, as the driver interface asks."""
    return found.due is not None and time.time() <= found.due
