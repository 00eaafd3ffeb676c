"""One program for memory:// and NATS: which of the two it is, the environment variable PUBSUBKIT_URL alone says.

::

    python examples/orders.py
    PUBSUBKIT_URL=nats://localhost:4222 python examples/orders.py
"""

import asyncio
import json

from cloudevents.core.v1.event import CloudEvent

from pubsubkit import Backend, ConsumerOptions, PublisherOptions, connect

ORDERS = [{"order": 1, "total": 12.50}, {"order": 2, "total": 3.99}, {"order": 3, "total": 70.00}]


async def sell(backend: Backend) -> None:
    """Publish an event for each order."""
    async with backend.publisher(PublisherOptions(stream_name="shop")) as publisher:
        for order in ORDERS:
            await publisher.publish_event(CloudEvent({"type": "shop.order.created", "source": "/shop"}, order))


async def bill(backend: Backend) -> None:
    """Take as many events, each of them once."""
    consumer = backend.consumer(ConsumerOptions(stream_name="shop", consumer_name="billing"))
    async with consumer, consumer.subscribe() as messages:
        for _ in ORDERS:
            message = await anext(messages)
            order = json.loads(message.event().get_data())
            print(f"billed {order['total']:.2f} for order {order['order']}")
            await message.ack(confirm=True)


async def main() -> None:
    """Sell and bill on the broker of the environment, or else in this process."""
    async with connect("${PUBSUBKIT_URL:-memory://}") as backend:
        print(f"on {backend.address}")
        await sell(backend)
        await bill(backend)


if __name__ == "__main__":
    asyncio.run(main())
