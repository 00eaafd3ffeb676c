"""Where a new consumer starts."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import TYPE_CHECKING

from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit import Subscription
    from pubsubkit_contract.kit import Kit

__all__ = ["StartingCases"]

_ELSEWHERE = timezone(timedelta(hours=5, minutes=30))


class StartingCases(Cases):
    """``deliver_from`` of a consumer that does not exist yet."""

    @case("dur.from_new", why="Whoever asks for what is new must not begin with the work of a year.")
    async def test_dur_from_new(self, kit: Kit) -> None:
        """A consumer that starts at new gets nothing that was published before it."""
        await kit.publish(b"old", b"older")
        subscription = await kit.subscription(deliver_from="new")
        await kit.publish(b"new")
        await _begins(kit, subscription, [b"new"])

    @case(
        "dur.from_last",
        why="The last message of a subject is its present state.",
        needs={Capability.HISTORY},
    )
    async def test_dur_from_last(self, kit: Kit) -> None:
        """A consumer that starts at last begins with the last message that is stored."""
        await kit.publish(b"1", b"2", b"3")
        await _begins(kit, await kit.subscription(deliver_from="last"), [b"3"])

    @case(
        "dur.from_last_filtered",
        why="The last message of all is seldom the last of the subject.",
        needs={Capability.HISTORY},
    )
    async def test_dur_from_last_filtered(self, kit: Kit) -> None:
        """With a filter, last is the last message that the filter selects."""
        await kit.publish(b"1", b"2")
        await kit.publish(b"other", tail="y")
        subscription = await kit.subscription(deliver_from="last", filter_subject=kit.subject("x"))
        await _begins(kit, subscription, [b"2"])

    @case(
        "dur.from_sequence",
        why="A sequence from a log line is where one wants to read again.",
        needs={Capability.HISTORY},
    )
    async def test_dur_from_sequence(self, kit: Kit) -> None:
        """A consumer that starts at a sequence gets the message of that sequence and all later ones."""
        publisher = await kit.publisher()
        receipts = [await publisher.publish(kit.subject("x"), b"%d" % number) for number in range(4)]
        await _begins(kit, await kit.subscription(deliver_from=receipts[2].sequence), [b"2", b"3"])

    @case(
        "dur.from_time",
        why="Since when the data are wrong is often all that is known.",
        needs={Capability.HISTORY},
    )
    async def test_dur_from_time(self, kit: Kit) -> None:
        """A consumer that starts at a time, in any time zone, gets what was stored at or after it."""
        clock, publisher = await kit.subscription(""), await kit.publisher()
        await publisher.publish(kit.subject("x"), b"old")
        old = start = (await kit.receive(clock)).metadata.timestamp
        wanted: list[bytes] = []
        while start == old:  # until the broker's clock has moved on
            wanted = [b"%d" % (len(wanted) + 1)]
            await publisher.publish(kit.subject("x"), wanted[0])
            start = (await kit.receive(clock)).metadata.timestamp
        await clock.aclose()
        await _begins(kit, await kit.subscription(deliver_from=start.astimezone(_ELSEWHERE)), wanted)

    @case(
        "dur.from_existing",
        why="A start that is taken seriously at every deployment repeats or skips messages at every deployment.",
        needs={Capability.DURABLE},
    )
    async def test_dur_from_existing(self, kit: Kit) -> None:
        """A durable consumer that exists goes on where it was, whatever deliver_from says."""
        first = await kit.feed(b"1", b"2", b"3")
        done = payloads(await kit.read(first, 1))
        await first.aclose()
        second = await kit.subscription(deliver_from="new")
        done += payloads(await kit.read(second, 1))
        await second.aclose()
        await _begins(kit, await kit.subscription(deliver_from=1), sorted({b"1", b"2", b"3"} - set(done)))


async def _begins(kit: Kit, subscription: Subscription, wanted: Sequence[bytes]) -> None:
    """The subscription must get exactly *wanted* of what was published, and then a sentinel."""
    got = payloads(await kit.read(subscription, len(wanted)))
    await kit.publish(b"sentinel")
    got += payloads(await kit.read(subscription, 1))
    assert sorted(got) == sorted([*wanted, b"sentinel"])
