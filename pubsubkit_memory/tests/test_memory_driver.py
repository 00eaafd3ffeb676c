"""The driver: URLs, named brokers, event loops, and what is left after closing."""

from __future__ import annotations

import asyncio
import gc
import secrets
import threading
import weakref
from typing import Any

import pytest

from pubsubkit.driver import Capability, OutgoingMessage, PublishReceipt, Settlement, Verdict
from pubsubkit.errors import ConfigurationError
from pubsubkit.options import StreamOptions
from pubsubkit.params import bind, describe
from pubsubkit.url import BackendURL
from pubsubkit_memory import Broker, MemoryDriver, MemoryOptions

ACK = Settlement(Verdict.ACK)
NAK = Settlement(Verdict.NAK)
CAP = 10.0


def make_driver(text: str) -> MemoryDriver:
    return MemoryDriver.from_url(BackendURL.parse(text), MemoryOptions())


async def opened(broker: Broker | str) -> MemoryDriver:
    driver = MemoryDriver(Broker.named(broker) if isinstance(broker, str) else broker)
    await driver.open(lambda state, error: None)
    return driver


@pytest.fixture
def name() -> str:
    """A broker's name that no other test uses."""
    return f"test-{secrets.token_hex(4)}"


def test_private_brokers() -> None:
    """memory:// is a broker of its own for each driver; memory://name is shared; names are apart."""
    one, two = make_driver("memory://"), make_driver("memory://")
    assert one.native is not two.native
    assert make_driver("memory://a").native is make_driver("memory://a").native is Broker.named("a")
    assert make_driver("memory://a").native is not make_driver("memory://b").native
    assert (one.address, make_driver("memory://a").address) == ("memory://", "memory://a")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("memory://user@a", "a user or password"),
        ("memory://user:secret@a", "a user or password"),
        ("memory://a:1", "a port"),
        ("memory://a/b", "a path"),
        ("memory:///", "a path"),
        ("memory://a,b", "more than one name"),
    ],
)
def test_meaningless_parts(text: str, problem: str) -> None:
    """What means nothing in a memory URL is a ConfigurationError that shows no secret."""
    with pytest.raises(ConfigurationError, match=problem) as caught:
        make_driver(text)
    assert "secret" not in str(caught.value)


def test_all_problems_at_once() -> None:
    """All meaningless parts are in one error."""
    with pytest.raises(ConfigurationError, match=r"(?s)password.*port.*path"):
        make_driver("memory://user@a:1/b")


def test_options() -> None:
    """max_payload is the one parameter, 1 MiB by default, and understands sizes."""
    assert [(each.name, each.default, each.kind) for each in describe(MemoryOptions)] == [
        ("max_payload", 1024 * 1024, "size")
    ]
    options, problems = bind(MemoryOptions, [("max-payload", "2KiB")], {})
    assert not problems
    assert MemoryDriver.from_url(BackendURL.parse("memory://"), options).max_payload == 2048
    assert MemoryDriver().max_payload == 1024 * 1024


def test_capabilities() -> None:
    """Everything is promised but what needs a broker outside the process."""
    missing = set(Capability) - MemoryDriver.capabilities
    assert {each.value for each in missing} == {"survives_restart", "survives_crash", "cross_process", "remote"}


async def test_two_drivers_share_a_broker(name: str) -> None:
    """Two drivers of one name see each other's messages; closing one leaves the other at work."""
    one, two = await opened(name), await opened(name)
    await one.create_stream(StreamOptions(name="s"))
    assert await two.stream_info("s") is not None
    await one.aclose()
    await one.aclose()
    assert await two.send([OutgoingMessage("s.x", b"")], 5) == [PublishReceipt("s", 1)]
    await two.ping()
    await two.aclose()


async def test_named_broker_outlives_its_drivers(name: str, lab: Any) -> None:
    """Closing every driver of a named broker keeps streams, positions and leases."""
    driver = await opened(name)
    await driver.create_stream(StreamOptions(name="s"))
    spec = lab.spec(ack_wait=0.05)
    await driver.create_consumer(spec)
    await driver.send([OutgoingMessage("s.x", data) for data in (b"1", b"2", b"3")], 5)
    member = await driver.subscribe(spec, 1)
    await (await lab.take(member)).settle(ACK)
    await lab.take(member)
    await driver.aclose()
    assert not driver.native.timers.armed
    again = await opened(name)
    member = await again.subscribe(spec, 1)
    assert sorted(await lab.read(member, 2)) == [b"2", b"3"]
    await again.aclose()


