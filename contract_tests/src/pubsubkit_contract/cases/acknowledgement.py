"""Verdicts that end a message: ack and term, and what settling twice or too late does.

"Must not come back" is shown by a canary: a twin without a verdict.  When the canary is delivered again the clock of
redelivery has provably run, so the absence of the other means something.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from pubsubkit import UnsupportedError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pubsubkit import Message
    from pubsubkit_contract.kit import Kit

__all__ = ["AcknowledgementCases"]

_EARLY = 0.002
_LONG = 60.0
_REFUSED: dict[Capability, Callable[[Message], Awaitable[bool]]] = {
    Capability.NAK: lambda message: message.nak(),
    Capability.NAK_DELAY: lambda message: message.nak_with_delay(1),
    Capability.TERM: lambda message: message.term("no"),
    Capability.IN_PROGRESS: lambda message: message.in_progress(),
    Capability.CONFIRMED_ACK: lambda message: message.ack(confirm=True),
}


class AcknowledgementCases(Cases):
    """A verdict is final, and what has none comes back."""

    @case("ack.final", why="An ack that is lost means that everything is done twice.", needs={Capability.ACK_WAIT})
    async def test_ack_final(self, kit: Kit) -> None:
        """An acked message does not come back, while its unacked canary does."""
        subscription = await kit.feed(b"acked", b"canary", ack_wait=kit.short)
        messages = {message.data: message for message in await kit.read(subscription, 2, ack=False)}
        assert await messages[b"acked"].ack()
        for _ in range(2):
            assert (await kit.receive(subscription)).data == b"canary"

    @case("ack.only_that_one", why="An ack of one message says nothing of the others.", needs={Capability.ACK_WAIT})
    async def test_ack_only_that_one(self, kit: Kit) -> None:
        """Acking the second of three brings the first and the third back."""
        subscription = await kit.feed(b"1", b"2", b"3", ack_wait=kit.short)
        for message in await kit.read(subscription, 3, ack=False):
            if message.data == b"2":
                await message.ack()
        assert sorted(payloads(await kit.read(subscription, 2))) == [b"1", b"3"]

    @case(
        "ack.out_of_order",
        why="Handlers that run side by side finish in any order.",
        needs={Capability.ACK_WAIT},
    )
    async def test_ack_out_of_order(self, kit: Kit) -> None:
        """Messages that are acked in another order than they came do not come back, while their canary does."""
        subscription = await kit.feed(b"1", b"2", b"3", b"canary", ack_wait=kit.short)
        messages = {message.data: message for message in await kit.read(subscription, 4, ack=False)}
        for data in (b"3", b"1", b"2"):
            assert await messages[data].ack()
        for _ in range(2):
            assert (await kit.receive(subscription)).data == b"canary"

    @case("ack.not_implicit", why="A handler that dies has not handled its message.", needs={Capability.ACK_WAIT})
    async def test_ack_not_implicit(self, kit: Kit) -> None:
        """Being delivered, and the next message being asked for, is no ack."""
        subscription = await kit.feed(b"1", b"2", ack_wait=kit.short)
        await kit.read(subscription, 2, ack=False)
        assert sorted(payloads(await kit.read(subscription, 2))) == [b"1", b"2"]

    @case("ack.idempotent", why="Clean-up code acks once more, to be sure.")
    async def test_ack_idempotent(self, kit: Kit) -> None:
        """The first verdict wins; later ones return False, raise nothing and bring nothing back."""
        subscription = await kit.feed(b"once")
        claimed = kit.backend.capabilities
        message = await kit.receive(subscription)
        assert await message.ack() is True
        assert await message.ack() is False
        assert Capability.NAK not in claimed or await message.nak() is False
        assert Capability.TERM not in claimed or await message.term() is False
        assert Capability.IN_PROGRESS not in claimed or await message.in_progress() is False
        assert message.settled
        await kit.publish(b"sentinel")
        assert (await kit.receive(subscription)).data == b"sentinel"

    @case(
        "ack.confirm",
        why="Before something that cannot be undone one wants to know that the message will not return.",
        needs={Capability.CONFIRMED_ACK},
    )
    async def test_ack_confirm(self, kit: Kit) -> None:
        """ack(confirm=True) returns when the broker has recorded the ack."""
        subscription = await kit.feed(*(b"%d" % number for number in range(10)))
        name = ""
        for left in range(10, 0, -1):
            message = await kit.receive(subscription)
            name = name or message.metadata.consumer
            info = await kit.backend.consumer_info(kit.stream, name)
            before = info.num_pending + info.num_ack_pending
            assert await message.ack(confirm=True)
            info = await kit.backend.consumer_info(kit.stream, name)
            assert (before, info.num_pending + info.num_ack_pending) == (left, left - 1)

    @case(
        "term.final",
        why="A message that cannot be handled must not come for ever.",
        needs={Capability.TERM, Capability.ACK_WAIT},
    )
    async def test_term_final(self, kit: Kit) -> None:
        """A terminated message does not come back, while its canary does."""
        subscription = await kit.feed(b"bad", b"canary", ack_wait=kit.short)
        messages = {message.data: message for message in await kit.read(subscription, 2, ack=False)}
        assert await messages[b"bad"].term("cannot be parsed")
        for _ in range(2):
            assert (await kit.receive(subscription)).data == b"canary"

    @case(
        "term.settled",
        why="What was given up must not come again, and must not be waited for, when a service starts anew.",
        needs={Capability.ORDERING, Capability.NAK, Capability.TERM, Capability.DURABLE},
    )
    async def test_term_settled(self, kit: Kit) -> None:
        """After closing a terminated message is not in flight any more, and it does not come back when its consumer
        is opened again, while its canary does.
        """
        subscription = await kit.feed(b"bad", b"canary", ack_wait=_LONG)
        bad, _ = await kit.read(subscription, 2, ack=False)
        assert await bad.term("cannot be parsed")
        await subscription.aclose()
        info = await kit.consumer_info()
        assert info.num_pending + info.num_ack_pending == 1
        assert payloads(await kit.read(await kit.subscription(ack_wait=_LONG), 1)) == [b"canary"]

    @case(
        "term.counts_once",
        why="A terminated message that keeps its place stops a consumer for good.",
        needs={Capability.TERM, Capability.MAX_IN_FLIGHT},
    )
    async def test_term_counts_once(self, kit: Kit) -> None:
        """A terminated message makes room for the next message under max_in_flight."""
        subscription = await kit.feed(*(b"%d" % number for number in range(5)), max_in_flight=1, ack_wait=_LONG)
        got: set[bytes] = set()
        for _ in range(5):
            message = await kit.receive(subscription)
            got.add(message.data)
            assert await message.term()
        assert len(got) == 5

    @case("settle.stale", why="A handler that was too slow may speak at any time.", needs={Capability.ACK_WAIT})
    async def test_settle_stale(self, kit: Kit) -> None:
        """Settling a delivery whose message was delivered again raises nothing; once the newer one
        was acked it does nothing at all.
        """
        subscription = await kit.feed(b"x", ack_wait=kit.short)
        old = await kit.receive(subscription)
        new = await kit.receive(subscription)
        assert new is not old
        assert await new.ack(confirm=Capability.CONFIRMED_ACK in kit.backend.capabilities)
        await (old.nak() if Capability.NAK in kit.backend.capabilities else old.ack())
        await kit.publish(b"sentinel")
        assert (await kit.receive(subscription)).data == b"sentinel"

    @case(
        "settle.stale_nak",
        why="A late nak must not lose the message that somebody else is working on.",
        needs={Capability.ACK_WAIT, Capability.NAK},
    )
    async def test_settle_stale_nak(self, kit: Kit) -> None:
        """A nak of an old delivery, while the newer one has no verdict, never loses the message."""
        subscription = await kit.feed(b"x", ack_wait=kit.short)
        old = await kit.receive(subscription)
        await kit.receive(subscription)
        await old.nak()
        assert (await kit.receive(subscription)).data == b"x"

    @case("settle.after_close", why="A handler may end after the consumer was closed.")
    async def test_settle_after_close(self, kit: Kit) -> None:
        """A verdict after closing raises nothing, hangs nowhere and returns False: the message was given back."""
        subscription = await kit.feed(b"x", ack_wait=_LONG)
        message = await kit.receive(subscription)
        await subscription.aclose()
        assert await kit.within(message.ack(), "ack after close") is False
        assert message.settled

    @case(
        "settle.concurrent",
        why="A timeout and a success may both want to settle.",
        needs={Capability.NAK, Capability.TERM},
    )
    async def test_settle_concurrent(self, kit: Kit) -> None:
        """Of concurrent verdicts exactly one wins, and the others return False."""
        subscription = await kit.feed(*(b"%d" % number for number in range(5)))
        for _ in range(5):
            message = await kit.receive(subscription)
            results = await asyncio.gather(message.ack(), message.nak(), message.term(), message.ack())
            assert sorted(results) == [False, False, False, True]

    @case(
        "settle.unsupported",
        why="A verdict that is silently dropped looks like one that was kept.",
        absent=set(_REFUSED),
    )
    async def test_settle_unsupported(self, kit: Kit) -> None:
        """A verdict that the backend does not have raises UnsupportedError; the message stays without one."""
        subscription = await kit.feed(b"x")
        message = await kit.receive(subscription)
        for capability in _REFUSED.keys() - kit.backend.capabilities:
            with kit.raises(UnsupportedError, capability.value):
                await _REFUSED[capability](message)
        assert not message.settled
        assert await message.ack()

    @case(
        "extend.works",
        why="Work that takes longer than ack_wait must be possible without doing it twice.",
        needs={Capability.IN_PROGRESS, Capability.ACK_WAIT},
    )
    async def test_extend_works(self, kit: Kit) -> None:
        """in_progress keeps a message from being delivered again, while its canary comes back several times."""
        lease = max(0.2, 2 * kit.short)
        subscription = await kit.feed(b"slow", b"canary", ack_wait=lease)
        messages = {message.data: message for message in await kit.read(subscription, 2, ack=False)}
        slow = messages[b"slow"]

        async def extend() -> None:
            while True:
                assert await slow.in_progress()
                await asyncio.sleep(lease / 8)

        extending = asyncio.ensure_future(extend())
        try:
            for _ in range(2):
                assert (await kit.receive(subscription)).data == b"canary"
        finally:
            extending.cancel()
            await asyncio.gather(extending, return_exceptions=True)
        assert await slow.ack()

    @case(
        "extend.ends",
        why="A handler that hangs must not keep its message for ever.",
        needs={Capability.IN_PROGRESS, Capability.ACK_WAIT},
    )
    async def test_extend_ends(self, kit: Kit) -> None:
        """After the last in_progress ack_wait begins anew and runs out."""
        subscription = await kit.feed(b"x", ack_wait=kit.short)
        message = await kit.receive(subscription)
        started = time.monotonic()
        assert await message.in_progress()
        again = await kit.receive(subscription)
        assert (again.data, time.monotonic() - started >= kit.short * 0.9) == (b"x", True)
