"""Receives GitHub's web hooks and publishes each as a CloudEvent.

``uvicorn receiver:app`` serves ``POST /webhooks``.  GitHub gets its 202 when the broker has stored the event; while the
broker is away it gets a 503, and its redelivery is stored once.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from cloudevents.core.v1.event import CloudEvent
from common import STREAM, URL, plugins
from fastapi import FastAPI, HTTPException, Request

from pubsubkit import PublisherOptions, TransientError, connect

PUBLISHER = PublisherOptions(stream=STREAM, timeout=2, retry_attempts=2)


@asynccontextmanager
async def publisher(app: FastAPI) -> AsyncGenerator[None]:
    """Hold one publisher as long as the application runs."""
    async with connect(URL, plugins=plugins()) as backend, backend.publisher(PUBLISHER) as app.state.publisher:
        yield


app = FastAPI(lifespan=publisher)


@app.post("/webhooks", status_code=202)
async def receive(request: Request) -> dict[str, str]:
    """Take one delivery of a web hook."""
    try:
        event = as_event(await request.body(), request.headers["X-GitHub-Event"], request.headers["X-GitHub-Delivery"])
        await request.app.state.publisher.publish_event(event, deduplicate=True)
    except (KeyError, TypeError, ValueError) as error:  # InvalidArgumentError is a ValueError
        raise HTTPException(400, f"this is no web hook of GitHub: {error}") from error
    except TransientError as error:
        raise HTTPException(503, "the event could not be stored, deliver it again") from error
    return {"id": event.get_id()}


def as_event(body: bytes, name: str, delivery: str) -> CloudEvent:
    """Make the event; its type, ``github.issues.opened``, is also the subject under which it is published."""
    payload = json.loads(body)
    if not isinstance(payload, dict):
        raise TypeError("its body is no JSON object")
    kind = ".".join(filter(None, ("github", name, payload.get("action"))))
    source = (payload.get("repository") or {}).get("html_url") or "https://github.com"
    attributes = {"type": kind, "source": source, "id": delivery, "datacontenttype": "application/json"}
    return CloudEvent(attributes, body)
