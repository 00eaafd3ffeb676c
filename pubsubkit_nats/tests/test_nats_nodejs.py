"""The official Node.js clients read what is published here, and the other way round.

``nats`` is the name that the client had until its version 2; its own README sends users on to ``@nats-io``, where all
work on it goes.  Both are in use, so both are tried.  npm installs them into a temporary directory.
"""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import pytest
from cloudevents.core.v1.event import CloudEvent
from node import Node

from pubsubkit import Backend, ConsumerOptions, Message, PublisherOptions, Storage, Subscription, connect
from pubsubkit_nats.testing import NatsServer

pytestmark = [pytest.mark.nodejs, pytest.mark.timeout(180)]

MAX_PAYLOAD = 1024 * 1024  # the server's default; headers count
FILLED = b"NATS/1.0\r\nfilled: to the brim\r\n\r\n"

OPTIONS = PublisherOptions(stream_name="s", storage=Storage.FILE)


class Sent(NamedTuple):
    data: bytes
    headers: Mapping[str, str] = MappingProxyType({})
    id: str | None = None


MESSAGES = {
    "text": Sent("Grüße, 世界 😀".encode()),
    "empty": Sent(b""),
    "every byte": Sent(bytes(range(256)) + b"\r\n\x00\r\nNATS/1.0\r\n\r\n", {"a": "b"}),
    "empty with headers": Sent(b"", {"only": "headers"}),
    "several headers": Sent(b"x", {"trace-id": "0af7651916cd43dd", "Content-Type": "text/plain", "x.y_z": "a: b, c"}),
    "names differ in case": Sent(b"x", {"name": "lower", "Name": "upper"}),
    "non-ASCII value": Sent(
        b"x", {"city": "Zürich, Ελλάδα, 東京, 😀", "odd": "a\x01\t\x0b\x0c\x1c\x7f\x85\xa0\u2028z", "empty": ""}
    ),
    "long value": Sent(b"x", {"long": "ü" * 20_000}),
    "message id": Sent(b"x", {"a": "b"}, "id with blanks, ünïcode: 1"),
    "as large as can be": Sent(bytes(n * 7 % 251 for n in range(MAX_PAYLOAD - len(FILLED))), {"filled": "to the brim"}),
}


class Peer:
    """One of the Node.js clients, connected to the server of the test."""

    def __init__(self, nodejs: Node, client: str, url: str) -> None:
        self._nodejs = nodejs
        self._command = ["peer.mjs", client, url]

    async def publish(self, **message: Any) -> dict[str, Any]:
        """Publish one message; its confirmation."""
        (confirmed,) = await self._nodejs.run([message], *self._command, "publish")
        return confirmed

    async def publish_all(self, messages: dict[str, Sent]) -> None:
        lines = (
            {"subject": "s.x", "data": b64encode(sent.data).decode(), "headers": dict(sent.headers), "id": sent.id}
            for sent in messages.values()
        )
        confirmed = await self._nodejs.run(lines, *self._command, "publish")
        assert [each["sequence"] for each in confirmed] == list(range(1, len(messages) + 1))

    async def consume(self, consumer: str, count: int) -> list[dict[str, Any]]:
        """Take and ack *count* messages of the stream ``s``."""
        return await self._nodejs.run([], *self._command, "consume", "s", consumer, str(count))

    async def publish_event(self, event: dict[str, Any], mode: str) -> None:
        (message,) = await self._nodejs.run([{"event": event, "mode": mode}], "events.mjs")
        await self.publish(subject="s.x", **message)

    async def consume_event(self) -> dict[str, Any]:
        (message,) = await self.consume("theirs", 1)
        headers = {name: value for name, (value,) in message["headers"].items()}
        (event,) = await self._nodejs.run([{"headers": headers, "data": message["data"]}], "events.mjs")
        return event


@pytest.fixture(params=["nats", "@nats-io/transport-node"])
def peer(request: pytest.FixtureRequest, nodejs: Node, server: NatsServer) -> Peer:
    """Each of the clients."""
    return Peer(nodejs, request.param, server.url)


@pytest.fixture
async def backend(server: NatsServer) -> AsyncIterator[Backend]:
    """A connection to the same server, where the stream ``s`` is in file storage."""
    async with connect(server.url) as opened:
        async with opened.publisher(OPTIONS):
            pass
        yield opened


async def take(subscription: Subscription, count: int) -> list[Message]:
    """The next *count* messages, acked and confirmed."""
    taken: list[Message] = []
    async with asyncio.timeout(20):
        while len(taken) < count:
            taken.append(await anext(subscription))
            assert await taken[-1].ack(confirm=True)
    return taken


