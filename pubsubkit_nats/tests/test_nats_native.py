"""JetStream's own settings of streams, consumers and messages, and who may not have them."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pubsubkit import (
    Backend,
    ConfigurationError,
    ConflictError,
    ConsumerOptions,
    InvalidArgumentError,
    NotFoundError,
    Publisher,
    PublisherOptions,
    PublishReceipt,
    StreamOptions,
    UnsupportedError,
    connect,
)
from pubsubkit.native import differences, merged
from pubsubkit_nats import native
from pubsubkit_nats.testing import NatsServer

DURABLE = ConsumerOptions(stream_name="s", consumer_name="d")
STREAM_SETTINGS: dict[str, Any] = {
    "allow_direct": True,
    "compression": "s2",
    "consumer_limits": {"max_ack_pending": 2000},
    "deny_delete": True,
    "description": "orders of the shop",
    "max_consumers": 7,
    "max_msgs_per_subject": 5,
    "metadata": {"team": "ops"},
    "placement": {"tags": ["ssd"]},
    "republish": {"src": "s.>", "dest": "copy.s.>"},
    "subject_transform": {"src": "s.a", "dest": "s.b"},
}
CONSUMER_SETTINGS: dict[str, Any] = {
    "description": "bills",
    "inactive_threshold": 3600 * 10**9,
    "max_waiting": 100,
    "mem_storage": True,
    "metadata": {"team": "billing"},
    "num_replicas": 1,
    "sample_freq": "50",
}


@pytest.fixture
async def backend(server: NatsServer) -> AsyncIterator[Backend]:
    """A backend on a server of the test's own."""
    async with connect(server.url) as opened:
        yield opened


def stream(**settings: Any) -> StreamOptions:
    return StreamOptions(name="s", native=settings)


async def publisher(backend: Backend, **settings: Any) -> Publisher:
    return await backend.publisher(PublisherOptions(stream=stream(**settings))).__aenter__()


async def api(backend: Backend, subject: str, body: object = None) -> dict[str, Any]:
    return await backend._driver._link.ask(subject, body, "test")  # type: ignore[attr-defined]


async def emptied(backend: Backend) -> None:
    async with asyncio.timeout(5):
        while (await backend.stream_info("s")).messages:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("name", STREAM_SETTINGS)
async def test_settings_of_a_stream(backend: Backend, name: str):
    """A stream is created with each setting, says so, and is the same stream when it is opened again."""
    wanted = stream(**{name: STREAM_SETTINGS[name]})
    first = await backend.ensure_stream(wanted)
    assert await backend.ensure_stream(wanted) == first
    assert differences(wanted.native, (await backend.stream_info("s")).native) == []
    assert differences(wanted.native, (await api(backend, "STREAM.INFO.s"))["config"]) == []


async def test_settings_of_a_consumer(backend: Backend):
    """A durable is created with all settings beside the library's own, and is the same when it is opened again."""
    async with await publisher(backend):
        options = replace(DURABLE, max_deliver=3, native=CONSUMER_SETTINGS)
        async with backend.consumer(options), backend.consumer(options):
            found = (await backend.consumer_info("s", "d")).native
        own = {"metadata": {"pubsubkit-max-deliver": "3"}}
        assert differences(merged(CONSUMER_SETTINGS, own), found) == []
        async with backend.consumer(replace(DURABLE, consumer_name="", native=CONSUMER_SETTINGS)).subscribe() as member:
            name = member._inner._spec.name  # type: ignore[union-attr]
            found = (await backend.consumer_info("s", name)).native
    assert differences(CONSUMER_SETTINGS, found) == []


async def test_a_consumer_is_updated(backend: Backend):
    """Another value is a conflict with a diff; "update" changes it, and keeps what the operator has added."""
    async with await publisher(backend):
        async with backend.consumer(replace(DURABLE, max_deliver=3, native={"metadata": {"team": "ops"}})):
            config = (await api(backend, "CONSUMER.INFO.s.d"))["config"]
            changed = {**config, "description": "the operator's", "metadata": {**config["metadata"], "cost": "low"}}
            await api(backend, "CONSUMER.CREATE.s.d", {"stream_name": "s", "config": changed, "action": "update"})
        options = replace(DURABLE, max_deliver=3, native={"metadata": {"team": "dev"}})
        with pytest.raises(ConflictError, match=r"\n- metadata\.team: 'ops' -> 'dev'$"):
            await backend.consumer(options).__aenter__()
        async with backend.consumer(replace(options, manage="update")):
            found = (await backend.consumer_info("s", "d")).native
        assert (found["description"], found["max_deliver"]) == ("the operator's", 3)
        assert {"team": "dev", "cost": "low"}.items() <= found["metadata"].items()


