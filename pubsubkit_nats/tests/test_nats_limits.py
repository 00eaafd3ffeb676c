"""Refusals, limits and other people's settings."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import pytest

from pubsubkit import (
    Backend,
    ConfigurationError,
    ConflictError,
    ConsumerOptions,
    PermissionDeniedError,
    PublisherOptions,
    PublishReceipt,
    StreamOptions,
    connect,
)
from pubsubkit.driver import OutgoingMessage
from pubsubkit_nats import codec
from pubsubkit_nats.delivery import NatsDelivery
from pubsubkit_nats.testing import NatsServer

MEMORY = PublisherOptions(stream_name="s")
ONCE = ConsumerOptions(stream_name="s", consumer_name="d", max_deliver=1)


def denying(*subjects: str, kind: str = "publish") -> str:
    users = f"{{ user: u, password: p, permissions: {{ {kind}: {{ deny: {json.dumps(subjects)} }} }} }}"
    return f"authorization {{ users: [ {{ user: a, password: p }}, {users} ] }}"


def address(server: NatsServer, user: str = "u") -> str:
    return f"nats://{user}:p@{server.address}"


async def api(backend: Backend, subject: str, body: object = None) -> dict[str, Any]:
    return await backend._driver._link.ask(subject, body, "test")  # type: ignore[attr-defined]


async def make_consumer(backend: Backend, **config: object) -> None:
    base = {"name": "d", "durable_name": "d", "ack_policy": "explicit", "ack_wait": 30 * 10**9, "max_ack_pending": 1000}
    await api(backend, "CONSUMER.CREATE.s.d", {"stream_name": "s", "config": {**base, **config}})


async def config_of(backend: Backend) -> dict[str, Any]:
    return (await api(backend, "CONSUMER.INFO.s.d"))["config"]


async def test_refusals_come_at_once(tmp_path: Path):
    """What the server refuses fails when it says so, not when the time is over."""
    async with NatsServer(tmp_path, denying("s.no", "$JS.API.INFO", "$JS.API.STREAM.DELETE.s")) as server:
        async with asyncio.timeout(2), connect(address(server)) as backend, backend.publisher(MEMORY) as publisher:
            with pytest.raises(PermissionDeniedError, match=r"s\.no"):
                await publisher.publish("s.no", b"x")
            with pytest.raises(PermissionDeniedError, match=r"STREAM\.DELETE\.s"):
                await backend.delete_stream("s")


async def test_no_inbox(tmp_path: Path):
    """An account that may not listen for answers is told so when it connects."""
    async with NatsServer(tmp_path, denying("_INBOX.>", kind="subscribe")) as server, asyncio.timeout(2):
        with pytest.raises(PermissionDeniedError, match="inbox"):
            await connect(address(server)).open()


async def test_one_deadline_for_opening(tmp_path: Path):
    """A JetStream that does not answer costs no more than the connect timeout."""
    async with NatsServer(tmp_path, "authorization { user: u, password: p }") as server:
        backend = connect(f"{address(server)}?connect_timeout=300ms")
        link = backend._driver._link  # type: ignore[attr-defined]
        link.call = lambda *_: asyncio.sleep(60)
        async with asyncio.timeout(2):
            with pytest.raises(Exception, match=r"0\.3 s"):
                await backend.open()


@pytest.mark.parametrize("given", [False, True], ids=["own", "given"])
async def test_pulls_that_are_refused(tmp_path: Path, given: bool):
    """An account that may not pull gets an error, it never waits for ever."""
    from pubsubkit_nats import NatsBackend

    async with NatsServer(tmp_path, denying("$JS.API.CONSUMER.MSG.NEXT.>")) as server:
        client = await nats.connect(address(server), error_cb=ignore)
        async with NatsBackend(client) if given else connect(address(server)) as backend, backend.publisher(MEMORY):
            async with backend.consumer(ONCE).subscribe() as messages, asyncio.timeout(2):
                with pytest.raises(PermissionDeniedError, match=r"MSG\.NEXT\.s\.d"):
                    await anext(messages)
        await client.close()


async def ignore(_: Exception) -> None:
    """An error callback of the caller's."""


