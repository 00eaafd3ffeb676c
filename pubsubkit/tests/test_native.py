"""Native settings: handed to a backend that has some, refused by the others; drift of all settings as a diff."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pubsubkit import (
    Backend,
    ConflictError,
    ConsumerOptions,
    InvalidArgumentError,
    NotFoundError,
    PublishBatchError,
    PublisherOptions,
    StreamInfo,
    StreamOptions,
    UnsupportedError,
    connect,
)
from pubsubkit.driver import ConsumerInfo, ConsumerSpec, OutgoingMessage
from pubsubkit.native import differences, merged
from pubsubkit_memory import MemoryDriver

SETTINGS = {"colour": "red", "labels": {"team": "ops"}}


class Colourful(MemoryDriver):
    """A driver of a broker that has native settings of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[OutgoingMessage] = []
        self.kept: dict[str, dict[str, Any]] = {}

    def check_native(self, kind: str, settings: Mapping[str, Any]) -> None:
        if unknown := settings.keys() - {"colour", "labels"}:
            raise InvalidArgumentError(f"a {kind} has no {unknown}")

    async def create_stream(self, options: StreamOptions) -> None:
        await super().create_stream(replace(options, native={}))
        self.kept[options.name] = dict(options.native)

    async def update_stream(self, options: StreamOptions) -> None:
        await super().update_stream(replace(options, native={}))
        self.kept[options.name] = merged(self.kept[options.name], options.native)

    async def stream_info(self, name: str) -> StreamInfo | None:
        info = await super().stream_info(name)
        return info and replace(info, native=self.kept[name])

    async def create_consumer(self, spec: ConsumerSpec) -> None:
        await super().create_consumer(replace(spec, native={}))
        self.kept[spec.name] = dict(spec.native)

    async def update_consumer(self, spec: ConsumerSpec) -> None:
        await super().update_consumer(replace(spec, native={}))
        self.kept[spec.name] = merged(self.kept[spec.name], spec.native)

    async def consumer_info(self, stream: str, name: str) -> ConsumerInfo | None:
        info = await super().consumer_info(stream, name)
        return info and replace(info, native=self.kept[name])

    async def send(self, messages, timeout):
        self.sent += messages
        return await super().send(messages, timeout)


async def test_a_backend_without_native_settings_refuses_them():
    """Each kind is an UnsupportedError that names what was given, and nothing is created or stored."""
    async with connect("memory://") as backend:
        stream = StreamOptions(name="s", native=SETTINGS)
        for manage in ("create", "update", "none"):
            with pytest.raises(UnsupportedError, match="memory:// has no native settings of a stream: colour, labels"):
                await backend.ensure_stream(stream, manage=manage)  # type: ignore[arg-type]
        with pytest.raises(UnsupportedError, match="of a stream"):
            await backend.publisher(PublisherOptions(stream=stream)).__aenter__()
        for name in ("", "d"):
            options = ConsumerOptions(stream_name="s", consumer_name=name, native=SETTINGS)
            with pytest.raises(UnsupportedError, match="of a consumer: colour, labels"):
                await backend.consumer(options).subscribe().__aenter__()
        with pytest.raises(NotFoundError):
            await backend.stream_info("s")
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            for publish in (publisher.publish, publisher.publish_soon):
                with pytest.raises(UnsupportedError, match="of a message: X-TTL"):
                    await publish("s.x", b"x", native={"X-TTL": "1s"})
            with pytest.raises(PublishBatchError, match="of a message: X-TTL"):
                await publisher.publish_many([("s.x", b"x", None, None, {"X-TTL": "1s"})])
        assert (await backend.stream_info("s")).messages == 0


async def test_native_headers_reach_the_driver():
    """A driver gets native headers beside the application's, from every way to publish."""
    driver = Colourful()
    async with Backend(driver) as backend, backend.publisher(PublisherOptions(stream_name="s")) as publisher:
        await publisher.publish("s.x", b"1", headers={"a": "b"}, native={"colour": "red"})
        await publisher.publish_soon("s.x", b"2", native={"colour": "red"})
        await publisher.publish_many([("s.x", b"3", {"a": "b"}, "id", {"colour": "red"}), ("s.x", b"4")])
    expected = [{"a": "b", "colour": "red"}, {"colour": "red"}, {"a": "b", "colour": "red"}, None]
    assert [message.headers for message in driver.sent] == expected


@pytest.mark.parametrize("bad", [{"colour": 1}, {"colour": "a\r\nb"}, {"color": "red"}, ["colour"]])
async def test_bad_native_headers(bad: Any):
    """A native header that the driver does not know, or whose value cannot be carried, is refused."""
    driver = Colourful()
    async with Backend(driver) as backend, backend.publisher(PublisherOptions(stream_name="s")) as publisher:
        with pytest.raises(InvalidArgumentError, match=r"colou?r|list"):
            await publisher.publish("s.x", b"x", native=bad)
    assert not driver.sent