async def test_what_the_operator_changed_is_kept(backend: Backend):
    """Opening again, and an update that widens, leave every setting alone that they do not name."""
    await backend.ensure_stream(StreamOptions(name="s", max_messages=10, native={"metadata": {"team": "ops"}}))
    config = (await api(backend, "STREAM.INFO.s"))["config"]
    operators = {**STREAM_SETTINGS, "max_age": 3600 * 10**9, "metadata": {"team": "ops", "cost": "low"}}
    await api(backend, "STREAM.UPDATE.s", {**config, **operators})
    before = (await backend.stream_info("s")).native
    await (await publisher(backend)).aclose()
    async with backend.consumer(ConsumerOptions(stream_name="s", filter_subject="s.a")).subscribe():
        assert (await backend.stream_info("s")).native == before
    wider = StreamOptions(name="s", subjects=("t",), max_messages=20, native={"metadata": {"team": "dev"}})
    await backend.ensure_stream(wider, manage="update")
    metadata = {**before["metadata"], "team": "dev"}
    expected = {**before, "subjects": ["s.>", "t"], "max_msgs": 20, "metadata": metadata}
    assert (await backend.stream_info("s")).native == expected


@pytest.mark.parametrize(
    ("setting", "value", "diff"),
    [
        ("retention", "interest", "'limits' -> 'interest'"),
        ("retention", "workqueue", "'limits' -> 'workqueue'"),
        ("max_msgs_per_subject", 4, "5 -> 4"),
        ("first_seq", 9, "None -> 9"),
    ],
)
async def test_an_update_never_loses_messages(backend: Backend, setting: str, value: object, diff: str):
    """manage='update' refuses a setting that could delete messages, and changes nothing else either."""
    await backend.ensure_stream(stream(max_msgs_per_subject=5))
    before = (await backend.stream_info("s")).native
    wanted = replace(stream(**{setting: value}), subjects=("s.>", "t"))
    for manage in ("create", "update"):
        with pytest.raises(ConflictError, match=rf"\n- {setting}: {diff}$"):
            await backend.ensure_stream(wanted, manage=manage)  # type: ignore[arg-type]
    assert (await backend.stream_info("s")).native == before


async def test_more_messages_per_subject(backend: Backend):
    """manage='update' raises max_msgs_per_subject."""
    await backend.ensure_stream(stream(max_msgs_per_subject=5))
    await backend.ensure_stream(stream(max_msgs_per_subject=6), manage="update")
    assert (await backend.stream_info("s")).native["max_msgs_per_subject"] == 6
    await backend.ensure_stream(stream(max_msgs_per_subject=-1), manage="update")
    assert (await backend.stream_info("s")).native["max_msgs_per_subject"] == -1


@pytest.mark.parametrize("settings", [{"compresion": "s2"}, {"placement": {"tag": ["ssd"]}}])
@pytest.mark.parametrize("strict", [True, False])
async def test_a_misspelt_setting_of_a_stream(tmp_path: Path, strict: bool, settings: dict[str, Any]):
    """A setting that the server does not know is an error, also from a server that says nothing of it."""
    async with NatsServer(tmp_path, jetstream_config(tmp_path, strict=strict), jetstream=False) as server:
        async with connect(server.url) as backend:
            with pytest.raises(InvalidArgumentError, match=r"(?s)create stream 's': .*\b(compresion|tag)\b"):
                await backend.ensure_stream(stream(**settings))
            await backend.ensure_stream(stream())
            with pytest.raises(InvalidArgumentError, match=r"(?s)update stream 's': .*\b(compresion|tag)\b"):
                await backend.ensure_stream(stream(**settings), manage="update")


@pytest.mark.parametrize("name", ["", "d"])
@pytest.mark.parametrize("strict", [True, False])
async def test_a_misspelt_setting_of_a_consumer(tmp_path: Path, strict: bool, name: str):
    """The same for durable and ephemeral consumers."""
    options = ConsumerOptions(stream_name="s", consumer_name=name, native={"metdata": {"a": "b"}})
    async with NatsServer(tmp_path, jetstream_config(tmp_path, strict=strict), jetstream=False) as server:
        async with connect(server.url) as backend:
            with pytest.raises(InvalidArgumentError, match=r"(?s)create consumer s/.*metdata"):
                await backend.consumer(options).subscribe().__aenter__()


