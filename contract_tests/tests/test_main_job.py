"""The main job on real input: publish events, read half, stop, restart the broker, read exactly the rest."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from github_events import Event, read_events

from pubsubkit import Backend, ConsumerOptions, PublisherOptions, PublishReceipt, Storage, Subscription, connect
from pubsubkit_nats.testing import NatsServer

WORKER = ConsumerOptions(stream_name="github", consumer_name="worker", ack_wait=30)


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """Subjects and payloads, in the order of the file."""
    return read_events()


@pytest.fixture(params=["memory", "nats"])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, NatsServer | None]]:
    """A URL and, for NATS, the server behind it."""
    if request.param == "memory":
        yield f"memory://{tmp_path.name.lower().replace('_', '-')}", None
        return
    async with NatsServer(tmp_path) as server:
        yield server.url, server


async def publish(backend: Backend, events: list[Event]) -> list[PublishReceipt]:
    options = PublisherOptions(stream_name="github", storage=Storage.FILE, retry_attempts=5)
    async with backend.publisher(options) as publisher:
        return await publisher.publish_many(events)


async def take(messages: Subscription, count: int) -> list[Event]:
    got: list[Event] = []
    async with asyncio.timeout(30):
        while len(got) < count:
            message = await anext(messages)
            got.append((message.subject, message.data))
            await message.ack(confirm=True)
    return got


async def test_half_then_restart_then_the_rest(events: list[Event], broker: tuple[str, NatsServer | None]):
    """A durable consumer reads half and stops; after a broker restart a second run reads exactly the rest, in order."""
    url, server = broker
    half = len(events) // 2
    async with connect(url) as backend:
        receipts = await publish(backend, events)
        assert [receipt.sequence for receipt in receipts] == list(range(1, len(events) + 1))
        async with backend.consumer(WORKER).subscribe() as messages:
            first = await take(messages, half)
    if server is not None:
        await server.restart()
    async with connect(url) as backend, backend.consumer(WORKER).subscribe() as messages:
        second = await take(messages, len(events) - half)
        info = await backend.consumer_info("github", "worker")
    assert first + second == events
    assert (info.num_pending, info.num_ack_pending) == (0, 0)


async def test_nak_and_term(events: list[Event], broker: tuple[str, NatsServer | None]):
    """Of the real events every tenth is nak'ed once and every seventh terminated: just the former come again, once."""
    url, _ = broker
    deliveries: dict[int, list[int]] = {}
    async with connect(url) as backend:
        await publish(backend, events)
        async with backend.consumer(WORKER).subscribe() as messages, asyncio.timeout(30):
            settled = 0
            while settled < len(events):
                message = await anext(messages)
                meta = message.metadata
                deliveries.setdefault(meta.sequence, []).append(meta.num_delivered)
                if meta.sequence % 10 == 0 and meta.num_delivered == 1:
                    await message.nak()
                    continue
                settled += 1
                await (message.term("every seventh") if meta.sequence % 7 == 0 else message.ack())
        info = await backend.consumer_info("github", "worker")
    expected = {number: [1, 2] if number % 10 == 0 else [1] for number in range(1, len(events) + 1)}
    assert deliveries == expected
    assert (info.num_pending, info.num_ack_pending) == (0, 0)


async def test_two_services_with_filters(events: list[Event], broker: tuple[str, NatsServer | None]):
    """Two durable consumers with filters each get exactly the events of their subjects."""
    url, _ = broker
    async with connect(url) as backend:
        await publish(backend, events)
        for kind in ("issues", "pull_request"):
            wanted = [event for event in events if event[0].startswith(f"github.{kind}.")]
            options = ConsumerOptions(
                stream_name="github", consumer_name=kind, filter_subject=f"github.{kind}.>", channel_buf_size=7
            )
            async with backend.consumer(options).subscribe() as messages:
                assert await take(messages, len(wanted)) == wanted
            assert (await backend.consumer_info("github", kind)).num_pending == 0