async def test_pulls_beyond_the_consumers_limit(server: NatsServer):
    """A consumer whose own limit is below the buffer's size is a ConfigurationError that names the limit."""
    async with connect(server.url) as backend, backend.publisher(MEMORY):
        await make_consumer(backend, max_batch=10)
        options = ConsumerOptions(stream_name="s", consumer_name="d")
        async with backend.consumer(options).subscribe() as messages, asyncio.timeout(2):
            with pytest.raises(ConfigurationError, match="MaxRequestBatch of 10"):
                await anext(messages)


async def test_receipts_are_never_lost(tmp_path: Path):
    """When it cannot be found out why nobody took a message, the others of the batch keep their receipts."""
    async with NatsServer(tmp_path, denying("$JS.API.STREAM.NAMES")) as server:
        async with connect(address(server)) as backend, backend.publisher(MEMORY):
            batch = [OutgoingMessage("s.x", b"1"), OutgoingMessage("gone.x", b"2"), OutgoingMessage("s.x", b"3")]
            async with asyncio.timeout(2):
                outcomes = await backend._driver.send(batch, 0.5)
    assert [isinstance(outcome, PublishReceipt) for outcome in outcomes] == [True, False, True]


async def test_somebody_else_answers(server: NatsServer):
    """An answer that is no confirmation is ignored; the stream's own counts."""
    async with connect(server.url) as backend, backend.publisher(MEMORY) as publisher:
        await publisher.publish("s.x", b"0")
        pipe = backend._driver._pipe  # type: ignore[attr-defined]
        client = backend.native
        sending = asyncio.ensure_future(publisher.publish("s.x", b"1"))
        for answer in (b"OK", b"[]", b"{}", b"", b'{"error": 1}'):
            await client.publish(f"{pipe._prefix}{pipe._next}", answer)  # type: ignore[attr-defined]
        assert (await sending).sequence == 2
        assert (await publisher.publish("s.x", b"2")).sequence == 3


