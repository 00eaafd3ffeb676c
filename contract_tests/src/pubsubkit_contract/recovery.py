"""What the cases about faults wait for: a connection that is lost or back, messages that are there in the end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pubsubkit import NotFoundError, TransientError
from pubsubkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from pubsubkit import Backend, Publisher, PublishReceipt, Subscription
    from pubsubkit.driver import ConnectionState
    from pubsubkit_contract.kit import Kit

__all__ = ["States", "read_all", "recovers", "served", "stored", "until"]

_POLL_SECONDS = 0.02


class States:
    """A plugin that remembers what was reported of a connection."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._changed = asyncio.Event()

    @hookimpl
    def pubsubkit_connection_changed(self, state: ConnectionState) -> None:
        """Remember it."""
        self.seen.append(state.value)
        self._changed.set()

    async def reach(self, *states: str) -> None:
        """Return when the last states are these."""
        while tuple(self.seen[-len(states) :]) != states:
            self._changed.clear()
            await self._changed.wait()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when *condition* holds; a broker that is away, or has no such stream yet, is asked again."""
    while True:
        with suppress(TransientError, NotFoundError):
            if await condition():
                return
        await asyncio.sleep(_POLL_SECONDS)


async def served(backend: Backend) -> None:
    """Return when *backend* says that it is connected and its subscriptions are served."""

    async def well() -> bool:
        health = await backend.health()
        return health.connected and health.consuming is not False

    await until(well)


async def stored(kit: Kit, count: int) -> None:
    """Return when the case's stream holds *count* messages."""
    other = await kit.connect()

    async def enough() -> bool:
        return (await other.stream_info(kit.stream)).messages >= count

    await until(enough)


async def recovers(kit: Kit, publisher: Publisher, data: bytes = b"recovered", **options: Any) -> PublishReceipt:
    """Publish until it is confirmed, within the cap."""

    async def insist() -> PublishReceipt:
        while True:
            with suppress(TransientError):
                return await publisher.publish(kit.subject("x"), data, **options)
            await asyncio.sleep(_POLL_SECONDS)

    receipt: PublishReceipt = await kit.within(insist(), "publishing again after the fault")
    kit.note(f"published {data!r} after the fault")
    return receipt


async def read_all(kit: Kit, subscription: Subscription, wanted: Collection[bytes], *, strange: bool = False) -> None:
    """Read and ack until every payload of *wanted* was there; with *strange* others may come too."""
    missing = set(wanted)
    while missing:
        message = await kit.receive(subscription)
        assert strange or message.data in wanted, f"{message.data!r} was never published"
        missing.discard(message.data)
        with suppress(TransientError):  # it comes again
            await message.ack()
