"""The whole flow of a service on a real server, option by option."""

import asyncio
import json

import pytest

from pubsubkit import (
    ConsumerOptions,
    Message,
    NotFoundError,
    PublisherOptions,
    Storage,
    TransientError,
    connect,
    open_backend,
)
from pubsubkit_nats.testing import NatsServer


async def test_a_delivery_service(server: NatsServer):
    """Publish under a prefix with metrics, deliver through a durable consumer: ack what succeeds, nak what fails."""
    metrics: list[tuple[str, BaseException | None, float]] = []
    delivered: list[str] = []
    failed_once: set[str] = set()

    async def deliver(message: Message) -> None:
        task = json.loads(message.data)["id"]
        if task == "doc124" and task not in failed_once:
            failed_once.add(task)
            raise ConnectionError("the receiver is down")
        delivered.append(task)

    async with connect(server.url) as backend:
        publishing = PublisherOptions(
            stream_name="TRIGGERS", subject_prefix="TRIGGERS", on_publish=lambda *args: metrics.append(args)
        )
        async with backend.publisher(publishing) as publisher:
            for number in (123, 124, 125):
                await publisher.publish(f"db1.users.doc{number}", json.dumps({"id": f"doc{number}"}).encode())
        consuming = ConsumerOptions(
            stream_name="TRIGGERS", consumer_name="delivery-worker", filter_subject="TRIGGERS.>", channel_buf_size=100
        )
        async with backend.consumer(consuming) as consumer, consumer.subscribe() as messages, asyncio.timeout(10):
            async for message in messages:
                try:
                    await deliver(message)
                except ConnectionError:
                    await message.nak()
                else:
                    await message.ack()
                if len(delivered) == 3:
                    break
        stream = (await backend.stream_info("TRIGGERS")).options
        consumer_spec = (await backend.consumer_info("TRIGGERS", "delivery-worker")).spec
    assert sorted(delivered) == ["doc123", "doc124", "doc125"]
    assert [(subject, error) for subject, error, _ in metrics] == [
        (f"TRIGGERS.db1.users.doc{number}", None) for number in (123, 124, 125)
    ]
    assert all(0 < latency < 5 for _, _, latency in metrics)
    assert (stream.subjects, stream.storage) == (("TRIGGERS.>",), Storage.MEMORY)
    assert (consumer_spec.durable, consumer_spec.filter_subject) == (True, "TRIGGERS.>")


async def test_the_consumer_acks_explicitly_and_is_kept(server: NatsServer):
    """The durable consumer has the explicit ack policy and limits retention, and outlives the connection."""
    async with connect(server.url) as backend:
        async with backend.consumer(ConsumerOptions(stream_name="S", consumer_name="worker")):
            pass
    async with connect(server.url) as backend:
        context = backend.native.jetstream()  # type: ignore[attr-defined]
        assert (await context.consumer_info("S", "worker")).config.ack_policy == "explicit"
        assert (await context.stream_info("S")).config.retention == "limits"


async def test_competing_processes_scale(server: NatsServer):
    """Members of one durable on connections of their own share the messages; each message goes to one of them."""
    async with connect(server.url) as one, connect(server.url) as two:
        async with one.publisher(PublisherOptions(stream_name="S")) as publisher:
            await publisher.publish_many(("S.x", b"%d" % number) for number in range(100))
        got: list[tuple[int, bytes]] = []
        options = ConsumerOptions(stream_name="S", consumer_name="pool", channel_buf_size=5)
        members = [backend.consumer(options).subscribe() for backend in (one, two)]

        async def work(number: int) -> None:
            async for message in members[number]:
                got.append((number, message.data))
                await message.ack()
                await asyncio.sleep(0)
                if len(got) == 100:
                    await asyncio.gather(*(member.aclose() for member in members))

        async with asyncio.timeout(20):
            await asyncio.gather(work(0), work(1))
    assert sorted(data for _, data in got) == sorted(b"%d" % number for number in range(100))
    assert {number for number, _ in got} == {0, 1}


async def test_errors_carry_their_context(server: NatsServer):
    """A timeout names the subject and the broker; a missing stream and a lost connection have their own classes."""
    backend = await open_backend(f"{server.url}?reconnect_wait=20ms")
    publisher = backend.publisher(PublisherOptions(stream_name="S", timeout=0.2))
    await publisher.publish("S.x", b"")
    with pytest.raises(NotFoundError, match="no stream 'other'"):
        await backend.stream_info("other")
    server.pause()
    with pytest.raises(TransientError, match=r"0\.2 s"):
        while True:  # until the server is really frozen
            await publisher.publish("S.x", b"")
    server.resume()
    await server.stop(crash=True)
    with pytest.raises(TransientError):
        await publisher.publish("S.x", b"")
    await backend.aclose()