def test_next_loop_goes_on(name: str, make_spec: Any) -> None:
    """Under the next event loop leases and delays of the last one still run out, even if it died unclosed."""

    async def first() -> None:
        driver = await opened(name)
        await driver.create_stream(StreamOptions(name="s"))
        await driver.create_consumer(make_spec(ack_wait=0.1))
        await driver.send([OutgoingMessage("s.x", data) for data in (b"leased", b"delayed", b"acked")], 5)
        member = await driver.subscribe(make_spec(ack_wait=0.1), 1)
        await member.receive()
        delayed, acked = await member.receive(), await member.receive()
        await delayed.settle(NAK._replace(delay=0.1))
        await acked.settle(ACK)
        abandoned.append(asyncio.ensure_future(member.receive()))

    async def second() -> None:
        driver = await opened(name)
        member = await driver.subscribe(make_spec(ack_wait=0.1), 1)
        async with asyncio.timeout(CAP):
            again = [await member.receive(), await member.receive()]
        assert sorted(delivery.data for delivery in again) == [b"delayed", b"leased"]
        for delivery in again:
            assert delivery.metadata.num_delivered == 2
            await delivery.settle(ACK)
        info = await driver.consumer_info("s", "d")
        assert (info.num_pending, info.num_ack_pending) == (0, 0)
        await driver.aclose()

    abandoned: list[Any] = []
    asyncio.run(first())
    assert abandoned[0].cancelled()
    asyncio.run(second())


@pytest.mark.parametrize("woken", [False, True])
def test_waiter_of_a_dead_loop(name: str, make_spec: Any, woken: bool) -> None:
    """A receive that was left in a loop that was closed under it, woken or not, takes no message."""
    loop = asyncio.new_event_loop()

    async def first() -> None:
        driver = await opened(name)
        await driver.create_stream(StreamOptions(name="s"))
        await driver.create_consumer(make_spec(ack_wait=0.1))
        left.append(driver)
        left.append(await driver.subscribe(make_spec(ack_wait=0.1), 1))

    async def start(receiving: Any) -> None:
        receiving.send(None)  # up to where it waits
        if woken:
            await left[0].send([OutgoingMessage("s.x", b"1")], 5)

    async def second() -> None:
        driver = await opened(name)
        member = await driver.subscribe(make_spec(ack_wait=0.1), 1)
        waiting = asyncio.ensure_future(member.receive())
        if not woken:
            await driver.send([OutgoingMessage("s.x", b"1")], 5)
        async with asyncio.timeout(CAP):
            assert (await waiting).data == b"1"
        await left[0].aclose()  # its loop is gone, and the broker is this loop's now
        assert driver.native.timers.armed
        await driver.aclose()

    left: list[Any] = []
    loop.run_until_complete(first())
    waiting = left[1].receive()
    loop.run_until_complete(start(waiting))
    loop.close()
    asyncio.run(second())
    waiting.close()


def test_two_live_loops(name: str) -> None:
    """While a driver has the broker open in one loop, opening it in another raises ConfigurationError."""
    entered, leave = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        driver = await opened(name)
        entered.set()
        await asyncio.to_thread(leave.wait, CAP)
        await driver.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    thread.start()
    assert entered.wait(CAP)

    async def here() -> None:
        driver = MemoryDriver(Broker.named(name))
        with pytest.raises(ConfigurationError, match=f"memory://{name} is open in another event loop"):
            await driver.open(lambda state, error: None)
        await driver.aclose()
        leave.set()
        await asyncio.to_thread(thread.join, CAP)
        await (await opened(name)).aclose()

    asyncio.run(here())


async def test_ephemeral_consumers_go(name: str, lab: Any) -> None:
    """An ephemeral consumer that nobody deleted is gone when the broker is opened again; a durable is not."""
    driver = await opened(name)
    await driver.create_stream(StreamOptions(name="s"))
    await driver.create_consumer(lab.spec("ephemeral", durable=False))
    await driver.create_consumer(lab.spec("durable"))
    other = await opened(name)
    assert await other.consumer_info("s", "ephemeral") is not None
    await other.aclose()
    await driver.aclose()
    driver = await opened(name)
    assert await driver.consumer_info("s", "ephemeral") is None
    assert await driver.consumer_info("s", "durable") is not None
    await driver.aclose()


def test_private_broker_leaks_nothing(make_spec: Any) -> None:
    """After aclose a private broker with leases and delays is garbage: no timer and no task keeps it."""

    async def main() -> weakref.ref[Broker]:
        driver = await opened(Broker())
        await driver.create_stream(StreamOptions(name="s"))
        await driver.create_consumer(make_spec(ack_wait=0.1))
        await driver.send([OutgoingMessage("s.x", b""), OutgoingMessage("s.x", b"")], 5)
        member = await driver.subscribe(make_spec(ack_wait=0.1), 1)
        await (await member.receive()).settle(NAK._replace(delay=60))
        await member.receive()
        await driver.aclose()
        assert len(asyncio.all_tasks()) == 1
        return weakref.ref(driver.native)

    with asyncio.Runner() as runner:
        broker = runner.run(main())
        gc.collect()
        assert broker() is None


async def test_native_broker(lab: Any) -> None:
    """Native is the broker; clear() empties it and it goes on working."""
    broker = lab.driver.native
    assert isinstance(broker, Broker)
    await lab.stream()
    assert repr(broker) == "<Broker memory:// streams=['s']>"
    broker.clear()
    await lab.stream()
    assert await lab.send("s.x", b"") == PublishReceipt("s", 1)
