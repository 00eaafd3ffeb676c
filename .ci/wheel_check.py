"""Open memory://, nats:// and nats+embedded:// with the installed wheels and move one message through each."""

import asyncio
import sys
import tempfile
from pathlib import Path

from pubsubkit import ConsumerOptions, PublisherOptions, connect
from pubsubkit_nats.testing import NatsServer


async def roundtrip(url: str) -> None:
    async with connect(url) as backend:
        async with backend.publisher(PublisherOptions(stream_name="check")) as publisher:
            await publisher.publish("check.one", b"hello")
        async with backend.consumer(ConsumerOptions(stream_name="check", consumer_name="c")).subscribe() as messages:
            message = await anext(messages)
            assert message.data == b"hello"
            assert await message.ack(confirm=True)
    sys.stdout.write(f"ok: {url.partition('://')[0]}://\n")


async def main() -> None:
    await roundtrip("memory://")
    with tempfile.TemporaryDirectory() as folder:
        async with NatsServer(Path(folder)) as server:
            await roundtrip(server.url)
        await roundtrip(f"nats+embedded://{folder}/store")


asyncio.run(main())
