"""Hooks on the way of a message to its handler and back: what tracing is made of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit.driver import Capability, ConnectionState
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.cases.hooks import Recorder

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["TracingCases"]

_LONG = 60.0


class TracingCases(Cases):
    """Each delivery and each verdict is told, with what belongs to it."""

    @case("hook.received_settled", why="The time between the two is how long a handler takes.")
    async def test_hook_received_settled(self, kit: Kit) -> None:
        """Each message is told when it is handed out, and when it gets its verdict, with stream, subject and
        consumer; a verdict that does nothing is not told.
        """
        plugin = Recorder()
        subscription = await kit.subscription(backend=await kit.connect(plugins=[plugin]))
        headers = {"a": "b"} if Capability.HEADERS in kit.backend.capabilities else {}
        await (await kit.publisher()).publish(kit.subject("x"), b"1234", headers=headers)
        message = await kit.receive(subscription)
        assert [call["hook"] for call in plugin.calls] == ["connection_changed", "received"]
        assert await message.ack()
        assert not await message.ack()
        meta = message.metadata
        place = {"stream": kit.stream, "subject": kit.subject("x"), "consumer": meta.consumer}
        count = {"num_delivered": meta.num_delivered}
        assert plugin.calls[1:] == [
            {"hook": "received", **place, **count, "size": 4, "headers": headers},
            {"hook": "settled", **place, **count, "verdict": "ack", "error": None},
        ]

    @case(
        "hook.middleware_order",
        why="Every attempt is a piece of work that somebody waits for.",
        needs={Capability.NAK},
    )
    async def test_hook_middleware_order(self, kit: Kit) -> None:
        """A redelivery passes through the plugins again, with every verdict of its own."""
        log: list[str] = []
        plugins = [Recorder("outer", log), Recorder("inner", log)]
        subscription = await kit.subscription(backend=await kit.connect(plugins=plugins), ack_wait=_LONG)
        await kit.publish(b"x")
        log.clear()
        for verdict in ("nak", "nak", "ack"):
            assert await getattr(await kit.receive(subscription), verdict)()
        once = ["outer.received", "inner.received", "outer.settled", "inner.settled"]
        assert log == once * 3
        assert [call["verdict"] for call in plugins[0].told("settled")] == ["nak", "nak", "ack"]
        received = [call["num_delivered"] for call in plugins[0].told("received")]
        assert received == [call["num_delivered"] for call in plugins[1].told("settled")]
        if Capability.DELIVERY_COUNT in kit.backend.capabilities:
            assert received == [1, 2, 3]

    @case(
        "hook.verdicts",
        why="A dashboard must tell messages that were given up from those that were handled.",
        needs={Capability.TERM, Capability.IN_PROGRESS},
    )
    async def test_hook_verdicts(self, kit: Kit) -> None:
        """Every kind of verdict is told by its name."""
        plugin = Recorder()
        subscription = await kit.subscription(backend=await kit.connect(plugins=[plugin]), ack_wait=_LONG)
        await kit.publish(b"x")
        message = await kit.receive(subscription)
        assert await message.in_progress()
        assert await message.term("no")
        assert [str(call["verdict"]) for call in plugin.told("settled")] == ["in_progress", "term"]

    @case("hook.before_send", why="Trace contexts are added where nobody can forget them.", needs={Capability.HEADERS})
    async def test_hook_before_send(self, kit: Kit) -> None:
        """Headers that a plugin returns arrive; it is asked once per message, sees what the publisher set, and is told
        with the end of the publish what was sent.
        """
        plugin = Recorder(add={"traceparent": "00-1-2-01", "empty": ""})
        subscription = await kit.subscription()
        publisher = await kit.publisher(await kit.connect(plugins=[plugin]), retry_attempts=2)
        await publisher.publish(kit.subject("x"), b"1", headers={"mine": "1"})
        await publisher.publish_many([(kit.subject("y"), b"2")])
        first, second = sorted(await kit.read(subscription, 2), key=lambda message: message.data)
        assert dict(first.headers) == {"traceparent": "00-1-2-01", "empty": "", "mine": "1"}
        assert dict(second.headers) == {"traceparent": "00-1-2-01", "empty": ""}
        seen = [(call["stream"], call["subject"], call["headers"]) for call in plugin.told("before_send")]
        assert seen == [(kit.stream, kit.subject("x"), {"mine": "1"}), (kit.stream, kit.subject("y"), {})]
        assert [call["headers"] for call in plugin.told("published")] == [first.headers, second.headers]

    @case(
        "hook.before_send_protected",
        why="A plugin that replaces what the application says is an error that nobody finds.",
        needs={Capability.HEADERS},
    )
    async def test_hook_before_send_protected(self, kit: Kit) -> None:
        """A plugin cannot replace the publisher's headers; of two plugins the later one decides."""
        plugins = [Recorder(add={"a": "first", "b": "first", "c": "c"}), Recorder(add={"a": "second", "b": "second"})]
        subscription = await kit.subscription()
        publisher = await kit.publisher(await kit.connect(plugins=plugins))
        await publisher.publish(kit.subject("x"), b"x", headers={"a": "publisher"})
        message = await kit.receive(subscription)
        assert dict(message.headers) == {"a": "publisher", "b": "second", "c": "c"}

    @case("hook.connection_changed", why="An alarm needs to know that the broker is there, and where.")
    async def test_hook_connection_changed(self, kit: Kit) -> None:
        """Opening and closing a connection are told once each, with the broker's address."""
        plugin = Recorder()
        backend = await kit.connect(plugins=[plugin])
        await backend.open()
        await asyncio.gather(backend.aclose(), backend.aclose())
        told = [(call["address"], call["state"], call["error"]) for call in plugin.told("connection_changed")]
        address = kit.backend.address
        assert told == [(address, ConnectionState.CONNECTED, None), (address, ConnectionState.CLOSED, None)]
        kit.note(f"told of {address}: connected, closed")