async def test_native_drift_of_a_stream():
    """Another value is a conflict and "update" merges it; what nobody asks for is neither compared nor changed."""
    async with Backend(Colourful()) as backend:
        await backend.ensure_stream(StreamOptions(name="s", native={**SETTINGS, "labels": {"team": "ops", "n": 1}}))
        assert await backend.ensure_stream(StreamOptions(name="s", native=SETTINGS))
        wanted = StreamOptions(name="s", max_messages=5, native={"colour": "blue", "labels": {"team": "dev"}})
        with pytest.raises(ConflictError) as caught:
            await backend.ensure_stream(wanted)
        first, *diff = str(caught.value).splitlines()
        assert first.startswith("stream 's' exists with another configuration (is -> wanted)")
        assert diff == ["- max_messages: None -> 5", "- colour: 'red' -> 'blue'", "- labels.team: 'ops' -> 'dev'"]
        await backend.ensure_stream(replace(wanted, max_messages=None), manage="update")
        info = await backend.stream_info("s")
        assert info.native == {"colour": "blue", "labels": {"team": "dev", "n": 1}}
        assert info.options.native == {}


async def test_native_drift_of_a_consumer():
    """A durable with another value is a conflict, and "update" merges it."""
    options = ConsumerOptions(stream_name="s", consumer_name="d", native=SETTINGS)
    async with Backend(Colourful()) as backend, backend.consumer(options), backend.consumer(options):
        other = replace(options, native={"colour": "blue"})
        with pytest.raises(ConflictError, match=r"consumer s/d .*\n- colour: 'red' -> 'blue'$"):
            await backend.consumer(other).__aenter__()
        async with backend.consumer(replace(other, manage="update")):
            assert (await backend.consumer_info("s", "d")).native == {**SETTINGS, "colour": "blue"}


async def test_unknown_native_settings_create_nothing():
    """What the driver refuses is refused before anything is created."""
    async with Backend(Colourful()) as backend:
        with pytest.raises(InvalidArgumentError, match=r"a stream has no \{'color'\}"):
            await backend.ensure_stream(StreamOptions(name="s", native={"color": "red"}))
        with pytest.raises(InvalidArgumentError, match=r"a consumer has no \{'color'\}"):
            await backend.consumer(ConsumerOptions(stream_name="s", native={"color": "red"})).__aenter__()
        with pytest.raises(NotFoundError):
            await backend.stream_info("s")


async def test_updates_are_logged(caplog: pytest.LogCaptureFixture):
    """manage='update' logs what it changed, and is silent when it changes nothing."""
    caplog.set_level(logging.INFO, logger="pubsubkit.provision")
    durable = ConsumerOptions(stream_name="s", consumer_name="d", manage="update")
    async with connect("memory://") as backend:
        await backend.ensure_stream(StreamOptions(name="s", max_messages=5))
        async with backend.consumer(durable):
            for _ in range(2):
                wider = StreamOptions(name="s", subjects=("t",), max_messages=9)
                await backend.ensure_stream(wider, manage="update")
                async with backend.consumer(replace(durable, ack_wait=5)):
                    pass
    assert caplog.messages == [
        "updated stream 's': subjects: s.> -> s.>, t; max_messages: 5 -> 9",
        "updated consumer s/d: ack_wait: 30.0 -> 5",
    ]


async def test_an_update_that_cannot_be_says_why():
    """manage='update' that would narrow a stream names what is in its way, and not what could be mended."""
    async with connect("memory://") as backend:
        await backend.ensure_stream(StreamOptions(name="s", max_messages=5))
        with pytest.raises(ConflictError) as caught:
            await backend.ensure_stream(StreamOptions(name="s", subjects=("t",), max_messages=4), manage="update")
        assert str(caught.value).splitlines()[1:] == ["- max_messages: 5 -> 4"]
        assert (await backend.stream_info("s")).options.subjects == ("s.>",)


def test_options_keep_a_copy():
    """Later changes to the given settings do not reach the options, which compare by them and stay hashable."""
    given = {"labels": {"team": "ops"}}
    options = StreamOptions(name="s", native=given)
    given["labels"]["team"] = "dev"
    assert options.native == {"labels": {"team": "ops"}}
    assert options != StreamOptions(name="s")
    assert len({options, replace(options)}) == 1


@pytest.mark.parametrize(
    ("wanted", "found", "lines"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": False, "b": 0, "c": "", "d": {}, "e": []}, {}, []),
        ({"a": None}, {"a": False}, []),
        ({"a": 0}, {"a": -1}, ["a: -1 -> 0"]),
        ({"a": True}, {}, ["a: None -> True"]),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}}, ["a.b.c: None -> 1"]),
        ({"a": {"b": 1}}, {}, ["a.b: None -> 1"]),
        ({"a": {"b": 1}}, {"a": "x"}, ["a: 'x' -> {'b': 1}"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a: [1, 2] -> [1]"]),
    ],
)
def test_differences(wanted: dict[str, Any], found: dict[str, Any], lines: list[str]):
    """Only what is wanted counts, and leaving out is the same as nothing."""
    assert differences(wanted, found) == lines
    assert differences(wanted, merged(found, wanted)) == []
    assert merged(found, wanted).keys() == found.keys() | wanted.keys()
