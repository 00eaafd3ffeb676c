"""Concurrency: one object used by many tasks, and many objects that come and go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit import ConsumerOptions
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit import PublishReceipt, Subscription
    from pubsubkit_contract.kit import Kit

__all__ = ["ConcurrencyCases"]

_LONG = 60.0


class ConcurrencyCases(Cases):
    """Everything may be used by several tasks at once."""

    @case("con.publishers", why="The handlers of a service share its publisher.")
    async def test_con_publishers(self, kit: Kit) -> None:
        """Eight tasks that share one publisher get receipts of their own, and each message arrives once."""
        subscription = await kit.subscription()
        publisher = await kit.publisher()
        receipts: dict[bytes, PublishReceipt] = {}

        async def work(name: int) -> None:
            for number in range(25):
                data = b"%d/%d" % (name, number)
                receipts[data] = await publisher.publish(kit.subject(f"p{name}"), data)

        await asyncio.gather(*(work(name) for name in range(8)))
        messages = await kit.read(subscription, 200)
        assert {message.data: message.metadata.sequence for message in messages} == {
            data: receipt.sequence for data, receipt in receipts.items()
        }
        assert all(message.data.startswith(message.subject.rpartition(".p")[2].encode()) for message in messages)

    @case(
        "con.batches",
        why="Two imports that run at the same time must not mix up, hold up or drop each other's messages.",
    )
    async def test_con_batches(self, kit: Kit) -> None:
        """Three publish_many at once on one publisher with a small window all end, each with its own receipts."""
        subscription = await kit.subscription()
        publisher = await kit.publisher(window=3)
        batches = [[(kit.subject(f"b{name}"), b"%d/%d" % (name, number)) for number in range(40)] for name in range(3)]
        work = asyncio.gather(*(publisher.publish_many(batch) for batch in batches))
        receipts = await kit.within(work, "publish_many")
        stored = {message.metadata.sequence: message.data for message in await kit.read(subscription, 120)}
        for batch, own in zip(batches, receipts, strict=True):
            assert [stored[receipt.sequence] for receipt in own] == [data for _, data in batch]

    @case(
        "con.call_order",
        why="A full window must not turn the order of events around.",
        needs={Capability.ORDERING},
    )
    async def test_con_call_order(self, kit: Kit) -> None:
        """Tasks that wait for room in one publisher's window are served in the order in which they came."""
        subscription = await kit.subscription()
        publisher = await kit.publisher(window=1)
        wanted = [b"%d" % number for number in range(20)]
        waiting = [asyncio.ensure_future(publisher.publish_soon(kit.subject("x"), data)) for data in wanted]
        await kit.within(asyncio.gather(*waiting), "publish_soon")
        await publisher.flush()
        assert payloads(await kit.read(subscription, 20)) == wanted

    @case("con.two_iterators", why="A service with several workers shares one subscription among them.")
    async def test_con_two_iterators(self, kit: Kit) -> None:
        """Of tasks that iterate one subscription each gets messages, and each message goes to one of them."""
        subscription = await kit.subscription(ack_wait=_LONG)
        waiting = [asyncio.ensure_future(kit.receive(subscription)) for _ in range(3)]
        await asyncio.sleep(0)
        await kit.publish(*(b"%d" % number for number in range(30)))
        got = await asyncio.gather(*waiting)
        for message in got:
            await message.ack()
        for batch in await asyncio.gather(*(kit.read(subscription, 9) for _ in range(3))):
            got += batch
        assert sorted(payloads(got)) == sorted(b"%d" % number for number in range(30))

    @case("con.verdicts", why="Handlers that run side by side finish at the same moment.")
    async def test_con_verdicts(self, kit: Kit) -> None:
        """Verdicts that many tasks give at the same time each settle their own message."""
        subscription = await kit.feed(*(b"%d" % number for number in range(50)), ack_wait=_LONG)
        messages = await kit.read(subscription, 50, ack=False)
        acks = asyncio.gather(*(message.ack() for message in messages[:-1]))
        assert await kit.within(acks, "the acks") == [True] * 49
        await kit.within(_settled(kit, messages[0].metadata.consumer, left=1), "settling all but one")
        assert await messages[-1].ack()

    @case(
        "con.first_use",
        why="What is opened by its first use is used first by several tasks at once.",
        needs={Capability.HISTORY},
    )
    async def test_con_first_use(self, kit: Kit) -> None:
        """Tasks that begin to iterate a subscription at the same time join its consumer once."""
        await kit.publish(b"1", b"2", b"3", b"4")
        options = ConsumerOptions(stream_name=kit.stream, ack_wait=_LONG)
        subscription = kit.backend.consumer(options).subscribe()
        first = await asyncio.gather(*(kit.receive(subscription) for _ in range(4)))
        await kit.publish(b"sentinel")
        rest = await kit.read(subscription, 1)
        await subscription.aclose()
        assert len({message.metadata.consumer for message in [*first, *rest]}) == 1
        assert sorted(payloads(first)) == [b"1", b"2", b"3", b"4"]
        assert payloads(rest) == [b"sentinel"]

    @case(
        "con.open_close_storm",
        why="A deployment replaces all members of a consumer at the same time.",
        needs={Capability.DURABLE, Capability.COMPETE, Capability.NAK},
    )
    async def test_con_open_close_storm(self, kit: Kit) -> None:
        """While members come and go, all at once, nothing is lost; those that stay in the end all get work."""

        async def come_and_go() -> Subscription:
            for _ in range(3):
                member = await kit.subscription(ack_wait=_LONG, channel_buf_size=1)
                await member.aclose()
            return await kit.subscription(ack_wait=_LONG, channel_buf_size=1)

        wanted = [b"%d" % number for number in range(50)]
        await kit.subscription(ack_wait=_LONG, channel_buf_size=1)
        members, _ = await asyncio.gather(
            asyncio.gather(*(come_and_go() for _ in range(10))),
            kit.publish(*wanted),
        )
        held = [await kit.receive(member) for member in members]
        for message in held:
            await message.ack()
        assert sorted(payloads(held + await kit.read(members[0], 40))) == sorted(wanted)

    @case(
        "con.close_while_reading",
        why="A member that is closed by another task than the one that reads is the rule, not the exception.",
        needs={Capability.DURABLE, Capability.COMPETE, Capability.NAK},
    )
    async def test_con_close_while_reading(self, kit: Kit) -> None:
        """A member that is closed while its tasks read and ack loses nothing; what it acked comes to nobody else."""
        wanted = [b"%d" % number for number in range(60)]
        leaving = await kit.feed(*wanted, ack_wait=_LONG, channel_buf_size=5)
        staying = await kit.subscription(ack_wait=_LONG, channel_buf_size=5)
        done: list[bytes] = []

        async def work(member: Subscription) -> None:
            async for message in member:
                if await message.ack():
                    done.append(message.data)
                    if len(done) == 20:
                        await leaving.aclose()
                    if len(done) == 60:
                        await staying.aclose()

        await kit.within(asyncio.gather(work(leaving), work(leaving), work(staying)), "the work")
        kit.note(f"{len(done)} acked")
        assert sorted(done) == sorted(wanted)
        info = await kit.consumer_info()
        assert (info.num_pending, info.num_ack_pending) == (0, 0)


async def _settled(kit: Kit, consumer: str, *, left: int) -> None:
    """Return when the broker counts no more than *left* messages without a verdict."""
    while (await kit.backend.consumer_info(kit.stream, consumer)).num_ack_pending > left:  # noqa: ASYNC110 - the broker tells nobody
        await asyncio.sleep(0)
