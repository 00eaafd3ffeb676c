"""Plugins: what they are told, and that a bad one harms nobody."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from pubsubkit import (
    ConfigurationError,
    ConnectionState,
    ConsumerOptions,
    InvalidArgumentError,
    NotFoundError,
    PublisherOptions,
    Verdict,
    connect,
    hooks,
    hookspecs,
)
from pubsubkit.driver import Delivery
from pubsubkit.hookspecs import hookimpl

ORDERS = PublisherOptions(stream_name="s")
READER = ConsumerOptions(stream_name="s", consumer_name="d")


class Recorder:
    """Implements every observer hook."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    @hookimpl
    def pubsubkit_published(self, stream, subject, size, message_id, error, latency):
        self.heard.append(("published", stream, subject, size, message_id, type(error), latency >= 0))

    @hookimpl
    def pubsubkit_received(self, stream, subject, consumer, size, num_delivered, headers):
        self.heard.append(("received", stream, subject, consumer, size, num_delivered, dict(headers)))

    @hookimpl
    def pubsubkit_settled(self, stream, subject, consumer, verdict, num_delivered, error):
        self.heard.append(("settled", stream, subject, consumer, verdict, num_delivered, error))

    @hookimpl
    def pubsubkit_connection_changed(self, address, state):
        self.heard.append(("connection", address, state))


@pytest.fixture(autouse=True)
def no_installed_plugins() -> Iterator[None]:
    """Each test sees the plugins that it installs, and leaves none."""
    hooks.installed_plugins.cache_clear()
    yield
    hooks.installed_plugins.cache_clear()


async def test_what_observers_hear():
    """Observers hear of each publish, delivery and verdict once, with its values."""
    recorder = Recorder()
    async with connect("memory://", plugins=[recorder]) as backend, backend.publisher(ORDERS) as publisher:
        await publisher.publish("s.x", b"data", headers={"a": "b"}, message_id="id")
        with pytest.raises(NotFoundError):
            await publisher.publish("elsewhere", b"")
        async with backend.consumer(READER).subscribe() as messages:
            await (await anext(messages)).nak()
            message = await anext(messages)
            await message.in_progress()
            await message.ack()
            await message.ack()
    assert [event for event in recorder.heard if event[0] != "connection"] == [
        ("published", "s", "s.x", 4, "id", type(None), True),
        ("published", "s", "elsewhere", 0, None, NotFoundError, True),
        ("received", "s", "s.x", "d", 4, 1, {"a": "b"}),
        ("settled", "s", "s.x", "d", Verdict.NAK, 1, None),
        ("received", "s", "s.x", "d", 4, 2, {"a": "b"}),
        ("settled", "s", "s.x", "d", Verdict.IN_PROGRESS, 2, None),
        ("settled", "s", "s.x", "d", Verdict.ACK, 2, None),
    ]


async def test_headers_before_send():
    """A plugin may add headers; those of the publisher stay as they are, and of two plugins the later one decides."""

    class Adds:
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl
        def pubsubkit_before_send(self, subject: str, headers: Mapping[str, str]) -> Mapping[str, str] | None:
            return {"added": self.name, "own": "overwritten"} if "own" in headers else None

    async with connect("memory://", plugins=[Adds("one"), Adds("two")]) as backend:
        async with backend.publisher(ORDERS) as publisher:
            await publisher.publish("s.x", b"", headers={"own": "kept"})
            await publisher.publish("s.x", b"")
        async with backend.consumer(READER).subscribe() as messages:
            assert dict((await anext(messages)).headers) == {"added": "two", "own": "kept"}
            assert dict((await anext(messages)).headers) == {}


async def test_order():
    """Plugins are called in the order in which they were given, but for those that want to be first or last."""
    called: list[str] = []

    def plugin(name: str, **wish: bool) -> object:
        class Notes:
            @hookimpl(**wish)
            def pubsubkit_published(self) -> None:
                called.append(name)

        return Notes()

    plugins = [plugin("last", trylast=True), plugin("a"), plugin("b"), plugin("first", tryfirst=True), plugin("c")]
    async with connect("memory://", plugins=plugins) as backend, backend.publisher(ORDERS) as publisher:
        await publisher.publish("s.x", b"")
    assert called == ["first", "a", "b", "c", "last"]


