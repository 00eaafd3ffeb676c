"""The graceful stop on both backends: verdicts after the driver's subscription was closed, and what goes back."""

import asyncio

import pytest

from pubsubkit import Backend, ConsumerOptions, Message, PublisherOptions, connect
from pubsubkit_nats.testing import NatsServer

DEADLINE = 10.0
OPTIONS = ConsumerOptions(stream_name="s", consumer_name="d", ack_wait=60)


@pytest.fixture
async def backend(backend: Backend) -> Backend:
    """An open backend with twenty messages in the stream s."""
    await stock(backend)
    return backend


async def stock(backend: Backend) -> None:
    async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
        await publisher.publish_many(("s.x", b"%d" % number) for number in range(20))


async def pending(backend: Backend) -> tuple[int, int]:
    """How many messages the broker has before the consumer, and how many are without a verdict."""
    info = await backend.consumer_info("s", "d")
    return info.num_pending, info.num_ack_pending


async def becomes(backend: Backend, wanted: tuple[int, int]) -> None:
    async with asyncio.timeout(DEADLINE):
        while await pending(backend) != wanted:
            await asyncio.sleep(0.01)


async def test_verdicts_while_draining_reach_the_broker(backend: Backend):
    """Unread messages go to another member at once, while verdicts on the others are still given, and count."""
    subscription = backend.consumer(OPTIONS).subscribe()
    acked, confirmed, termed, working = [await anext(subscription) for _ in range(4)]
    drain = asyncio.ensure_future(subscription.drain(DEADLINE))
    async with asyncio.timeout(DEADLINE), backend.consumer(OPTIONS).subscribe() as others:
        assert [(await anext(others)).data for _ in range(16)] == [b"%d" % number for number in range(4, 20)]
        assert await acked.ack()
        assert await confirmed.ack(confirm=True)
        assert await termed.term("why")
        assert await working.in_progress()
        assert not drain.done()
        assert await working.ack()
        await drain
        assert await anext(subscription, None) is None
        await becomes(backend, (0, 16))


async def test_a_nak_while_draining_goes_to_another_member(backend: Backend):
    """A message that is nak'ed while draining is delivered again at once, to somebody else."""
    subscription = backend.consumer(OPTIONS).subscribe()
    message = await anext(subscription)
    drain = asyncio.ensure_future(subscription.drain(DEADLINE))
    async with asyncio.timeout(DEADLINE), backend.consumer(OPTIONS).subscribe() as others:
        await anext(others)
        assert await message.nak()
        await drain
        numbers = {}
        while b"0" not in numbers:
            again = await anext(others)
            numbers[again.data] = again.metadata.num_delivered
        assert numbers[b"0"] == 2


async def test_what_is_late_comes_again(backend: Backend):
    """What has no verdict at the end of the timeout comes again at once, in order, and its verdict is void."""
    subscription = backend.consumer(OPTIONS).subscribe()
    late = [await anext(subscription) for _ in range(3)]
    async with asyncio.timeout(DEADLINE):
        await subscription.drain(0.1)
        assert [await message.ack() for message in late] == [False] * 3
        async with backend.consumer(OPTIONS).subscribe() as others:
            again = [await anext(others) for _ in range(20)]
    assert sorted((message.data for message in again), key=int) == [b"%d" % number for number in range(20)]
    assert all(message.metadata.num_delivered == 2 for message in again if message.data in (b"0", b"1", b"2"))


async def test_an_ephemeral_consumer_takes_verdicts_until_the_end(backend: Backend):
    """While an ephemeral consumer drains it is there for confirmed acks."""
    consumer = backend.consumer(ConsumerOptions(stream_name="s", ack_wait=60))
    subscription = consumer.subscribe()
    message = await anext(subscription)
    drain = asyncio.ensure_future(subscription.drain(DEADLINE))
    async with asyncio.timeout(DEADLINE):
        while (await backend.health()).consuming:
            await asyncio.sleep(0.01)
        assert await message.ack(confirm=True)
        await drain


async def test_aclose_of_the_backend_ends_a_drain(backend: Backend):
    """Closing the backend does not wait for a drain's timeout."""
    subscription = backend.consumer(OPTIONS).subscribe()
    message = await anext(subscription)
    drain = asyncio.ensure_future(subscription.drain(600))
    await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE):
        await backend.aclose()
        await drain
    assert not await message.ack()


async def test_handlers_in_tasks_finish_their_work(backend: Backend):
    """A pool of handlers loses no work to a stop: what it acks while draining is acked for good."""
    done: list[bytes] = []
    started = asyncio.Event()

    async def handle(message: Message) -> None:
        started.set()
        await asyncio.sleep(0.05)
        if await message.ack():
            done.append(message.data)

    async with asyncio.timeout(DEADLINE), backend.consumer(OPTIONS).subscribe() as subscription:
        stopping = asyncio.ensure_future(started.wait())
        stopping.add_done_callback(lambda _: asyncio.ensure_future(subscription.drain()))
        async with asyncio.TaskGroup() as tasks:
            async for message in subscription:
                tasks.create_task(handle(message))
    assert done
    async with asyncio.timeout(DEADLINE), backend.consumer(OPTIONS).subscribe() as others:
        left = [(await anext(others)).data for _ in range(20 - len(done))]
    assert sorted(done + left, key=int) == [b"%d" % number for number in range(20)]


@pytest.mark.parametrize("how", ["crash", "freeze"])
async def test_draining_when_the_server_is_gone(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
):
    """Draining is bounded in time when the server was killed, and when it hangs."""
    monkeypatch.setattr("pubsubkit.subscription._CLOSE_SECONDS", 0.3)
    async with connect(server.url) as backend:
        await stock(backend)
        subscription = backend.consumer(OPTIONS).subscribe()
        message = await anext(subscription)
        if how == "crash":
            await server.stop(crash=True)
        else:
            server.pause()
        async with asyncio.timeout(DEADLINE):
            await subscription.drain(0.3)
        assert "without the broker" in caplog.text
        assert not await message.ack()
        if how == "freeze":
            server.resume()


async def test_a_drain_over_a_restart_of_the_server(server: NatsServer):
    """A verdict that is given when the connection is there again counts: the message does not come again."""
    options = ConsumerOptions(stream_name="f", consumer_name="d", storage="file", ack_wait=60)  # type: ignore[arg-type]
    async with connect(f"{server.url}?reconnect_wait=20ms") as backend:
        async with backend.publisher(PublisherOptions(stream_name="f", storage="file")) as publisher:  # type: ignore[arg-type]
            await publisher.publish("f.x", b"")
        subscription = backend.consumer(options).subscribe()
        message = await anext(subscription)
        drain = asyncio.ensure_future(subscription.drain(DEADLINE))
        await server.restart()
        async with asyncio.timeout(DEADLINE):
            while not (await backend.health()).connected:
                await asyncio.sleep(0.01)
            assert await message.ack(confirm=True)
            await drain
        info = await backend.consumer_info("f", "d")
    assert (info.num_pending, info.num_ack_pending) == (0, 0)