def jetstream_config(folder: Path, **settings: object) -> str:
    return f"jetstream: {json.dumps({'store_dir': str(folder / 'store'), **settings})}"


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("stream", {"max_age": 1}, "max_age: use max_age"),
        ("stream", {"max_msgs": 1, "num_replicas": 3}, "use max_messages; num_replicas: use replicas"),
        ("stream", {"no_ack": True}, "no_ack: every publish is confirmed"),
        ("consumer", {"backoff": [1]}, "backoff: use backoff, which nak"),
        ("consumer", {"max_ack_pending": 1}, "max_ack_pending: use max_in_flight"),
        ("consumer", {"ack_policy": "none"}, "explicit acks"),
        ("consumer", {"deliver_subject": "x"}, "pulled from"),
        ("message", {"Nats-Msg-Id": "1"}, "Nats-Msg-Id: use message_id"),
        ("message", {"Nats-Ttl": "1"}, "no header 'Nats-Ttl'; there are .*Nats-TTL"),
        ("message", {"X-Mine": "1"}, "no header 'X-Mine'"),
    ],
)
def test_what_is_to_be_said_otherwise(kind: str, settings: dict[str, Any], words: str):
    """What a portable option says, and what would break the library, is refused with the way to say it."""
    with pytest.raises(InvalidArgumentError, match=words):
        native.check(kind, settings, (2, 15))


@pytest.mark.parametrize(
    ("kind", "settings", "since"),
    [
        ("stream", {"compression": "s2"}, (2, 10)),
        ("stream", {"metadata": {}}, (2, 10)),
        ("stream", {"allow_msg_ttl": True}, (2, 11)),
        ("stream", {"allow_msg_schedules": True}, (2, 12)),
        ("stream", {"allow_batched": True}, (2, 14)),
        ("consumer", {"metadata": {}}, (2, 10)),
        ("consumer", {"pause_until": ""}, (2, 11)),
        ("message", {"Nats-TTL": "1s"}, (2, 11)),
        ("message", {"Nats-Schedule": "@at 2030-01-01T00:00:00Z"}, (2, 12)),
        ("message", {"Nats-Schedule": "@every 1h"}, (2, 14)),
        ("message", {"Nats-Schedule-Time-Zone": "UTC"}, (2, 14)),
    ],
)
def test_a_server_that_is_too_old(kind: str, settings: dict[str, Any], since: tuple[int, int]):
    """An older server is an UnsupportedError that names both versions; the one named will do."""
    native.check(kind, settings, since)
    older = (since[0], since[1] - 1)
    words = rf"nats-server 2\.{older[1]} is too old: .*{next(iter(settings))}.* needs 2\.{since[1]}$"
    with pytest.raises(UnsupportedError, match=words):
        native.check(kind, settings, older)


async def test_the_version_is_the_servers(server: NatsServer):
    """The backend goes by the version of the server that it is connected to, or was last."""
    async with connect(server.url) as backend:
        link, real = backend._driver._link, backend.native.connected_server_version  # type: ignore[attr-defined]
        assert link.server_version == (real.major, real.minor) >= (2, 9)
        link.server_version = (2, 10)
        with pytest.raises(UnsupportedError, match=r"allow_msg_ttl needs 2\.11"):
            await backend.ensure_stream(stream(allow_msg_ttl=True))
        async with await publisher(backend) as given:
            with pytest.raises(UnsupportedError, match=r"Nats-TTL needs 2\.11"):
                await given.publish("s.x", b"x", native={"Nats-TTL": "1s"})
        assert (await backend.stream_info("s")).messages == 0
        await server.restart()
        async with asyncio.timeout(10):
            while not link.up:
                await asyncio.sleep(0.01)
        assert link.server_version == (real.major, real.minor)


async def test_a_work_queue(backend: Backend):
    """A message is gone when its one consumer has acked it; a second consumer must take other subjects."""
    async with await publisher(backend, retention="workqueue") as given:
        await given.publish("s.a", b"a")
        async with backend.consumer(replace(DURABLE, filter_subject="s.a")).subscribe() as messages:
            await (await anext(messages)).ack()
            await emptied(backend)
            with pytest.raises(ConflictError, match="filtered consumer not unique on workqueue stream"):
                await backend.consumer(replace(DURABLE, consumer_name="e", filter_subject="s.*")).__aenter__()
            async with backend.consumer(replace(DURABLE, consumer_name="e", filter_subject="s.b")):
                pass
        await backend.delete_consumer("s", "d")
        late = replace(DURABLE, filter_subject="s.a", deliver_from="new")
        with pytest.raises(InvalidArgumentError, match="must be deliver all on workqueue stream"):
            await backend.consumer(late).__aenter__()