async def test_bad_headers_of_a_plugin():
    """Headers of a plugin that cannot be carried are refused like the publisher's own."""

    class Bad:
        @hookimpl
        def pubsubkit_before_send(self) -> Mapping[str, str]:
            return {"bad name": "x"}

    async with connect("memory://", plugins=[Bad()]) as backend, backend.publisher(ORDERS) as publisher:
        with pytest.raises(InvalidArgumentError, match="bad name"):
            await publisher.publish("s.x", b"")


async def test_a_failing_observer(caplog: pytest.LogCaptureFixture):
    """An observer that raises is logged with its name; the publish succeeds and other plugins still hear of it."""

    class Fails:
        @hookimpl
        def pubsubkit_published(self):
            raise RuntimeError("inside")

        @hookimpl
        def pubsubkit_before_send(self):
            raise RuntimeError("inside too")

    recorder = Recorder()
    async with connect("memory://", plugins=[recorder, Fails()]) as backend, backend.publisher(ORDERS) as publisher:
        assert (await publisher.publish("s.x", b"")).sequence == 1
    assert ("published", "s", "s.x", 0, None, type(None), True) in recorder.heard
    assert caplog.text.count("Fails") >= 2
    assert "inside too" in caplog.text


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def pubsubkit_publishd(self): ...", "pubsubkit_publishd"),
        ("def pubsubkit_published(self, subjct): ...", "subjct"),
        ("async def pubsubkit_published(self): ...", "async"),
    ],
)
def test_faulty_plugins_are_refused(source: str, words: str):
    """A plugin with a misspelt hook, an unknown argument or an async hook is a ConfigurationError that says which."""
    namespace: dict[str, object] = {"hookimpl": hookimpl}
    exec(f"class Faulty:\n    @hookimpl\n    {source}", namespace)
    faulty = namespace["Faulty"]
    assert isinstance(faulty, Callable)
    with pytest.raises(ConfigurationError, match=f"Faulty.*{words}"):
        connect("memory://", plugins=[faulty()])


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> None:
    """Install a distribution with one plugin module into *folder*."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pubsubkit.plugins]\n{name} = {name}\n")
    (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)


GOOD = """
from pubsubkit.driver import Delivery
from pubsubkit.hookspecs import hookimpl
heard = []
@hookimpl
def pubsubkit_published(subject):
    heard.append(subject)
