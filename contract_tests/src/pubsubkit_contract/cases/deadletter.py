"""Dead letters: what nobody could handle is kept where it can be looked at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pubsubkit import NotFoundError, Storage, StreamFullError, StreamOptions, UnsupportedError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit import Subscription
    from pubsubkit_contract.kit import Kit

__all__ = ["DeadLetterCases"]

_LONG = 60.0
_PREFIX = "Pubsubkit-Dead-Letter-"
_BASIC = {Capability.TERM, Capability.HEADERS, Capability.DELIVERY_COUNT}
_NEEDS = _BASIC | {Capability.DURABLE}


class DeadLetterCases(Cases):
    """A message is moved whole, once, and never lost on the way."""

    @case(
        "dlq.moved",
        why="A message that fails every time must neither stop the others nor vanish.",
        needs=_NEEDS | {Capability.NAK, Capability.ACK_WAIT},
    )
    async def test_dlq_moved(self, kit: Kit) -> None:
        """A message that was nak'ed max_deliver times is moved to the stream of dead letters, once, and does not come
        back, while a canary does.
        """
        subscription, dead = await _open(kit, ack_wait=kit.short, max_deliver=2)
        await kit.publish(b"poison")
        for _ in range(2):
            message = await kit.receive(subscription)
            assert message.data == b"poison"
            assert await message.nak()
        assert (await kit.receive(dead)).data == b"poison"
        await kit.publish(b"canary")
        assert payloads(await kit.read(subscription, 2, ack=False)) == [b"canary", b"canary"]
        assert (await kit.backend.stream_info(dead.options.stream_name)).messages == 1

    @case(
        "dlq.metadata",
        why="Whoever looks at a dead letter asks where it comes from and why.",
        needs=_NEEDS | {Capability.NAK},
    )
    async def test_dlq_metadata(self, kit: Kit) -> None:
        """A dead letter has the data and headers of the original, its subject after the name of the stream, and
        headers that tell stream, consumer, sequence, deliveries, reason and time.
        """
        subscription, dead = await _open(kit, max_deliver=2)
        publisher = await kit.publisher()
        headers = {"Trace": "a=b; c", "unicode": "\u00e9", "empty": ""}
        receipt = await publisher.publish(kit.subject("a.b"), b"\x00\xff poison", headers=headers)
        for _ in range(2):
            await (await kit.receive(subscription)).nak()
        letter = await kit.receive(dead)
        assert (letter.subject, letter.data) == (
            f"{dead.options.stream_name}.{kit.subject('a.b')}",
            b"\x00\xff poison",
        )
        found = dict(letter.headers)
        moved = datetime.fromisoformat(found.pop(f"{_PREFIX}Time"))
        assert abs(moved - datetime.now(UTC)) < timedelta(minutes=1)
        assert found == {
            **headers,
            f"{_PREFIX}Subject": kit.subject("a.b"),
            f"{_PREFIX}Stream": kit.stream,
            f"{_PREFIX}Consumer": "d",
            f"{_PREFIX}Sequence": str(receipt.sequence),
            f"{_PREFIX}Deliveries": "2",
            f"{_PREFIX}Reason": "max_deliver reached",
        }

    @case("dlq.term", why="A handler that knows that a message is hopeless need not try it again.", needs=_NEEDS)
    async def test_dlq_term(self, kit: Kit) -> None:
        """A message that is terminated is moved at once, with the handler's reason."""
        subscription, dead = await _open(kit, max_deliver=5)
        await kit.publish(b"1", b"2")
        first, second = sorted(await kit.read(subscription, 2, ack=False), key=lambda message: message.data)
        assert await first.term("no such order: \u20ac")
        assert await second.term()
        letters = {letter.data: letter for letter in await kit.read(dead, 2)}
        assert letters[b"1"].headers[f"{_PREFIX}Reason"] == "no such order: \u20ac"
        assert letters[b"1"].headers[f"{_PREFIX}Deliveries"] == "1"
        assert letters[b"2"].headers[f"{_PREFIX}Reason"] == "terminated"

    @case(
        "dlq.timeout",
        why="A message that kills its handler never gets a verdict.",
        needs=_NEEDS | {Capability.ACK_WAIT},
    )
    async def test_dlq_timeout(self, kit: Kit) -> None:
        """A message that was left without a verdict max_deliver times is moved when it comes again, and no handler
        gets it once more.
        """
        subscription, dead = await _open(kit, ack_wait=kit.short, max_deliver=2)
        await kit.publish(b"hangs")
        assert payloads(await kit.read(subscription, 2, ack=False)) == [b"hangs", b"hangs"]
        waiting = await kit.nothing(subscription)
        letter = await kit.receive(dead)
        assert (letter.data, letter.headers[f"{_PREFIX}Deliveries"]) == (b"hangs", "2")
        await kit.publish(b"next")
        assert (await waiting).data == b"next"

    @case("dlq.others_go_on", why="One bad message must not cost any good one.", needs=_NEEDS | {Capability.NAK})
    async def test_dlq_others_go_on(self, kit: Kit) -> None:
        """Beside a message that fails every time all others are handled once each, and only it is moved."""
        subscription, dead = await _open(kit, max_deliver=3)
        good = {b"%d" % number for number in range(20)}
        await kit.publish(*sorted(good)[:10], b"poison", *sorted(good)[10:])
        got: list[bytes] = []
        failures = 0
        while failures < 3 or len(got) < len(good):
            message = await kit.receive(subscription)
            if message.data == b"poison":
                failures += 1
                await message.nak()
            else:
                got.append(message.data)
                await message.ack()
        assert sorted(got) == sorted(good)
        assert (await kit.receive(dead)).data == b"poison"
        assert (await kit.backend.stream_info(dead.options.stream_name)).messages == 1

    @case("dlq.acked", why="A message that succeeded at the last try succeeded.", needs=_NEEDS | {Capability.NAK})
    async def test_dlq_acked(self, kit: Kit) -> None:
        """A message that is acked at its last delivery is not moved."""
        subscription, dead = await _open(kit, max_deliver=2)
        await kit.publish(b"late", b"poison")
        for _ in range(4):
            message = await kit.receive(subscription)
            last = message.metadata.num_delivered == 2
            await (message.ack() if last and message.data == b"late" else message.nak())
        assert (await kit.receive(dead)).data == b"poison"
        assert (await kit.backend.stream_info(dead.options.stream_name)).messages == 1

    @case("dlq.kept", why="A message that is given up before it is safe elsewhere is lost.", needs=_NEEDS)
    async def test_dlq_kept(self, kit: Kit) -> None:
        """When the dead letter cannot be stored term raises, and the message is without a verdict; it can be moved
        later.
        """
        name = kit.another_stream("dead")
        await kit.backend.ensure_stream(StreamOptions(name=name, max_messages=1, discard="new"))
        subscription, dead = await _open(kit, max_deliver=5)
        await kit.publish(b"1", b"2")
        first, second = await kit.read(subscription, 2, ack=False)
        assert await first.term()
        with kit.raises(StreamFullError):
            await second.term()
        assert not second.settled
        await kit.backend.ensure_stream(StreamOptions(name=name, max_messages=9, discard="new"), manage="update")
        assert await second.term()
        assert sorted(payloads(await kit.read(dead, 2))) == [b"1", b"2"]

    @case("dlq.closed", why="A deploy must not be what loses the message that fails.", needs=_NEEDS | {Capability.NAK})
    async def test_dlq_closed(self, kit: Kit) -> None:
        """A message that is held at its last delivery while the subscription closes is not lost: the next member moves
        it.
        """
        subscription, dead = await _open(kit, max_deliver=1)
        await kit.publish(b"held")
        held = await kit.receive(subscription)
        await subscription.aclose()
        assert not await held.ack()
        again = await kit.subscription("d", ack_wait=_LONG, max_deliver=1, dead_letter=dead.options.stream_name)
        waiting = await kit.nothing(again)
        assert (await kit.receive(dead)).data == b"held"
        await kit.publish(b"next")
        assert (await waiting).data == b"next"

    @case(
        "dlq.own_consumer",
        why="What one service cannot handle another one can.",
        needs=_NEEDS | {Capability.FANOUT},
    )
    async def test_dlq_own_consumer(self, kit: Kit) -> None:
        """A message that one consumer moved stays in its stream, and other consumers get it."""
        subscription, dead = await _open(kit, max_deliver=1)
        other = await kit.subscription("other")
        await kit.publish(b"x")
        assert await (await kit.receive(subscription)).term()
        assert (await kit.receive(dead)).data == b"x"
        assert (await kit.receive(other)).data == b"x"
        assert (await kit.stream_info()).messages == 1

    @case(
        "dlq.created", why="That there is no place for dead letters should not show with the first one.", needs=_NEEDS
    )
    async def test_dlq_created(self, kit: Kit) -> None:
        """Opening the consumer creates the stream of dead letters, kept as safe as the original."""
        name = kit.another_stream("dead")
        options = StreamOptions(name=kit.stream, storage=Storage.FILE)
        await kit.subscription("d", stream=options, max_deliver=3, dead_letter=name)
        info = await kit.backend.stream_info(name)
        assert (info.options.subjects, info.options.storage) == ((f"{name}.>",), Storage.FILE)
        kit.note(f"{name} is there")

    @case(
        "dlq.unsupported",
        why="A place for dead letters that is silently not used looks like a system without errors.",
        absent=_BASIC,
    )
    async def test_dlq_unsupported(self, kit: Kit) -> None:
        """Where messages cannot be counted, terminated or given headers a consumer with dead_letter is refused before
        anything is created.
        """
        name = kit.another_stream("dead")
        with kit.raises(UnsupportedError):
            await kit.subscription("d", max_deliver=3, dead_letter=name)
        with kit.raises(NotFoundError):
            await kit.backend.stream_info(name)


async def _open(kit: Kit, *, max_deliver: int, ack_wait: float = _LONG) -> tuple[Subscription, Subscription]:
    """A member of a consumer with dead letters, and a reader of these."""
    name = kit.another_stream("dead")
    options: dict[str, Any] = {"ack_wait": ack_wait, "max_deliver": max_deliver, "dead_letter": name}
    subscription = await kit.subscription("d", **options)
    return subscription, await kit.subscription("", stream_name=name)