async def test_node_reads_what_is_published_here(backend: Backend, peer: Peer):
    """Data and headers that are published here arrive in Node.js byte for byte, message ids as ``Nats-Msg-Id``."""
    async with backend.publisher(OPTIONS) as publisher:
        for sent in MESSAGES.values():
            await publisher.publish("s.x", sent.data, headers=sent.headers, message_id=sent.id)
    seen = await peer.consume("theirs", len(MESSAGES))
    for (name, sent), message in zip(MESSAGES.items(), seen, strict=True):
        wanted = {key: [value] for key, value in sent.headers.items()}
        assert message["headers"] == wanted | ({"Nats-Msg-Id": [sent.id]} if sent.id else {}), name
        assert b64decode(message["data"]) == sent.data, name
        assert message["subject"] == "s.x"


async def test_what_node_publishes_is_read_here(backend: Backend, peer: Peer):
    """Data, headers and message ids that Node.js publishes arrive here byte for byte."""
    await peer.publish_all(MESSAGES)
    async with backend.consumer(ConsumerOptions(stream_name="s")).subscribe() as messages:
        seen = await take(messages, len(MESSAGES))
    for (name, sent), message in zip(MESSAGES.items(), seen, strict=True):
        assert Sent(message.data, dict(message.headers), message.metadata.message_id) == sent, name


async def test_a_message_id_counts_for_both(backend: Backend, peer: Peer):
    """A message id that one side has published is a duplicate for the other, whichever was first."""
    async with backend.publisher(OPTIONS) as publisher:
        first = await publisher.publish("s.x", b"ours", message_id="größe 1")
        theirs = await peer.publish(subject="s.x", data="", headers={}, id="größe 1")
        assert theirs == {"stream": "s", "sequence": first.sequence, "duplicate": True}
        second = await peer.publish(subject="s.x", data="", headers={}, id="2")
        ours = await publisher.publish("s.x", b"ours", message_id="2")
        assert (ours.sequence, ours.duplicate) == (second["sequence"], True)
    assert (await backend.stream_info("s")).messages == 2


async def test_one_durable_consumer_for_both(backend: Backend, peer: Peer):
    """A durable consumer goes on where the other side has left it, whichever made it."""
    numbers = [b"%d" % number for number in range(20)]
    async with backend.publisher(OPTIONS) as publisher:
        await publisher.publish_many(("s.x", number) for number in numbers)
    seen: list[bytes] = []
    for name, ours_first in (("ours", True), ("theirs", False)):
        options = ConsumerOptions(stream_name="s", consumer_name=name, channel_buf_size=5, manage="update")
        seen.clear()
        for turn in (ours_first, not ours_first, ours_first, not ours_first):
            if turn:
                async with backend.consumer(options).subscribe() as messages:
                    seen += [message.data for message in await take(messages, 5)]
            else:
                seen += [b64decode(message["data"]) for message in await peer.consume(name, 5)]
        assert seen == numbers
        assert (await backend.consumer_info("s", name)).num_ack_pending == 0


TIME = datetime(2026, 11, 25, 18, 30, 1, 250_000, tzinfo=UTC)
ATTRIBUTES = {
    "specversion": "1.0",
    "id": "é 1%",
    "source": "/shop/1?x=%20",
    "type": "order.created",
    "subject": 'Grüße "100 %" / 東京, € 😀',
    "time": TIME,
    "dataschema": "https://example.com/schema#1",
    "datacontenttype": "application/octet-stream",
    "extension": "a=b; c%20d ü",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
IN_JSON = {**ATTRIBUTES, "time": TIME.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
DATA = bytes(range(256))
MODES = pytest.mark.parametrize("mode", ["binary", "structured"])


@MODES
async def test_node_reads_events_published_here(backend: Backend, peer: Peer, mode: Literal["binary", "structured"]):
    """An event that is published here is the same event in Node.js: all attributes, extensions, and the data."""
    async with backend.publisher(OPTIONS) as publisher:
        await publisher.publish_event(CloudEvent(ATTRIBUTES, DATA), subject="s.x", mode=mode, deduplicate=True)
    assert await peer.consume_event() == {"attributes": IN_JSON, "data": b64encode(DATA).decode()}


@MODES
async def test_events_of_node_are_read_here(backend: Backend, peer: Peer, mode: str):
    """An event that Node.js publishes is the same event here."""
    await peer.publish_event({"attributes": IN_JSON, "data": b64encode(DATA).decode()}, mode)
    async with backend.consumer(ConsumerOptions(stream_name="s")).subscribe() as messages:
        (message,) = await take(messages, 1)
    seen = message.event()
    assert seen.get_attributes() == ATTRIBUTES
    assert seen.get_data() == DATA


@MODES
async def test_json_data_of_events(backend: Backend, peer: Peer, mode: Literal["binary", "structured"]):
    """Data that are JSON values are the same values on the other side."""
    value = {"größe": [1, 2.5, None, True], "text": 'a "b" 😀'}
    attributes = {name: ATTRIBUTES[name] for name in ("id", "source", "type", "specversion")}
    async with backend.publisher(OPTIONS) as publisher:
        await publisher.publish_event(CloudEvent(attributes, value), subject="s.x", mode=mode)
    seen = await peer.consume_event()
    assert seen["attributes"]["datacontenttype"] == "application/json"
    assert json.loads(b64decode(seen["data"])) == value
