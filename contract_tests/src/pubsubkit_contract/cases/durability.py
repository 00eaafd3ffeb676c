"""Durable consumers: their position is the broker's, and outlives members, connections and processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pubsubkit import NotFoundError, UnsupportedError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit_contract.child import Child
    from pubsubkit_contract.kit import Kit

__all__ = ["DurabilityCases"]


class DurabilityCases(Cases):
    """What was settled stays settled and what was not comes back, whoever reads next."""

    @case(
        "dur.resume",
        why="A deployment closes the consumer and opens it again; nothing may be done twice or left out.",
        needs={Capability.DURABLE},
    )
    async def test_dur_resume(self, kit: Kit) -> None:
        """A durable consumer that read and acked two of four resumes with exactly the other two."""
        first = await kit.feed(b"1", b"2", b"3", b"4")
        done = payloads(await kit.read(first, 2))
        await first.aclose()
        second = await kit.subscription()
        rest = payloads(await kit.read(second, 2))
        await kit.publish(b"sentinel")
        rest += payloads(await kit.read(second, 1))
        assert sorted(done + rest) == [b"1", b"2", b"3", b"4", b"sentinel"]

    @case(
        "dur.other_connection",
        why="The next reader is rarely the same connection.",
        needs={Capability.DURABLE},
    )
    async def test_dur_other_connection(self, kit: Kit) -> None:
        """The position is there for another connection when the one that made it is closed."""
        before = await kit.connect()
        first = await kit.subscription(backend=before)
        await kit.publish(b"1", b"2", b"3")
        done = payloads(await kit.read(first, 1))
        await before.aclose()
        after = await kit.connect()
        rest = payloads(await kit.read(await kit.subscription(backend=after), 2))
        assert sorted(done + rest) == [b"1", b"2", b"3"]

    @case(
        "dur.process_restart",
        why="The next reader is another process, on another machine.",
        needs={Capability.DURABLE, Capability.CROSS_PROCESS},
    )
    async def test_dur_process_restart(self, kit: Kit) -> None:
        """A process reads and acks five of ten and ends; the next one gets exactly the other five."""
        await (await kit.subscription()).aclose()
        await kit.publish(*(b"%d" % number for number in range(10)))
        got = await _lines(await kit.spawn("read", count=5), 5)
        got += await _lines(await kit.spawn("read", count=5), 5)
        assert sorted(got) == [f"got {number}" for number in range(10)]

    @case(
        "dur.reopen_many",
        why="What goes wrong at every tenth close goes wrong every day.",
        needs={Capability.DURABLE},
    )
    async def test_dur_reopen_many(self, kit: Kit) -> None:
        """Twenty cycles of open, read one, close over twenty messages: none is lost and none comes twice."""
        wanted = [b"%d" % number for number in range(20)]
        member = await kit.feed(*wanted)
        got = payloads(await kit.read(member, 1))
        for _ in wanted[1:]:
            await member.aclose()
            member = await kit.subscription()
            got += payloads(await kit.read(member, 1))
        assert sorted(got) == sorted(wanted)

    @case(
        "dur.published_while_away",
        why="A consumer that is being deployed must miss nothing.",
        needs={Capability.DURABLE},
    )
    async def test_dur_published_while_away(self, kit: Kit) -> None:
        """What is published while nobody reads a durable consumer arrives when somebody does."""
        await (await kit.subscription()).aclose()
        wanted = [b"%d" % number for number in range(10)]
        await kit.publish(*wanted)
        assert sorted(payloads(await kit.read(await kit.subscription(), 10))) == wanted

    @case("dur.names_not_leaked", why="Consumers that nobody reads any more fill up the broker.")
    async def test_dur_names_not_leaked(self, kit: Kit) -> None:
        """An ephemeral subscription leaves no consumer behind."""
        subscription = await kit.feed(b"x", consumer_name="")
        name = (await kit.receive(subscription)).metadata.consumer
        await kit.consumer_info(name)
        await subscription.aclose()
        with kit.raises(NotFoundError, name):
            await kit.consumer_info(name)

    @case(
        "dur.deleted",
        why="Deleting a consumer is how operators make a service read everything once more.",
        needs={Capability.DURABLE, Capability.HISTORY},
    )
    async def test_dur_deleted(self, kit: Kit) -> None:
        """A durable consumer that was deleted and is opened again begins anew, as one that never existed."""
        first = await kit.feed(b"1", b"2")
        await kit.read(first, 2)
        await first.aclose()
        assert await kit.backend.delete_consumer(kit.stream, "d")
        assert sorted(payloads(await kit.read(await kit.subscription(), 2))) == [b"1", b"2"]

    @case(
        "dur.unsupported",
        why="A position that is silently forgotten is found out in production.",
        absent={Capability.DURABLE},
    )
    async def test_dur_unsupported(self, kit: Kit) -> None:
        """Without durable consumers a consumer_name is refused."""
        await kit.publisher()
        with kit.raises(UnsupportedError, "durable"):
            await kit.subscription("d")


async def _lines(child: Child, count: int) -> list[str]:
    """What the child printed until its end, which must be a good one."""
    lines = [await child.line() for _ in range(count)]
    assert await child.ended() == 0
    return lines
