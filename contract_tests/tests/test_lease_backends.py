"""Leases that are kept while a handler works, on both backends."""

import asyncio
from typing import Any

import pytest

from pubsubkit import Backend, ConsumerOptions, PublisherOptions, Subscription, UnsupportedError
from pubsubkit.driver import Capability

DEADLINE = 10.0
ACK_WAIT = 0.3


def subscribe(backend: Backend, **options: Any) -> Subscription:
    given = {"stream_name": "s", "consumer_name": "d", "ack_wait": ACK_WAIT, "max_lease": DEADLINE}
    return backend.consumer(ConsumerOptions(**{**given, **options})).subscribe()


async def publish(backend: Backend, *data: bytes, stream: str = "s") -> None:
    async with backend.publisher(PublisherOptions(stream_name=stream)) as publisher:
        await publisher.publish_many((f"{stream}.x", each) for each in data)


async def lapse(backend: Backend, times: int) -> None:
    """See ack_wait run out so many times, by a message whose lease nobody keeps."""
    async with subscribe(backend, stream_name="clock", max_lease=None) as clock:
        await publish(backend, b"tick", stream="clock")
        async with asyncio.timeout(DEADLINE):
            while (await anext(clock)).metadata.num_delivered <= times:
                pass


async def test_a_slow_handler_keeps_its_message(backend: Backend):
    """A message that is held for longer than ack_wait comes to nobody else, and its ack counts."""
    async with subscribe(backend, channel_buf_size=1) as mine, subscribe(backend, channel_buf_size=1) as other:
        await publish(backend, b"slow")
        slow = await anext(mine)
        await lapse(backend, 4)
        await publish(backend, b"next")
        async with asyncio.timeout(DEADLINE):
            assert (await anext(other)).data == b"next"
        assert await slow.ack(confirm=True)
        assert (await backend.consumer_info("s", "d")).num_ack_pending == 1


async def test_a_handler_that_hangs_loses_its_message(backend: Backend):
    """After max_lease nothing is extended any more: the message comes again to another member."""
    async with subscribe(backend, max_lease=2 * ACK_WAIT, channel_buf_size=1) as mine:
        await publish(backend, b"hangs")
        await anext(mine)
        async with subscribe(backend, channel_buf_size=1) as other, asyncio.timeout(DEADLINE):
            again = await anext(other)
            assert (again.data, again.metadata.num_delivered) == (b"hangs", 2)


async def test_leases_are_kept_while_draining(backend: Backend):
    """A drain waits for a handler that works for longer than ack_wait, and its ack counts."""
    subscription = subscribe(backend)
    await publish(backend, b"slow")
    slow = await anext(subscription)
    drain = asyncio.ensure_future(subscription.drain(DEADLINE))
    await lapse(backend, 3)
    assert not drain.done()
    assert await slow.ack()
    await drain
    info = await backend.consumer_info("s", "d")
    assert (info.num_pending, info.num_ack_pending) == (0, 0)


async def test_closing_ends_it(backend: Backend):
    """A closed subscription gives back at once what it held, and leaves no task behind."""
    before = asyncio.all_tasks()
    async with subscribe(backend) as mine:
        await publish(backend, b"held")
        await anext(mine)
    assert not [task for task in asyncio.all_tasks() - before if "keep_leases" in repr(task)]
    async with subscribe(backend) as other, asyncio.timeout(DEADLINE):
        assert (await anext(other)).metadata.num_delivered == 2


async def test_a_backend_without_in_progress_refuses(backend: Backend):
    """It is refused before anything is created."""
    driver = backend._connection.driver
    driver.capabilities -= {Capability.IN_PROGRESS}
    with pytest.raises(UnsupportedError, match="in_progress"):
        await subscribe(backend).__aenter__()
    assert await driver.stream_info("s") is None