"""


async def test_installed_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """Installed plugins are used; broken ones are left out with a warning that names them and their distribution."""
    install(tmp_path, monkeypatch, "goodplugin", GOOD)
    install(tmp_path, monkeypatch, "brokenplugin", "raise ImportError('no such thing')")
    install(tmp_path, monkeypatch, "typoplugin", GOOD.replace("published", "publishd"))
    async with connect("memory://") as backend, backend.publisher(ORDERS) as publisher:
        await publisher.publish("s.x", b"")
    assert sys.modules["goodplugin"].heard == ["s.x"]
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("brokenplugin" in text and "1.0" in text and "no such thing" in text for text in warnings)
    assert any("typoplugin" in text and "publishd" in text for text in warnings)


async def test_installed_plugins_can_be_disabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """PUBSUBKIT_DISABLE_PLUGINS=1 leaves installed plugins out without importing them."""
    install(tmp_path, monkeypatch, "unwanted", GOOD)
    monkeypatch.setenv("PUBSUBKIT_DISABLE_PLUGINS", "1")
    async with connect("memory://") as backend, backend.publisher(ORDERS) as publisher:
        await publisher.publish("s.x", b"")
    assert "unwanted" not in sys.modules


def test_no_plugin_no_cost():
    """Without a plugin every hook is None, so that the message path only tests an attribute."""
    empty = hooks.load_hooks()
    assert [getattr(empty, name) for name in hooks.Hooks.__slots__] == [None] * 7


def test_every_hook_has_a_place():
    """The compiled hooks are exactly the specified ones."""
    specified = {name.removeprefix("pubsubkit_") for name in hookspecs.__all__ if name != "hookimpl"}
    assert specified == set(hooks.Hooks.__slots__)


def test_states():
    """A connection is connected, disconnected or closed."""
    assert [state.value for state in ConnectionState] == ["connected", "disconnected", "closed"]


class Unmarked:
    def pubsubkit_published(self):
        raise AssertionError("called")


@pytest.mark.parametrize(
    ("plugins", "words"),
    [([Unmarked()], "@hookimpl"), ([Recorder], "an instance"), (Unmarked(), "list of plugins"), ([7], "hook")],
)
def test_plugins_that_would_never_be_called(plugins: list[object], words: str):
    """A plugin without a marked hook, a class in place of an instance, and a plugin without its list are refused."""
    with pytest.raises(ConfigurationError, match=words):
        connect("memory://", plugins=plugins)


async def test_headers_of_another_shape(caplog: pytest.LogCaptureFixture):
    """before_send must return headers: anything else is logged with the plugin's name, and the message is sent."""

    class Odd:
        @hookimpl
        def pubsubkit_before_send(self, headers):
            headers["changed"] = "here"
            return ["x"]

    async with connect("memory://", plugins=[Odd()]) as backend, backend.publisher(ORDERS) as publisher:
        await publisher.publish("s.x", b"")
        async with backend.consumer(READER).subscribe() as messages:
            assert dict((await anext(messages)).headers) == {}
    assert "Odd" in caplog.text
    assert "list" in caplog.text


class Around:
    """Writes down entering and leaving, and does in them what it is told."""

    def __init__(self, name: str, log: list[object], *, enter: Exception | None = None, leave: object = True) -> None:
        self.name, self.log, self.enter, self.leave = name, log, enter, leave
        self.told: dict[str, object] = {}

    @hookimpl
    def pubsubkit_processing(self, stream, subject, consumer, num_delivered, headers, address):
        self.told = {"place": (address, stream, subject, consumer), "count": num_delivered, "headers": dict(headers)}
        headers.clear()
        return self

    def __enter__(self) -> None:
        self.log.append(f"{self.name} in")
        if self.enter is not None:
            raise self.enter

    def __exit__(self, kind, error, traceback):
        self.log.append((f"{self.name} out", error))
        if isinstance(self.leave, Exception):
            raise self.leave
        return self.leave


async def delivered(plugins: list[object]) -> tuple[hooks.Hooks, Delivery]:
    """One delivery, and the hooks of its backend."""
    async with connect("memory://", plugins=plugins) as backend:
        async with backend.publisher(ORDERS) as publisher:
            await publisher.publish("s.x", b"data", headers={"a": "b"})
        async with backend.consumer(READER).subscribe() as messages:
            return backend._connection.hooks, (await anext(messages)).delivery


async def test_processing():
    """The contexts of all plugins are around a handler, told of its message; none of them stops its exception."""
    log: list[object] = []
    plugins = [Around("outer", log), Around("inner", log)]
    compiled, delivery = await delivered([*plugins])
    failure = KeyError("mine")
    with pytest.raises(KeyError) as caught, hooks.processing(compiled, delivery):
        raise failure
    assert caught.value is failure
    assert failure.__context__ is None
    assert log == ["outer in", "inner in", ("inner out", failure), ("outer out", failure)]
    place = ("memory://", "s", "s.x", "d")
    assert [each.told for each in plugins] == [{"place": place, "count": 1, "headers": {"a": "b"}}] * 2


