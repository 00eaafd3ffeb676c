"""Times without a broker: every call ends, the truth is told, and all works again afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit import PublishBatchError, TransientError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.harness import Knob
from pubsubkit_contract.recovery import States, read_all, recovers, served, until

if TYPE_CHECKING:
    from pubsubkit import Backend, Publisher
    from pubsubkit_contract.kit import Kit

__all__ = ["OutageCases"]

_OUTAGE_SECONDS = 1.6


class OutageCases(Cases):
    """A backend waits out an outage, and lets nobody hang."""

    @case(
        "flt.publish_down",
        why="A producer must be able to say that it failed, in its own time, and go on when the broker is back.",
        needs={Capability.REMOTE},
        knobs={Knob.PROXY},
    )
    async def test_flt_publish_down(self, kit: Kit) -> None:
        """While the broker is away every way to publish ends with TransientError about when its timeout is over; the
        same publisher works again when the broker is back.
        """
        proxy, through = await kit.proxy()
        publisher = await kit.publisher(through, timeout=kit.timing.reply)
        await publisher.publish(kit.subject("x"), b"before")
        await proxy.refuse()
        with kit.raises(TransientError):
            await kit.within(publisher.publish(kit.subject("x"), b"down"), "publish without a broker")
        with kit.raises(TransientError):
            future = await kit.within(publisher.publish_soon(kit.subject("x"), b"down"), "publish_soon")
            await kit.within(future, "the future of publish_soon")
        with kit.raises(PublishBatchError) as caught:
            await kit.within(publisher.publish_many([(kit.subject("x"), b"down")]), "publish_many")
        assert isinstance(caught[0].failed[0], TransientError)
        await proxy.accept()
        await recovers(kit, publisher)

    @case(
        "flt.calls_down",
        why="A readiness check or a deployment that looks up a stream must not hang on a broker that is gone.",
        needs={Capability.REMOTE},
        knobs={Knob.PROXY},
    )
    async def test_flt_calls_down(self, kit: Kit) -> None:
        """While the broker is away, looking up, opening and deleting raise TransientError, and work when it is back."""
        proxy, through = await kit.proxy()
        await kit.publisher(through)
        await proxy.refuse()
        await kit.within(until(lambda: _unserved(through)), "noticing the loss")
        calls = {
            "stream_info": through.stream_info(kit.stream),
            "consumer_info": through.consumer_info(kit.stream, "none"),
            "delete_consumer": through.delete_consumer(kit.stream, "none"),
            "opening a publisher": kit.publisher(through),
            "opening a subscription": kit.subscription("", backend=through),
        }
        failures = await kit.within(asyncio.gather(*calls.values(), return_exceptions=True), "calls without a broker")
        for name, failure in zip(calls, failures, strict=True):
            assert isinstance(failure, TransientError), f"{name}: {failure!r}"
            kit.note(f"{name} raised {type(failure).__name__}")
        await proxy.accept()
        await kit.within(until(lambda: _looks_up(kit, through)), "looking up the stream again")
        await recovers(kit, await kit.publisher(through))

    @case(
        "flt.first_connect_down",
        why="A service that starts before its broker must fail or wait as it was told, not hang.",
        needs={Capability.REMOTE},
        knobs={Knob.PROXY},
    )
    async def test_flt_first_connect_down(self, kit: Kit) -> None:
        """Opening a backend whose broker refuses connections, or accepts and says nothing, raises TransientError;
        opening works when the broker is there.
        """
        proxy, through = await kit.proxy()
        url = kit.harness.url_at(proxy.host, proxy.port)
        await kit.within(through.aclose(), "closing")
        await proxy.refuse()
        with kit.raises(TransientError):
            await kit.within(kit.connect(url), "connecting to nobody")
        await proxy.accept()
        proxy.blackhole()
        with kit.raises(TransientError):
            await kit.within(kit.connect(url), "connecting to somebody who says nothing")
        await proxy.cut()
        proxy.flow()
        backend = await kit.within(kit.connect(url), "connecting")
        assert (await backend.health()).connected

    @case(
        "flt.long_outage",
        why="Whoever stops trying after some attempts needs a restart by hand after each long outage.",
        needs={Capability.REMOTE},
        knobs={Knob.PROXY},
    )
    async def test_flt_long_outage(self, kit: Kit) -> None:
        """After an outage of very many attempts to reconnect, publishing and a receive that waited on work."""
        proxy, through = await kit.proxy()
        publisher = await kit.publisher(through, timeout=kit.timing.reply)
        subscription = await kit.subscription(backend=through)
        waiting = asyncio.ensure_future(anext(subscription))
        await proxy.refuse()
        await asyncio.wait([waiting], timeout=_OUTAGE_SECONDS)
        assert not waiting.done(), f"the receive ended during the outage: {waiting.exception()!r}"
        await proxy.accept()
        await kit.within(served(through), "reconnecting")
        await recovers(kit, publisher)
        message = await kit.within(waiting, "the receive that waited")
        assert message.data == b"recovered"

    @case(
        "flt.blackhole",
        why="A firewall that forgot a connection tells nobody; without pings both sides wait for ever.",
        needs={Capability.REMOTE},
        knobs={Knob.PROXY},
    )
    async def test_flt_blackhole(self, kit: Kit) -> None:
        """When no more bytes pass on an open connection, the loss is noticed, and the connection made anew works."""
        states = States()
        proxy, through = await kit.proxy(plugins=[states])
        publisher = await kit.publisher(through, timeout=kit.timing.reply)
        proxy.blackhole()
        with kit.raises(TransientError):
            await kit.within(publisher.publish(kit.subject("x"), b"lost"), "publish into a black hole")
        await kit.within(states.reach("disconnected"), "noticing the silent connection")
        kit.note(f"reported {states.seen}")
        await proxy.cut()
        proxy.flow()
        await recovers(kit, publisher)

    @case(
        "flt.half_open",
        why="A broker that swaps or is paused keeps its connections and answers nobody.",
        needs={Capability.REMOTE},
        knobs={Knob.FREEZE},
    )
    async def test_flt_half_open(self, kit: Kit) -> None:
        """While the broker is frozen publish raises TransientError; when it goes on, publishing and consuming work
        and nothing that was confirmed is missing.
        """
        url = kit.harness.url_at(*kit.harness.address())
        through = await kit.connect(url)
        subscription = await kit.subscription(backend=through)
        publisher = await kit.publisher(through, timeout=kit.timing.reply)
        await publisher.publish(kit.subject("x"), b"before")
        kit.harness.freeze()
        try:
            with kit.raises(TransientError):
                await kit.within(_publish_on(publisher, kit.subject("x")), "the failure of publish")
            await kit.within(until(lambda: _unserved(through)), "noticing that nobody answers")
        finally:
            kit.harness.thaw()
        await recovers(kit, publisher, b"after")
        await read_all(kit, subscription, [b"before", b"after"], strange=True)

    @case(
        "flt.health",
        why="Kubernetes restarts, or keeps, a pod by what this call says.",
        needs={Capability.REMOTE},
        knobs={Knob.PROXY},
    )
    async def test_flt_health(self, kit: Kit) -> None:
        """The answer of health is true before, during and after an outage, and never raises."""
        proxy, through = await kit.proxy()
        assert (await through.health()).consuming is None
        subscription = await kit.subscription(backend=through)
        waiting = asyncio.ensure_future(kit.receive(subscription))
        await kit.within(served(through), "being served")
        good = await through.health()
        assert (good.connected, good.consuming, good.error) == (True, True, "")
        assert good.latency is not None
        assert 0 <= good.latency < kit.cap
        await proxy.refuse()
        bad = await kit.within(through.health(), "health without a broker")
        assert (bad.connected, bad.consuming, bad.latency) == (False, False, None)
        assert bad.error
        await proxy.accept()
        await kit.within(served(through), "being served again")
        await kit.publish(b"x")
        assert (await waiting).data == b"x"

    @case(
        "flt.connection_changed",
        why="Dashboards and alerts of lost connections are made of this hook.",
        needs={Capability.REMOTE},
        knobs={Knob.PROXY},
    )
    async def test_flt_connection_changed(self, kit: Kit) -> None:
        """The hook hears of connecting, of the loss, of the connection made anew and of closing, each once."""
        states = States()
        proxy, through = await kit.proxy(plugins=[states])
        await proxy.refuse()
        await kit.within(states.reach("connected", "disconnected"), "hearing of the loss")
        await proxy.accept()
        await kit.within(states.reach("disconnected", "connected"), "hearing of the new connection")
        await through.aclose()
        kit.note(f"heard of {states.seen}")
        assert states.seen == ["connected", "disconnected", "connected", "closed"]


async def _looks_up(kit: Kit, backend: Backend) -> bool:
    return (await backend.stream_info(kit.stream)).options.name == kit.stream


async def _unserved(backend: Backend) -> bool:
    return not (await backend.health()).connected


async def _publish_on(publisher: Publisher, subject: str) -> None:
    """Publish until it fails: a few publishes may slip through before the last thread of the broker stands still."""
    while True:
        await publisher.publish(subject, b"frozen")
