"""Opening, closing and looking at a backend; what importing the package costs."""

import asyncio
import logging
import pickle
import subprocess
import sys

import pytest

import pubsubkit
from pubsubkit import (
    Backend,
    Capability,
    ClosedError,
    ConfigurationError,
    ConnectionState,
    ConsumerOptions,
    InvalidArgumentError,
    PublishBatchError,
    PublisherOptions,
    TransientError,
    connect,
    open_backend,
)
from pubsubkit.url import BackendURL
from pubsubkit_memory import Broker, MemoryDriver


async def test_open_backend_and_close():
    """open_backend returns an open backend; after aclose nothing works and closing again is fine."""
    backend = await open_backend("memory://")
    assert isinstance(backend.native, Broker)
    assert Capability.DURABLE in backend.capabilities
    assert repr(backend) == "<Backend memory://>"
    assert backend.max_payload == 1024 * 1024
    await backend.aclose()
    await backend.aclose()
    with pytest.raises(ClosedError, match="the backend is closed"):
        await backend.stream_info("s")


async def test_use_before_open():
    """A backend that was not opened says how to open it."""
    with pytest.raises(ClosedError, match="async with connect"):
        connect("memory://").publisher(PublisherOptions(stream_name="s"))


async def test_a_closed_backend_that_was_never_open():
    """Closing before opening is fine and final."""
    backend = connect("memory://")
    await backend.aclose()
    with pytest.raises(ClosedError):
        await backend.open()


async def test_failed_open_releases_the_driver():
    """When opening fails the driver is closed and the error is portable."""

    class Fails(MemoryDriver):
        released = False

        async def open(self, on_state) -> None:
            raise ConnectionError("native")

        async def aclose(self) -> None:
            self.released = True

    driver = Fails()
    with pytest.raises(pubsubkit.PubSubError, match="connect on memory://: native"):
        async with Backend(driver):
            pass
    assert driver.released


async def test_lost_messages_surface_when_the_backend_closes():
    """A failure of publish_soon that nobody saw is raised by the backend's close, after everything was released."""

    class Loses(MemoryDriver):
        released = False

        async def send(self, messages, timeout):
            return [TransientError("lost")] * len(messages)

        async def aclose(self) -> None:
            self.released = True
            await super().aclose()

    driver = Loses()
    with pytest.raises(PublishBatchError, match="lost"):
        async with Backend(driver) as backend:
            publisher = backend.publisher(PublisherOptions(stream_name="s"))
            await publisher.publish_soon("s.x", b"x")
    assert driver.released