async def test_interest(backend: Backend):
    """A message is gone when all consumers have acked it, and is not kept when there is none."""
    async with await publisher(backend, retention="interest") as given:
        await given.publish("s.a", b"nobody")
        assert (await backend.stream_info("s")).messages == 0
        first, second = (replace(DURABLE, consumer_name=name) for name in "ab")
        async with backend.consumer(first).subscribe() as one, backend.consumer(second).subscribe() as other:
            await given.publish("s.a", b"both")
            await (await anext(one)).ack(confirm=True)
            assert (await backend.stream_info("s")).messages == 1
            await (await anext(other)).ack(confirm=True)
            await emptied(backend)


async def test_the_time_to_live_of_a_message(backend: Backend):
    """A message is gone after its Nats-TTL, which its consumers do not see; others stay."""
    async with await publisher(backend, allow_msg_ttl=True) as given:
        for bad in ("0.5s", "soon"):
            with pytest.raises(InvalidArgumentError, match="invalid per-message TTL"):
                await given.publish("s.x", b"x", native={"Nats-TTL": bad})
        async with backend.consumer(DURABLE).subscribe() as messages:
            await given.publish("s.x", b"x", headers={"a": "b"}, native={"Nats-TTL": "1s"})
            assert dict((await anext(messages)).headers) == {"a": "b"}
        await emptied(backend)
        await given.publish("s.x", b"x", native={"Nats-TTL": "never"})
        assert (await backend.stream_info("s")).messages == 1


async def test_delayed_messages(backend: Backend):
    """A scheduled message arrives on its target at its time, whole and without a trace of the schedule, also when
    publishing may be tried again.
    """
    at = datetime.now(UTC) + timedelta(seconds=1)
    options = PublisherOptions(stream=stream(allow_msg_schedules=True, allow_msg_ttl=True), retry_attempts=3)
    schedule = {"Nats-Schedule": f"@at {at.isoformat()}", "Nats-Schedule-Target": "s.due", "Nats-Schedule-TTL": "1h"}
    async with backend.publisher(options) as given:
        due = replace(DURABLE, filter_subject="s.due")
        async with backend.consumer(due).subscribe() as messages, asyncio.timeout(5):
            await given.publish("s.later.1", b"late", headers={"a": "b"}, native=schedule)
            await given.publish("s.due", b"now")
            first, second = await anext(messages), await anext(messages)
            assert (first.data, second.data, dict(second.headers)) == (b"now", b"late", {"a": "b"})
            assert second.metadata.timestamp >= at
            await first.ack()
            await second.ack()
        with pytest.raises(InvalidArgumentError, match="target is invalid"):
            await given.publish("s.later.2", b"x", native={**schedule, "Nats-Schedule-Target": "elsewhere"})


async def test_repeated_messages(backend: Backend):
    """Intervals, cron lines with a time zone, a source and a rollup are taken where the server has them."""
    settings = {"allow_msg_schedules": True, "allow_rollup_hdrs": True}
    source = {"Nats-Schedule-Target": "s.due", "Nats-Schedule-Source": "s.last", "Nats-Schedule-Rollup": "sub"}
    daily = {"Nats-Schedule": "0 30 7 * * *", "Nats-Schedule-Time-Zone": "Europe/Vienna"}
    async with await publisher(backend, **settings) as given:
        await given.publish("s.last", b"the last")
        await given.publish("s.daily", b"", native={**daily, "Nats-Schedule-Target": "s.due"})
        await given.publish("s.every", b"", native={"Nats-Schedule": "@every 1s", **source})
        due = replace(DURABLE, filter_subject="s.due")
        async with backend.consumer(due).subscribe() as messages, asyncio.timeout(5):
            assert (await anext(messages)).data == b"the last"
        with pytest.raises(InvalidArgumentError, match="pattern is invalid"):
            await given.publish("s.never", b"", native={**daily, "Nats-Schedule": "sometimes", **source})


