"""Tells a chat of every event: ``pubsubkit run notify:worker``.  The chat is not always well."""

import json
import os
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from cloudevents.core.v1.event import CloudEvent
from common import STREAM, URL, plugins

from pubsubkit import Message, Reject, Retry, RetryAfter, Worker

CHAT = os.environ.get("CHAT", "http://127.0.0.1:8065/hooks/github")
TRIES = Retry(max_deliver=6, backoff=(0.1, 0.2, 0.4))

worker = Worker(URL, plugins=plugins())


def repository(message: Message) -> str | None:
    """Events of one repository are told in their order."""
    return message.headers.get("ce-source")


@worker.handler(
    stream=STREAM, durable="notify", concurrency=8, key=repository, timeout=10, retry=TRIES, dead_letter="github-dead",
    ack_wait=float(os.environ.get("ACK_WAIT", "30")),
)  # fmt: skip
def notify(event: CloudEvent) -> None:
    """Tell the chat.  What it refuses is a dead letter at once, what it cannot take now comes again."""
    body = json.dumps({"text": f"{event.get_type()} in {event.get_source()}"}).encode()
    request = Request(CHAT, body, {"Content-Type": "application/json", "Idempotency-Key": event.get_id()})  # noqa: S310
    try:
        urlopen(request, timeout=5).close()  # noqa: S310
    except HTTPError as error:
        with error:
            if error.code == 429:
                raise RetryAfter(float(error.headers.get("Retry-After", 1))) from error
            if error.code < 500:
                raise Reject(f"the chat refuses it: {error.code} {error.reason}") from error
        raise
