"""Faults under a publish: cuts, lost confirmations, latency, and the death of the publisher."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit import Backoff, TransientError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.harness import Knob
from pubsubkit_contract.kit import payloads
from pubsubkit_contract.recovery import read_all, recovers, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pubsubkit import Publisher
    from pubsubkit_contract.kit import Kit

__all__ = ["FaultCases"]

_QUICK = Backoff(initial=0.02, maximum=0.1)
_MANY = 500
_LATENCY_SECONDS = 0.05


class FaultCases(Cases):
    """What was confirmed is stored; what was not is known to be uncertain."""

    @case(
        "flt.cut",
        why="Load balancers and deployments cut connections every day; a service must not notice.",
        needs={Capability.REMOTE, Capability.DEDUPLICATION, Capability.DURABLE, Capability.ACK_WAIT},
        knobs={Knob.PROXY},
    )
    async def test_flt_cut(self, kit: Kit) -> None:
        """Three cuts of the connection while a publisher with retries and a consumer are at work lose no message, and
        the stream holds each once.
        """
        proxy, through = await kit.proxy()
        subscription = await kit.subscription(backend=through, ack_wait=max(0.3, 2 * kit.short))
        publisher = await kit.publisher(through, retry_attempts=_MANY, retry_backoff=_QUICK)
        wanted = [b"%d" % number for number in range(300)]

        async def source() -> AsyncIterator[tuple[str, bytes]]:
            for number, data in enumerate(wanted):
                if number in (75, 150, 225):
                    await proxy.cut()
                yield kit.subject("x"), data

        publishing = asyncio.ensure_future(publisher.publish_many(source(), window=20))
        await read_all(kit, subscription, wanted)
        receipts = await kit.within(publishing, "publish_many")
        assert len({receipt.sequence for receipt in receipts}) == len(wanted)
        assert (await kit.stream_info()).messages == len(wanted)

    @case(
        "flt.cut_no_dedup",
        why="Without ids a retry may store a message twice, but a confirmed one must never be missing.",
        needs={Capability.REMOTE},
        knobs={Knob.PROXY},
    )
    async def test_flt_cut_no_dedup(self, kit: Kit) -> None:
        """When the connection is cut under a publish without an id, it raises TransientError or the message was
        stored.
        """
        proxy, through = await kit.proxy()
        subscription = await kit.subscription()
        publisher = await kit.publisher(through, timeout=kit.timing.reply)
        confirmed: list[bytes] = []
        for number in range(20):
            publishing = [_attempt(publisher, kit.subject("x"), b"%d/%d" % (number, index)) for index in range(3)]
            batch = asyncio.gather(*publishing)
            await asyncio.sleep(0)  # the publishes are under way
            if number % 5 == 0:
                await proxy.cut()
            confirmed += [data for data in await kit.within(batch, "publishing") if data]
        kit.note(f"{len(confirmed)} of 60 were confirmed")
        assert confirmed
        await read_all(kit, subscription, confirmed, strange=True)

    @case(
        "flt.unknown_outcome",
        why="After an error the producer tries again; only the id keeps the message from being stored twice.",
        needs={Capability.REMOTE, Capability.DEDUPLICATION},
        knobs={Knob.PROXY},
    )
    async def test_flt_unknown_outcome(self, kit: Kit) -> None:
        """When only the confirmation is lost, publish raises TransientError; publishing again with the same id stores
        nothing, says that it is a duplicate and names the sequence.
        """
        proxy, through = await kit.proxy()
        publisher = await kit.publisher(through, timeout=kit.timing.reply)
        proxy.mute()
        with kit.raises(TransientError):
            await kit.within(publisher.publish(kit.subject("x"), b"x", message_id="one"), "publish")
        await kit.within(stored(kit, 1), "storing the message")
        proxy.flow()
        receipt = await recovers(kit, publisher, b"x", message_id="one")
        assert (receipt.duplicate, receipt.sequence) == (True, 1)
        assert (await kit.stream_info()).messages == 1

    @case(
        "flt.retry",
        why="retry_attempts is the promise that the producer need not think about lost confirmations.",
        needs={Capability.REMOTE, Capability.DEDUPLICATION},
        knobs={Knob.PROXY},
    )
    async def test_flt_retry(self, kit: Kit) -> None:
        """A publish with retries whose confirmation is lost succeeds once the connection is back; it is stored once."""
        proxy, through = await kit.proxy()
        timeout = kit.timing.reply / 4
        publisher = await kit.publisher(through, timeout=timeout, retry_attempts=_MANY, retry_backoff=_QUICK)
        proxy.mute()
        publishing = asyncio.ensure_future(publisher.publish(kit.subject("x"), b"x"))
        await kit.within(stored(kit, 1), "storing the message")
        await asyncio.wait([publishing], timeout=kit.timing.reply)  # attempts may time out meanwhile
        proxy.flow()
        receipt = await kit.within(publishing, "the publish")
        assert receipt.sequence == 1
        await publisher.publish(kit.subject("x"), b"next")
        assert (await kit.stream_info()).messages == 2

    @case(
        "flt.slow_link",
        why="Between regions every answer is late; a client that takes late for lost sends everything twice.",
        needs={Capability.REMOTE},
        knobs={Knob.PROXY},
    )
    async def test_flt_slow_link(self, kit: Kit) -> None:
        """Over a link with latency every message is stored and delivered once."""
        proxy, through = await kit.proxy()
        subscription = await kit.subscription(backend=through)
        publisher = await kit.publisher(through)
        proxy.delay(_LATENCY_SECONDS)
        wanted = [b"%d" % number for number in range(40)]
        reading = asyncio.ensure_future(kit.read(subscription, len(wanted)))
        await kit.within(publisher.publish_many((kit.subject("x"), data) for data in wanted[:-1]), "publish_many")
        await kit.within(publisher.publish(kit.subject("x"), wanted[-1]), "publish")
        assert sorted(payloads(await reading)) == sorted(wanted)
        assert (await kit.stream_info()).messages == len(wanted)

    @case(
        "flt.publisher_killed",
        why="What a job has logged as published must be there when the job is killed.",
        needs={Capability.CROSS_PROCESS, Capability.HISTORY, Capability.ORDERING},
    )
    async def test_flt_publisher_killed(self, kit: Kit) -> None:
        """When a publisher is killed, all that it saw confirmed is stored, in order and without gaps, and at most the
        one publish under way beside it.
        """
        child = await kit.spawn("publish", count=100_000)
        lines = [await child.line() for _ in range(100)]
        assert lines[-1] == "stored 99", lines[-1]
        await child.kill()
        confirmed = 100
        while await child.line() == f"stored {confirmed}":
            confirmed += 1
        held = (await kit.stream_info()).messages
        assert confirmed <= held <= confirmed + 1, f"{confirmed} were confirmed and {held} are stored"
        got = payloads(await kit.read(await kit.subscription(), held))
        assert got == [b"%d" % number for number in range(held)]


async def _attempt(publisher: Publisher, subject: str, data: bytes) -> bytes:
    """Publish; return *data* when it was confirmed, else nothing."""
    try:
        await publisher.publish(subject, data)
    except TransientError:
        return b""
    return data
