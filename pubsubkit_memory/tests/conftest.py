"""A broker to experiment with, through the driver interface only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pubsubkit.driver import ConsumerSpec, Delivery, OutgoingMessage, PublishReceipt, Settlement, Verdict
from pubsubkit.options import StreamOptions
from pubsubkit_memory import MemoryDriver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pubsubkit_memory.subscription import MemorySubscription

CAP = 10.0


def make_spec(name: str = "d", **changes: Any) -> ConsumerSpec:
    fields: dict[str, Any] = {
        "stream": "s",
        "durable": True,
        "filter_subject": "",
        "ack_wait": 30.0,
        "max_deliver": None,
        "max_in_flight": 1000,
        "deliver_from": "all",
    }
    return ConsumerSpec(name=name, **{**fields, **changes})


class Lab:
    """An open driver with shorthands; a wait that must end is bounded by CAP."""

    ack = Settlement(Verdict.ACK)
    nak = Settlement(Verdict.NAK)
    term = Settlement(Verdict.TERM)
    in_progress = Settlement(Verdict.IN_PROGRESS)
    spec = staticmethod(make_spec)

    def __init__(self, driver: MemoryDriver) -> None:
        self.driver = driver

    async def stream(self, name: str = "s", **options: Any) -> None:
        await self.driver.create_stream(StreamOptions(name=name, **options))

    async def member(self, name: str = "d", **changes: Any) -> MemorySubscription:
        spec = make_spec(name, **changes)
        await self.driver.create_consumer(spec)
        return await self.driver.subscribe(spec, 10)

    async def send(self, *message: Any, **fields: Any) -> PublishReceipt | Exception:
        (outcome,) = await self.driver.send([OutgoingMessage(*message, **fields)], 5)
        return outcome

    async def publish(self, *datas: bytes, subject: str = "s.x") -> None:
        for outcome in await self.driver.send([OutgoingMessage(subject, data) for data in datas], 5):
            assert isinstance(outcome, PublishReceipt)

    async def take(self, member: MemorySubscription) -> Delivery:
        async with asyncio.timeout(CAP):
            delivery = await member.receive()
        assert delivery is not None
        return delivery

    async def read(self, member: MemorySubscription, count: int, verdict: Settlement | None = ack) -> list[bytes]:
        got = []
        for _ in range(count):
            delivery = await self.take(member)
            got.append(delivery.data)
            if verdict is not None:
                await delivery.settle(verdict)
        return got

    async def nothing(self, member: MemorySubscription) -> None:
        """The member has nothing to get now: the broker hands out what it has within the call."""
        waiting = await self.blocked(member)
        waiting.cancel()
        await asyncio.wait([waiting], timeout=CAP)

    async def blocked(self, member: MemorySubscription) -> asyncio.Task[Delivery | None]:
        waiting = asyncio.ensure_future(member.receive())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not waiting.done()
        return waiting

    def advance(self, seconds: float) -> None:
        """Move the broker's clock; what falls due is called in the loop's next turn."""
        self.driver.native.advance(seconds)

    async def counts(self, name: str = "d") -> tuple[int, int]:
        info = await self.driver.consumer_info("s", name)
        assert info is not None
        return info.num_pending, info.num_ack_pending


@pytest.fixture(name="make_spec")
def make_spec_fixture() -> Any:
    return make_spec


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    driver = MemoryDriver()
    await driver.open(lambda state, error: None)
    yield Lab(driver)
    await driver.aclose()
    assert not driver.native.timers.armed
    assert len(asyncio.all_tasks()) == 1
