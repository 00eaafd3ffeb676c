"""Competing consumers: one member of each consumer gets a message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit import Subscription
    from pubsubkit_contract.kit import Kit

__all__ = ["SharingCases"]

_LONG = 60.0
_COMPETE = {Capability.COMPETE, Capability.DURABLE}


class SharingCases(Cases):
    """Members of one consumer share its messages, also when they come, go and die."""

    @case("cmp.each_once", why="More workers must mean more work done, not the same work done twice.", needs=_COMPETE)
    async def test_cmp_each_once(self, kit: Kit) -> None:
        """Three members on three connections get each of forty messages once between them."""
        members = [await kit.subscription(backend=await kit.connect()) for _ in range(3)]
        wanted = [b"%d" % number for number in range(40)]
        assert sorted(await _work(kit, members, wanted)) == sorted(wanted)
        assert await _work(kit, members, [b"sentinel"]) == [b"sentinel"]

    @case("cmp.everyone_works", why="A worker that gets nothing is paid for nothing.", needs=_COMPETE)
    async def test_cmp_everyone_works(self, kit: Kit) -> None:
        """With enough messages each of three members holds one before any of them gives a verdict."""
        members = [await kit.subscription(channel_buf_size=1, ack_wait=_LONG) for _ in range(3)]
        firsts = [asyncio.ensure_future(kit.receive(member)) for member in members]
        await kit.publish(*(b"%d" % number for number in range(9)))
        held = payloads(await asyncio.gather(*firsts))
        assert len(set(held)) == 3, f"they hold {held}"

    @case("cmp.join", why="Workers are added when there is too much work already.", needs=_COMPETE)
    async def test_cmp_join(self, kit: Kit) -> None:
        """A member that joins gets work, although another one is there and was first."""
        first = await kit.feed(*(b"%d" % number for number in range(4)), channel_buf_size=1, ack_wait=_LONG)
        done = payloads(await kit.read(first, 1))
        held = await kit.receive(first)
        joined = await kit.subscription(backend=await kit.connect(), channel_buf_size=1, ack_wait=_LONG)
        theirs = payloads(await kit.read(joined, 2))
        assert sorted([*done, held.data, *theirs]) == [b"0", b"1", b"2", b"3"]

    @case(
        "cmp.leave", why="Scaling down must not stop work for as long as ack_wait.", needs={*_COMPETE, Capability.NAK}
    )
    async def test_cmp_leave(self, kit: Kit) -> None:
        """What a member holds when it leaves goes to those who stay at once, long before ack_wait."""
        leaving = await kit.feed(b"1", b"2", b"3", ack_wait=_LONG)
        await kit.read(leaving, 3, ack=False)
        staying = await kit.subscription(backend=await kit.connect(), ack_wait=_LONG)
        waiting = asyncio.ensure_future(kit.read(staying, 3))
        await asyncio.sleep(0)
        await leaving.aclose()
        assert sorted(payloads(await waiting)) == [b"1", b"2", b"3"]

    @case("cmp.stay", why="One worker's end must not disturb the others.", needs=_COMPETE)
    async def test_cmp_stay(self, kit: Kit) -> None:
        """When one member leaves, another goes on and can still settle what it holds."""
        staying, leaving = [await kit.subscription(ack_wait=_LONG) for _ in range(2)]
        await kit.publish(b"held")
        held = await kit.receive(staying)
        await leaving.aclose()
        await kit.publish(b"next")
        assert (await kit.receive(staying)).data == b"next"
        assert await held.ack()
        await staying.aclose()
        info = await kit.consumer_info()
        assert info.num_pending + info.num_ack_pending == 1

    @case("cmp.no_phantom", why="A member that is gone and still gets messages makes them late, or loses them.")
    async def test_cmp_no_phantom(self, kit: Kit) -> None:
        """A subscription that was closed, while it waited for a message, takes none of the next one's."""
        gone = await kit.subscription(ack_wait=_LONG)
        waiting = asyncio.ensure_future(anext(gone, None))
        await asyncio.wait([waiting], timeout=kit.timing.quiet)
        await gone.aclose()
        subscription = await kit.subscription(ack_wait=_LONG)
        await kit.publish(*(b"%d" % number for number in range(6)))
        assert sorted(payloads(await kit.read(subscription, 6))) == [b"%d" % number for number in range(6)]
        assert await waiting is None

    @case(
        "cmp.member_killed",
        why="Processes die, and what they held must not die with them.",
        needs={*_COMPETE, Capability.CROSS_PROCESS, Capability.ACK_WAIT},
    )
    async def test_cmp_member_killed(self, kit: Kit) -> None:
        """What a process held when it was killed goes to another member after ack_wait."""
        wait = max(0.6, 4 * kit.short)
        await (await kit.subscription(ack_wait=wait)).aclose()
        await kit.publish(b"0", b"1", b"2")
        child = await kit.spawn("hold", count=3, ack_wait=wait)
        assert sorted([await child.line() for _ in range(3)]) == ["got 0", "got 1", "got 2"]
        await child.kill()
        survivor = await kit.subscription(ack_wait=wait)
        assert sorted(payloads(await kit.read(survivor, 3))) == [b"0", b"1", b"2"]

    @case(
        "cmp.idle_member_killed",
        why="Most processes die while they wait for work.",
        needs={*_COMPETE, Capability.CROSS_PROCESS, Capability.ACK_WAIT},
    )
    async def test_cmp_idle_member_killed(self, kit: Kit) -> None:
        """A process that is killed while it waits for a message takes none with it for longer than ack_wait."""
        wait = max(0.6, 4 * kit.short)
        await (await kit.subscription(ack_wait=wait)).aclose()
        await kit.publish(b"first")
        child = await kit.spawn("read", count=100, ack_wait=wait)
        assert await child.line() == "got first"
        idle = asyncio.ensure_future(child.line())
        await asyncio.wait([idle], timeout=10 * kit.timing.quiet)  # it asks for the next one
        await child.kill()
        assert not await idle
        await kit.publish(b"0", b"1", b"2")
        survivor = await kit.subscription(ack_wait=wait)
        assert sorted(payloads(await kit.read(survivor, 3))) == [b"0", b"1", b"2"]


async def _work(kit: Kit, members: Sequence[Subscription], wanted: Sequence[bytes]) -> list[bytes]:
    """Publish *wanted* while all members read and ack; return as many messages as they got between them."""
    got: list[bytes] = []
    done = asyncio.Event()

    async def work(member: Subscription) -> None:
        async for message in member:
            await message.ack()
            got.append(message.data)
            if len(got) >= len(wanted):
                done.set()

    workers = [asyncio.ensure_future(work(member)) for member in members]
    publisher = await kit.publisher()
    for data in wanted:
        await publisher.publish(kit.subject("x"), data)
        await asyncio.sleep(0)  # the members run
    await kit.within(done.wait(), f"reading {len(wanted)} messages")
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)
    kit.note(f"the members got {len(got)} messages between them")
    return got