async def test_processing_with_faulty_plugins(caplog: pytest.LogCaptureFixture):
    """A plugin that fails in entering is not left, one that fails in leaving is left once; the handler's fate stays."""
    log: list[object] = []

    class Nothing:
        @hookimpl
        def pubsubkit_processing(self):
            return None

    class Odd:
        @hookimpl
        def pubsubkit_processing(self):
            return "no context manager"

    class Raises:
        @hookimpl
        def pubsubkit_processing(self):
            raise RuntimeError("at once")

    bad_enter = Around("enter", log, enter=RuntimeError("entering"))
    bad_leave = Around("leave", log, leave=RuntimeError("leaving"))
    plugins = [Raises(), Nothing(), Odd(), bad_enter, bad_leave, Around("good", log)]
    compiled, delivery = await delivered(plugins)
    with hooks.processing(compiled, delivery):
        log.append("handler")
    assert log == ["enter in", "leave in", "good in", "handler", ("good out", None), ("leave out", None)]
    for words in ("Raises", "at once", "Odd", "Around", "entering", "leaving"):
        assert words in caplog.text
    with pytest.raises(ValueError, match=r"^mine$"), hooks.processing(compiled, delivery):
        raise ValueError("mine")


async def test_processing_of_a_plugin_that_raises_the_handlers_exception(caplog: pytest.LogCaptureFixture):
    """Raising the handler's own exception again is no fault of a plugin."""
    failure = ValueError("mine")
    compiled, delivery = await delivered([Around("again", [], leave=failure)])
    with pytest.raises(ValueError, match="mine"), hooks.processing(compiled, delivery):
        raise failure
    assert not caplog.records


async def test_processing_without_plugins():
    """Without such a plugin the context is always the same one, which does nothing."""
    compiled, delivery = await delivered([Recorder()])
    assert hooks.processing(compiled, delivery) is hooks.processing(compiled, delivery)
    with hooks.processing(compiled, delivery):
        pass


async def test_headers_of_what_is_published():
    """A publish is told with the headers that were sent, those of plugins too, also when it is refused."""
    told: list[tuple[object, ...]] = []

    class Tracer:
        @hookimpl
        def pubsubkit_before_send(self, subject: str) -> Mapping[str, str]:
            return {"traceparent": "1", **({"bad name": "x"} if subject == "s.bad" else {})}

        @hookimpl
        def pubsubkit_published(self, subject, headers, error, address):
            told.append((address, subject, headers, type(error)))

    async with connect("memory://", plugins=[Tracer()]) as backend, backend.publisher(ORDERS) as publisher:
        await publisher.publish("s.x", b"", headers={"own": "1"})
        with pytest.raises(InvalidArgumentError, match="bad name"):
            await publisher.publish("s.bad", b"")
        with pytest.raises(InvalidArgumentError, match="bytes"):
            await publisher.publish("s.large", bytes(backend.max_payload))
        with pytest.raises(InvalidArgumentError, match="str"):
            await publisher.publish("s.x", "text")
        with pytest.raises(InvalidArgumentError, match="expected str"):
            await publisher.publish(7, b"")
    assert told == [
        ("memory://", "s.x", {"traceparent": "1", "own": "1"}, type(None)),
        ("memory://", "s.bad", {"traceparent": "1", "bad name": "x"}, InvalidArgumentError),
        ("memory://", "s.large", {"traceparent": "1"}, InvalidArgumentError),
        ("memory://", "s.x", {}, InvalidArgumentError),
        ("memory://", "7", {}, InvalidArgumentError),
    ]


async def test_settling_is_told_with_headers_and_latency():
    """A verdict is told with the message's headers, how long it took and the broker's address."""
    told: list[tuple[object, ...]] = []

    class Timer:
        @hookimpl
        def pubsubkit_settled(self, headers, latency, address):
            told.append((headers, 0 < latency < 1, address))

    async with connect("memory://", plugins=[Timer()]) as backend:
        async with backend.publisher(ORDERS) as publisher:
            await publisher.publish("s.x", b"", headers={"a": "b"})
        async with backend.consumer(READER).subscribe() as messages:
            await (await anext(messages)).ack()
    assert told == [({"a": "b"}, True, "memory://")]