@pytest.mark.parametrize(
    ("headers", "setting"),
    [
        ({"Nats-TTL": "1s"}, "allow_msg_ttl"),
        ({"Nats-Schedule": "@at 2030-01-01T00:00:00Z", "Nats-Schedule-Target": "s.y"}, "allow_msg_schedules"),
        ({"Nats-Rollup": "all"}, "allow_rollup_hdrs"),
    ],
)
async def test_a_stream_that_does_not_allow_it(backend: Backend, headers: dict[str, str], setting: str):
    """A stream without the setting that a header needs is a ConfigurationError that names the setting, which helps."""
    async with await publisher(backend) as given:
        with pytest.raises(ConfigurationError, match=setting):
            await given.publish("s.x", b"x", native=headers)
        await backend.ensure_stream(stream(**{setting: True}), manage="update")
        assert (await given.publish("s.x", b"x", native=headers)).sequence == 1


async def test_expectations(backend: Backend):
    """A publish that expects another state of the stream is a ConflictError, also among many, and stores nothing."""
    async with await publisher(backend) as given:
        await given.publish("s.x", b"1", message_id="one")
        for name, value in {
            "Nats-Expected-Last-Sequence": "7",
            "Nats-Expected-Last-Subject-Sequence": "7",
            "Nats-Expected-Last-Msg-Id": "seven",
        }.items():
            with pytest.raises(ConflictError, match="wrong last"):
                await given.publish("s.x", b"2", native={name: value})
        with pytest.raises(NotFoundError, match="expected stream does not match"):
            await given.publish("s.x", b"2", native={"Nats-Expected-Stream": "t"})
        receipts = await given.publish_many(
            [("s.x", b"%d" % number, None, None, {"Nats-Expected-Last-Sequence": str(number)}) for number in (1, 2, 3)]
        )
    assert receipts == [PublishReceipt("s", 2), PublishReceipt("s", 3), PublishReceipt("s", 4)]


ACCOUNTS = """
accounts {
  hub { jetstream: enabled, users: [{user: h, password: p}], exports: [
    {service: "$JS.API.>", response: stream}, {service: "$JS.ACK.>"}, {service: "s.>"} ] }
  app { users: [{user: a, password: p}], imports: [
    {service: {account: hub, subject: "$JS.API.>"}, to: "JS.hub.API.>"},
    {service: {account: hub, subject: "$JS.ACK.>"}}, {service: {account: hub, subject: "s.>"}} ] }
}
"""


async def test_the_api_of_another_account(tmp_path: Path):
    """With api_prefix a JetStream that another account exports is used like one's own."""
    async with NatsServer(tmp_path, ACCOUNTS) as server:
        address = f"nats://a:p@{server.address}"
        with pytest.raises(ConfigurationError, match="api_prefix"):
            await connect(f"{address}?api_prefix=JS.typo.API").open()
        async with connect(f"{address}?api_prefix=JS.hub.API") as backend:
            await round_trip(backend)


async def test_a_domain(tmp_path: Path):
    """With domain the JetStream of that domain is used."""
    config = jetstream_config(tmp_path, domain="hub")
    async with NatsServer(tmp_path, config, jetstream=False) as server:
        with pytest.raises(ConfigurationError, match=r"\?domain="):
            await connect(f"{server.url}?domain=typo").open()
        async with connect(f"{server.url}?domain=hub") as backend:
            await round_trip(backend)


async def round_trip(backend: Backend) -> None:
    async with backend.publisher(PublisherOptions(stream_name="s")) as given:
        await given.publish_many([("s.x", b"1"), ("s.x", b"2")])
    async with backend.consumer(DURABLE).subscribe() as messages, asyncio.timeout(5):
        await (await anext(messages)).nak()
        assert sorted([(await anext(messages)).data, (await anext(messages)).data]) == [b"1", b"2"]
    async with backend.consumer(DURABLE).subscribe() as messages, asyncio.timeout(5):
        for _ in range(2):
            assert await (await anext(messages)).ack(confirm=True)
    assert (await backend.consumer_info("s", "d")).num_ack_pending == 0


@pytest.mark.parametrize(
    ("query", "words"),
    [("api_prefix=JS.hub.API.", "empty"), ("api_prefix=JS.%3E", ">"), ("api_prefix=a&domain=b", "give one")],
)
def test_bad_prefixes(query: str, words: str):
    """A prefix that is no subject, and one beside a domain, is refused."""
    with pytest.raises(ConfigurationError, match=words):
        connect(f"nats://h?{query}")
