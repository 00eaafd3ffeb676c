"""The publishers of a history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pubsubkit import Backoff, PublishBatchError, PublishReceipt, Storage, TransientError
from pubsubkit.driver import Capability
from pubsubkit_contract.model.history import PUBLISHERS
from pubsubkit_contract.model.record import Published

if TYPE_CHECKING:
    from pubsubkit import Backend, Publisher, PubSubError
    from pubsubkit_contract.kit import Kit
    from pubsubkit_contract.model.record import Record

__all__ = ["Producers"]

_QUICK = Backoff(initial=0.02, maximum=0.1)


class Producers:
    """Publish numbered messages into the case's stream, and record how each publish ended."""

    def __init__(self, kit: Kit, backend: Backend, record: Record) -> None:
        self._kit = kit
        self._backend = backend
        self._record = record
        self._publishers: dict[str, Publisher] = {}
        self._sent: dict[str, int] = dict.fromkeys(PUBLISHERS, 0)

    async def open(self) -> None:
        """Open the publishers, which create the stream; they try again where that stores nothing twice."""
        again: dict[str, Any] = {}
        if Capability.DEDUPLICATION in self._backend.capabilities:
            again = {"retry_attempts": 200, "retry_backoff": _QUICK}
        for name in PUBLISHERS:
            self._publishers[name] = await self._kit.publisher(self._backend, storage=Storage.FILE, **again)

    async def publish(self, name: str, tail: str, count: int) -> None:
        """Publish the next *count* messages of a publisher."""
        first = self._sent[name]
        self._sent[name] += count
        subject = self._kit.subject(tail)
        batch = [(subject, b"%s/%d" % (name.encode(), number)) for number in range(first, self._sent[name])]
        outcomes = await self._send(self._publishers[name], batch)
        for number, (message, outcome) in enumerate(zip(batch, outcomes, strict=False), first):
            sequence = outcome.sequence if isinstance(outcome, PublishReceipt) else None
            assert sequence or not self._record.calm, f"publishing {message[1]!r} failed: {outcome!r}"
            self._record.events.append(Published(name, number, *message, sequence))

    async def _send(self, publisher: Publisher, batch: list[tuple[str, bytes]]) -> list[PublishReceipt | PubSubError]:
        try:
            if len(batch) == 1:
                return [await self._kit.within(publisher.publish(*batch[0]), "publish")]
            return [*await self._kit.within(publisher.publish_many(batch), "publish_many")]
        except PublishBatchError as error:
            return [*error.outcomes]
        except TransientError as error:
            return [error]