async def test_giving_back_without_raising_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Messages are given back at once, also when max_deliver cannot be raised for the unseen ones."""
    async with NatsServer(tmp_path, denying("$JS.API.CONSUMER.CREATE.>")) as server:
        options = replace(ONCE, max_deliver=2)
        async with connect(address(server, "a")) as admin, admin.publisher(MEMORY) as publisher:
            async with admin.consumer(options):
                await publisher.publish_many(("s.x", b"%d" % number) for number in range(4))
            async with connect(address(server)) as backend:
                member = backend.consumer(replace(options, manage="none")).subscribe()
                await anext(member)
                while len(member._inner._buffer) < 3:  # type: ignore[union-attr]
                    await asyncio.sleep(0.005)
                # As if it were the last chance of the unseen messages.
                member._inner._spec = replace(member._inner._spec, max_deliver=1)  # type: ignore[union-attr]
                member._inner._manager.allow_deliveries = lambda *_: asyncio.sleep(60)  # type: ignore[union-attr]
                monkeypatch.setattr("pubsubkit_nats.pull._RAISE_SECONDS", 0.2)
                async with asyncio.timeout(0.9):
                    await member.aclose()
            async with admin.consumer(options).subscribe() as messages, asyncio.timeout(2):
                assert {(await anext(messages)).data for _ in range(4)} == {b"0", b"1", b"2", b"3"}


async def test_a_raised_limit_lives_through_updates(server: NatsServer):
    """An update with the same number keeps what was raised, one with another number sets it; metadata is merged."""
    async with connect(server.url) as backend, backend.publisher(MEMORY) as publisher:
        await make_consumer(backend, max_deliver=1, metadata={"team": "ops"})
        await publisher.publish_many(("s.x", b"%d" % number) for number in range(3))
        async with backend.consumer(ONCE).subscribe() as messages:
            await (await anext(messages)).ack()
        assert (await config_of(backend))["max_deliver"] == 2
        assert (await backend.consumer_info("s", "d")).spec.max_deliver == 1
        async with backend.consumer(replace(ONCE, ack_wait=20, manage="update")).subscribe() as messages:
            config = await config_of(backend)
            assert (config["max_deliver"], config["metadata"]["team"]) == (2, "ops")
            async with asyncio.timeout(2):
                assert (await anext(messages)).data == b"1"
        async with backend.consumer(replace(ONCE, ack_wait=20, max_deliver=5, manage="update")):
            assert (await config_of(backend))["max_deliver"] == 5
        assert (await backend.consumer_info("s", "d")).spec.max_deliver == 5


async def test_a_limit_that_the_operator_changed(server: NatsServer):
    """A max_deliver that somebody else set is shown as it is."""
    async with connect(server.url) as backend, backend.publisher(MEMORY):
        async with backend.consumer(ONCE):
            config = await config_of(backend)
        await api(backend, "CONSUMER.CREATE.s.d", {"stream_name": "s", "config": {**config, "max_deliver": 10}})
        assert (await backend.consumer_info("s", "d")).spec.max_deliver == 10
        with pytest.raises(ConflictError, match="max_deliver"):
            await backend.consumer(ONCE).__aenter__()


async def test_several_filters_become_one_or_none(server: NatsServer):
    """A consumer with filter_subjects can be updated to one filter and to none."""
    async with connect(server.url) as backend, backend.publisher(MEMORY):
        await make_consumer(backend, filter_subjects=["s.a", "s.b"])
        options = ConsumerOptions(stream_name="s", consumer_name="d", manage="update")
        for pattern in ("s.a", ""):
            async with backend.consumer(replace(options, filter_subject=pattern)):
                config = await config_of(backend)
                assert (config.get("filter_subject", ""), config.get("filter_subjects")) == (pattern, None)


async def test_updates_leave_the_retention_alone(server: NatsServer):
    """A work queue of the operator's can be widened, and stays one."""
    async with connect(server.url) as backend:
        await api(backend, "STREAM.CREATE.s", {"name": "s", "subjects": ["s.>"], "retention": "workqueue"})
        await backend.ensure_stream(StreamOptions(name="s", subjects=("s.>", "t.>")), manage="update")
        config = (await api(backend, "STREAM.INFO.s"))["config"]
    assert (config["retention"], set(config["subjects"])) == ("workqueue", {"s.>", "t.>"})


async def test_a_mirror_holds_no_subjects(server: NatsServer):
    """A mirror does not pass for a stream that can be published to; it can be consumed."""
    async with connect(server.url) as backend, backend.publisher(MEMORY) as publisher:
        await publisher.publish("s.x", b"x")
        await api(backend, "STREAM.CREATE.m", {"name": "m", "mirror": {"name": "s"}, "storage": "memory"})
        assert (await backend.stream_info("m")).options.subjects == ()
        with pytest.raises(ConflictError):
            await backend.publisher(PublisherOptions(stream_name="m")).__aenter__()
        async with backend.consumer(ConsumerOptions(stream_name="m")).subscribe() as messages, asyncio.timeout(2):
            assert (await anext(messages)).data == b"x"


def test_headers_of_fast_mail_parser():
    """Header values that come as lists are text all the same."""
    headers = {"X": ["1", "2"], "Nats-Msg-Id": ["i"], "Nats-Other": ["o"]}
    delivery = NatsDelivery("s.x", "$JS.ACK.s.d.1.7.1.1700000000000000000.0", b"", headers, None, None)  # type: ignore[arg-type]
    assert (dict(delivery.headers), delivery.metadata.message_id) == ({"X": "2"}, "i")
    assert codec.header_text("plain") == "plain"