async def test_health_of_a_broker_that_does_not_answer(monkeypatch: pytest.MonkeyPatch):
    """Health never raises and never hangs."""

    class Silent(MemoryDriver):
        async def ping(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr("pubsubkit.backend._PING_SECONDS", 0.02)
    async with Backend(Silent()) as backend, backend.consumer(ConsumerOptions(stream_name="s")).subscribe():
        health = await backend.health()
    assert (health.connected, health.consuming, health.latency) == (False, False, None)
    assert "ping" in health.error


async def test_states_are_logged(caplog: pytest.LogCaptureFixture):
    """A lost connection is a warning of the logger pubsubkit.backend, its return an info."""

    class Flickers(MemoryDriver):
        async def open(self, on_state) -> None:
            await super().open(on_state)
            on_state(ConnectionState.DISCONNECTED, ConnectionError("cut"))
            on_state(ConnectionState.CONNECTED, None)

    caplog.set_level(logging.INFO, "pubsubkit")
    async with Backend(Flickers()):
        pass
    texts = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("WARNING", "memory:// is disconnected: cut") in texts
    assert ("INFO", "memory:// is connected") in texts


async def test_named_memory_broker_is_shared():
    """memory://name is one broker for the whole process, memory:// is private to its connection."""
    async with connect("memory://shared-in-test") as one, connect("memory://shared-in-test") as two:
        async with one.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish("s.x", b"x")
        async with two.consumer(ConsumerOptions(stream_name="s")).subscribe() as messages:
            assert (await anext(messages)).data == b"x"
        async with connect("memory://") as other:
            with pytest.raises(pubsubkit.NotFoundError):
                await other.stream_info("s")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memry://", "memory"),
        ("memory", "://"),
        ("memory://?max_paylod=1", "max_payload"),
        ("memory://?max_payload=big", "max_payload"),
        ("memory://u:hunter2@x", "user"),
        ("${PUBSUBKIT_NOT_SET}", "PUBSUBKIT_NOT_SET"),
    ],
)
def test_bad_urls(url: str, words: str):
    """A bad URL fails in connect, before anything is opened, with what to do and without its secret."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        connect(url)
    assert "hunter2" not in str(caught.value)


async def test_the_url_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    """Without an argument the URL is that of PUBSUBKIT_URL, which may have placeholders of its own."""
    monkeypatch.setenv("PUBSUBKIT_TEST_SIZE", "2MiB")
    monkeypatch.setenv("PUBSUBKIT_URL", "memory://environment?max_payload=${PUBSUBKIT_TEST_SIZE}")
    backend = await open_backend()
    async with backend, connect() as other:
        assert backend.address == other.address == "memory://environment"
        assert backend.max_payload == 2 * 1024 * 1024


@pytest.mark.parametrize(
    ("value", "words"), [(None, "is not set"), ("", "is empty"), ("hunter2", "does not hold a URL")]
)
def test_no_url_in_the_environment(monkeypatch: pytest.MonkeyPatch, value: str | None, words: str):
    """Without an argument and without PUBSUBKIT_URL it says so; what is in it by mistake is not shown."""
    monkeypatch.delenv("PUBSUBKIT_URL", raising=False)
    if value is not None:
        monkeypatch.setenv("PUBSUBKIT_URL", value)
    with pytest.raises(ConfigurationError, match=f"environment variable PUBSUBKIT_URL .*{words}") as caught:
        connect()
    assert "hunter2" not in str(caught.value)


async def test_a_parsed_url():
    """A URL that was parsed already connects as its text does."""
    async with connect(BackendURL.parse("memory://parsed?max_payload=2MiB")) as backend:
        assert (backend.address, backend.max_payload) == ("memory://parsed", 2 * 1024 * 1024)


def test_errors_can_be_pickled():
    """Errors cross process boundaries with all they say."""
    batch = PublishBatchError([pubsubkit.PublishReceipt("s", 1), TransientError("t")])
    again = pickle.loads(pickle.dumps(batch))
    assert (again.stored, str(again), str(again.failed[1])) == (batch.stored, str(batch), "t")


def test_import_is_light():
    """Importing pubsubkit loads neither a backend's client, nor cloudevents, click, pluggy, pydantic or msgspec."""
    code = (
        "import sys, pubsubkit; "
        "heavy = {'nats', 'cloudevents', 'click', 'pluggy', 'pydantic', 'msgspec', 'importlib.metadata'}; "
        "heavy |= {'pubsubkit_nats', 'pubsubkit_memory'}; "
        "found = heavy & set(sys.modules); sys.exit(str(found) if found else 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_every_public_module_names_its_parts():
    """__all__ is complete and sorted, so that the public surface is what it says."""
    for name in pubsubkit.__all__:
        assert getattr(pubsubkit, name).__doc__
    assert len(set(pubsubkit.__all__)) == len(pubsubkit.__all__)


@pytest.mark.parametrize("name", ["", "a.b", "a b", ">", "x" * 256, None])
async def test_names_are_checked(name: str):
    """A name that no stream or consumer can have is refused before the broker is asked."""
    async with connect("memory://") as backend:
        for look_up in (
            lambda: backend.stream_info(name),
            lambda: backend.delete_stream(name),
            lambda: backend.consumer_info(name, "c"),
            lambda: backend.consumer_info("s", name),
            lambda: backend.delete_consumer("s", name),
        ):
            with pytest.raises(pubsubkit.InvalidArgumentError, match="expected a name"):
                await look_up()


def test_values_of_unknown_parameters_are_not_shown():
    """A misspelt parameter may be a secret one, so its value is not shown."""
    with pytest.raises(ConfigurationError, match="max_payload") as caught:
        connect("memory://?max_paylod=hunter2&max_payload=1KiB")
    assert "hunter2" not in str(caught.value)


def test_async_callback_is_refused():
    """on_publish is called without await, so an async function is refused."""

    async def on_publish(*_: object) -> None:
        raise AssertionError("never called")

    with pytest.raises(pubsubkit.InvalidArgumentError, match="not async"):
        PublisherOptions(stream_name="s", on_publish=on_publish)


async def test_options_of_another_kind():
    """What is no options, or the other one's, is one error that says what was expected."""
    async with connect("memory://") as backend:
        for make, wrong in ((backend.publisher, "s"), (backend.publisher, ConsumerOptions(stream_name="s"))):
            with pytest.raises(InvalidArgumentError, match=r"expected PublisherOptions\(stream_name=\.\.\.\), got "):
                make(wrong)
        with pytest.raises(InvalidArgumentError, match=r"expected ConsumerOptions.* got PublisherOptions"):
            backend.consumer(PublisherOptions(stream_name="s"))
    with pytest.raises(InvalidArgumentError, match="the name alone is stream_name='s'"):
        PublisherOptions(stream="s")
