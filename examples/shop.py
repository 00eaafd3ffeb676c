"""A web service with its worker in one process: orders are taken by HTTP, and billed by a handler.

::

    PUBSUBKIT_URL=nats://localhost:4222 uvicorn shop:app
    curl -d '{"id": 1, "amount": 5}' localhost:8000/orders

With ``memory://shop`` it needs no server.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response

from pubsubkit import Message, PublisherOptions, Retry, Worker, connect


class Bills:
    """What was billed."""

    def __init__(self) -> None:
        self.paid: dict[int, int] = {}

    async def bill(self, order: dict[str, Any]) -> None:
        """Bill an order; a handler may see one twice, so the order's number decides."""
        if order["amount"] <= 0:
            raise ValueError("nothing to bill")
        self.paid[order["id"]] = order["amount"]


def by_order(message: Message) -> str:
    """Events of one order are handled one after the other."""
    return message.subject.split(".")[1]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect, and run the worker as long as the application runs; stopping lets its handlers finish."""
    async with connect(os.environ.get("PUBSUBKIT_URL", "memory://shop")) as backend:
        app.state.bills = Bills()
        app.state.worker = worker = Worker(backend, grace=20)
        worker.add(
            app.state.bills.bill,
            stream="orders",
            subject="orders.*.created",
            durable="billing",
            concurrency=10,
            key=by_order,
            retry=Retry(max_deliver=5, backoff=(1, 10), non_retryable=(ValueError,)),
            dead_letter="orders-dead",
        )
        async with backend.publisher(PublisherOptions(stream_name="orders")) as publisher, worker:
            app.state.publisher = publisher
            yield


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=202)
async def create(order: dict[str, int], request: Request) -> dict[str, int]:
    """Take an order: it is stored when this answers."""
    data = json.dumps(order).encode()
    receipt = await request.app.state.publisher.publish(f"orders.{order['id']}.created", data)
    return {"sequence": receipt.sequence}


@app.get("/bills")
async def bills(request: Request) -> dict[int, int]:
    """Return what was billed."""
    return request.app.state.bills.paid


@app.get("/ready")
async def ready(request: Request, response: Response) -> dict[str, str]:
    """Whether orders are taken and billed."""
    health = request.app.state.worker.health()
    response.status_code = 200 if health.ready else 503
    return {"state": health.state}
