"""Flow control: who is slow holds up nobody else, takes no more than it can use, and loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["FlowCases"]

_LONG = 60.0
_MEMBERS = {Capability.DURABLE, Capability.COMPETE}


class FlowCases(Cases):
    """Limits are kept, and a consumer that stalls is its own affair."""

    @case(
        "bp.max_in_flight",
        why="The limit protects what a handler works on: a database, memory, a partner's API.",
        needs={Capability.MAX_IN_FLIGHT},
    )
    async def test_bp_max_in_flight(self, kit: Kit) -> None:
        """With max_in_flight messages unsettled the next one waits for a verdict, and comes after one."""
        subscription = await kit.feed(b"1", b"2", b"3", b"4", max_in_flight=2, ack_wait=_LONG)
        one, two = await kit.read(subscription, 2, ack=False)
        waiting = await kit.nothing(subscription)
        await one.ack()
        third = await waiting
        waiting = await kit.nothing(subscription)
        await two.ack()
        assert sorted([*payloads([one, two, third]), (await waiting).data]) == [b"1", b"2", b"3", b"4"]

    @case(
        "bp.max_in_flight_shared",
        why="Starting more members must not multiply the load on what the limit protects.",
        needs={Capability.MAX_IN_FLIGHT, *_MEMBERS},
    )
    async def test_bp_max_in_flight_shared(self, kit: Kit) -> None:
        """max_in_flight counts over all members of a consumer: what one holds the others cannot have."""
        busy = await kit.feed(b"1", b"2", b"3", max_in_flight=2, ack_wait=_LONG, channel_buf_size=1)
        one, _ = await kit.read(busy, 2, ack=False)
        idle = await kit.subscription(max_in_flight=2, ack_wait=_LONG, channel_buf_size=1)
        waiting = await kit.nothing(idle)
        await one.ack()
        assert (await waiting).data not in payloads([one])

    @case(
        "bp.lapse_keeps_place",
        why="Handlers that are too slow would get more and more messages, just when they cannot cope.",
        needs={Capability.MAX_IN_FLIGHT, Capability.ACK_WAIT},
    )
    async def test_bp_lapse_keeps_place(self, kit: Kit) -> None:
        """A message whose ack_wait runs out keeps its place in max_in_flight: it comes again before any new one."""
        subscription = await kit.feed(b"1", b"2", b"3", max_in_flight=1, ack_wait=kit.short)
        first = await kit.receive(subscription)
        again = await kit.read(subscription, 3, ack=False)
        assert payloads(again) == [first.data] * 3
        await again[-1].ack()
        assert (await kit.receive(subscription)).data != first.data

    @case(
        "bp.close_frees_place",
        why="A consumer whose members are replaced often enough would get nothing any more.",
        needs={Capability.MAX_IN_FLIGHT, Capability.DURABLE, Capability.NAK},
    )
    async def test_bp_close_frees_place(self, kit: Kit) -> None:
        """What a member holds when it is closed takes up no place in max_in_flight any more."""
        member = await kit.feed(b"1", b"2", b"3", max_in_flight=3, ack_wait=_LONG)
        for _ in range(3):
            await kit.read(member, 3, ack=False)
            await member.aclose()
            member = await kit.subscription(max_in_flight=3, ack_wait=_LONG)
        await kit.read(member, 3)
        await kit.publish(b"4", b"5", b"6")
        assert sorted(payloads(await kit.read(member, 3, ack=False))) == [b"4", b"5", b"6"]

    @case("bp.publisher_free", why="A service that hangs must not take down those that publish to it.")
    async def test_bp_publisher_free(self, kit: Kit) -> None:
        """A consumer that is stuck with its first message delays no publisher and loses none of 300 messages."""
        subscription = await kit.feed(b"first", channel_buf_size=4, ack_wait=_LONG)
        held = await kit.receive(subscription)
        wanted = [b"%d" % number for number in range(300)]
        await kit.within(kit.publish(*wanted), "publishing beside a stuck consumer")
        await held.ack()
        assert sorted(payloads(await kit.read(subscription, 300))) == sorted(wanted)

    @case(
        "bp.others_free",
        why="One slow service must not make all others slow.",
        needs={Capability.FANOUT},
    )
    async def test_bp_others_free(self, kit: Kit) -> None:
        """A consumer that is stuck does not delay another one, on the same connection or on another."""
        stuck = await kit.subscription("", channel_buf_size=2, ack_wait=_LONG)
        beside = await kit.subscription("", channel_buf_size=2, ack_wait=_LONG)
        apart = await kit.subscription("", backend=await kit.connect(), channel_buf_size=2, ack_wait=_LONG)
        await kit.publish(b"first")
        await kit.read(stuck, 1, ack=False)
        wanted = [b"%d" % number for number in range(100)]
        await kit.publish(*wanted)
        for free in (beside, apart):
            assert sorted(payloads(await kit.read(free, 101))) == sorted([b"first", *wanted])

    @case(
        "bp.no_greedy_prefetch",
        why="A member that hoards keeps work from members that are idle.",
        needs=_MEMBERS,
    )
    async def test_bp_no_greedy_prefetch(self, kit: Kit) -> None:
        """A member with a buffer of one that stalls holds one message: another member gets all the rest at once."""
        stalled = await kit.feed(*(b"%d" % number for number in range(10)), ack_wait=_LONG, channel_buf_size=1)
        held = await kit.receive(stalled)
        other = await kit.subscription(ack_wait=_LONG, channel_buf_size=1)
        assert len({held.data, *payloads(await kit.read(other, 9))}) == 10

    @case(
        "bp.memory_bounded",
        why="A backlog that is read ahead without a limit ends a service by lack of memory.",
    )
    async def test_bp_memory_bounded(self, kit: Kit) -> None:
        """Of a large backlog a consumer holds no more than what it handed out and its channel_buf_size."""
        size = 10
        subscription = await kit.subscription(channel_buf_size=size, ack_wait=_LONG)
        await kit.publish(*(b"%d" % number + b"x" * 20_000 for number in range(200)))
        for handed in range(1, 31):
            message = await kit.receive(subscription)
            info = await kit.backend.consumer_info(kit.stream, message.metadata.consumer)
            assert info.num_ack_pending <= handed + size
            assert info.num_ack_pending + info.num_pending == 200
        kit.note(f"never more than {size} beyond what was handed out")

    @case(
        "bp.limit",
        why="A worker asks for as many as it has free places; more would wait with it while others are idle.",
    )
    async def test_bp_limit(self, kit: Kit) -> None:
        """A subscription that is told to fetch no more than some messages ahead keeps to that, whatever its buffer."""
        subscription = await kit.subscription(channel_buf_size=1, ack_wait=_LONG)
        await kit.publish(*(b"%d" % number for number in range(60)))
        for handed in range(1, 31):
            room = 3 if handed <= 10 else 12
            subscription.limit(room)
            message = await kit.receive(subscription)
            info = await kit.backend.consumer_info(kit.stream, message.metadata.consumer)
            assert info.num_ack_pending <= handed + room
            assert info.num_ack_pending + info.num_pending == 60
        kit.note("never more ahead than 3, and then 12")

    @case(
        "bp.buffer_kept",
        why="Messages that wait behind a slow one would go to others as well, and be done twice.",
        needs={Capability.ACK_WAIT},
    )
    async def test_bp_buffer_kept(self, kit: Kit) -> None:
        """A message that waits in the local buffer is not delivered again, while its ack_wait runs out elsewhere."""
        wait = max(0.4, 2 * kit.short)
        subscription = await kit.feed(*(b"%d" % number for number in range(6)), ack_wait=wait)
        got = payloads(await kit.read(subscription, 1))
        await kit.lapse(wait, times=2)
        got += payloads(await kit.read(subscription, 5))
        await kit.publish(b"sentinel")
        got += payloads(await kit.read(subscription, 1))
        assert sorted(got) == sorted([*(b"%d" % number for number in range(6)), b"sentinel"])
