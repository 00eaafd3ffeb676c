"""Hooks: what plugins are told, and that they can break nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pubsubkit import ClosedError, InvalidArgumentError, NotFoundError, PublishBatchError
from pubsubkit.driver import Capability, ConnectionState
from pubsubkit.hookspecs import hookimpl
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pubsubkit_contract.kit import Kit

__all__ = ["HookCases"]


class Recorder:
    """A plugin that writes down what it is told.

    :param add: the headers that it adds to each message.
    """

    def __init__(self, name: str = "", log: list[str] | None = None, add: Mapping[str, str] | None = None) -> None:
        self.calls: list[dict[str, Any]] = []
        self._name = name
        self._log = [] if log is None else log
        self._add = add

    def told(self, hook: str) -> list[dict[str, Any]]:
        """The calls of one hook."""
        return [call for call in self.calls if call["hook"] == hook]

    def _note(self, hook: str, **values: Any) -> None:
        self.calls.append({"hook": hook, **values})
        self._log.append(f"{self._name}.{hook}")

    @hookimpl
    def pubsubkit_before_send(self, stream: str, subject: str, headers: Mapping[str, str]) -> Mapping[str, str] | None:
        self._note("before_send", stream=stream, subject=subject, headers=dict(headers))
        return self._add

    @hookimpl
    def pubsubkit_published(  # noqa: PLR0913, PLR0917 - the arguments of the hook
        self,
        stream: str,
        subject: str,
        size: int,
        message_id: str | None,
        headers: Mapping[str, str],
        error: BaseException | None,
        latency: float,
    ) -> None:
        place = {"stream": stream, "subject": subject, "headers": dict(headers)}
        self._note("published", **place, size=size, message_id=message_id, error=error, latency=latency)

    @hookimpl
    def pubsubkit_received(
        self, stream: str, subject: str, consumer: str, size: int, num_delivered: int, headers: Mapping[str, str]
    ) -> None:
        place = {"stream": stream, "subject": subject, "consumer": consumer}
        self._note("received", **place, size=size, num_delivered=num_delivered, headers=dict(headers))

    @hookimpl
    def pubsubkit_settled(
        self, stream: str, subject: str, consumer: str, verdict: str, num_delivered: int, error: Exception | None
    ) -> None:
        place = {"stream": stream, "subject": subject, "consumer": consumer}
        self._note("settled", **place, verdict=verdict, num_delivered=num_delivered, error=error)

    @hookimpl
    def pubsubkit_connection_changed(self, address: str, state: ConnectionState, error: Exception | None) -> None:
        self._note("connection_changed", address=address, state=state, error=error)


class Broken:
    """A plugin that fails in everything, and is a nuisance where it can."""

    @hookimpl
    def pubsubkit_before_send(self, headers: dict[str, str]) -> Mapping[str, str] | None:
        headers["intruder"] = "x"
        raise RuntimeError("before_send")

    @hookimpl
    def pubsubkit_published(self) -> None:
        raise RuntimeError("published")

    @hookimpl
    def pubsubkit_received(self, headers: dict[str, str]) -> None:
        headers.clear()
        raise RuntimeError("received")

    @hookimpl
    def pubsubkit_settled(self) -> None:
        raise RuntimeError("settled")

    @hookimpl
    def pubsubkit_connection_changed(self) -> None:
        raise RuntimeError("connection_changed")


class HookCases(Cases):
    """A plugin sees every message and decides about none."""

    @case("hook.publish_ok", why="Metrics that miss a way to publish show a system at rest.")
    async def test_hook_publish_ok(self, kit: Kit) -> None:
        """Each message that is stored is told once: full subject, size, latency, whatever way it was published."""
        plugin = Recorder()
        backend = await kit.connect(plugins=[plugin])
        publisher = await kit.publisher(backend, subject_prefix=kit.subject("p"))
        await publisher.publish("a", b"1")
        await (await publisher.publish_soon("b", b"22"))
        await publisher.publish_many([("c", b"333"), ("d", b"")])
        told = plugin.told("published")
        assert [(call["subject"], call["size"]) for call in told] == [
            (kit.subject(f"p.{tail}"), size) for tail, size in (("a", 1), ("b", 2), ("c", 3), ("d", 0))
        ]
        assert all(call["stream"] == kit.stream and call["error"] is None for call in told)
        assert all(call["message_id"] is None and 0 <= call["latency"] < kit.cap for call in told)
        kit.note(f"told of {len(told)} messages")

    @case("hook.publish_error", why="What fails is what one wants to be told of.")
    async def test_hook_publish_error(self, kit: Kit) -> None:
        """Each message that is not stored is told once with its error, also when it was refused or the publisher is
        closed.
        """
        plugin = Recorder()
        publisher = await kit.publisher(await kit.connect(plugins=[plugin]))
        good, elsewhere = kit.subject("x"), "elsewhere.x"
        with kit.raises(NotFoundError):
            await publisher.publish(elsewhere, b"1")
        with kit.raises(InvalidArgumentError):
            await publisher.publish(kit.subject("a b"), b"22")
        with kit.raises(PublishBatchError):
            await publisher.publish_many([(good, b"ok"), (elsewhere, b"333")])
        await publisher.aclose()
        with kit.raises(ClosedError):
            await publisher.publish(good, b"4444")
        told = [(call["subject"], call["size"], call["error"]) for call in plugin.told("published")]
        assert [(subject, size) for subject, size, error in told if error is None] == [(good, 2)]
        assert [(subject, size, error.__class__) for subject, size, error in told if error is not None] == [
            (elsewhere, 1, NotFoundError),
            (kit.subject("a b"), 2, InvalidArgumentError),
            (elsewhere, 3, NotFoundError),
            (good, 4, ClosedError),
        ]

    @case("hook.on_publish", why="The simplest way to count must count right.")
    async def test_hook_on_publish(self, kit: Kit) -> None:
        """on_publish is called once per publish with the full subject, the error and the latency; what it raises
        changes nothing.
        """
        told: list[tuple[str, type[BaseException] | None]] = []

        def on_publish(subject: str, error: BaseException | None, latency: float) -> None:
            assert 0 <= latency < kit.cap
            told.append((subject, type(error) if error else None))
            raise RuntimeError("on_publish")

        publisher = await kit.publisher(subject_prefix=kit.subject("p"), on_publish=on_publish)
        subscription = await kit.subscription()
        await publisher.publish("a", b"1")
        await publisher.publish_many([("b", b"2"), ("c", b"3")])
        with kit.raises(InvalidArgumentError):
            await publisher.publish("a b", b"4")
        assert told == [
            (kit.subject("p.a"), None),
            (kit.subject("p.b"), None),
            (kit.subject("p.c"), None),
            (kit.subject("p.a b"), InvalidArgumentError),
        ]
        assert sorted(payloads(await kit.read(subscription, 3))) == [b"1", b"2", b"3"]

    @case("hook.raises", why="A metrics exporter that is down must not stop the orders.")
    async def test_hook_raises(self, kit: Kit) -> None:
        """A plugin whose hooks all raise, and change what they are given, changes nothing, and the next one is told."""
        plugin = Recorder()
        headers = {"a": "b"} if Capability.HEADERS in kit.backend.capabilities else {}
        backend = await kit.connect(plugins=[Broken(), plugin])
        subscription = await kit.subscription(backend=backend)
        receipt = await (await kit.publisher(backend)).publish(kit.subject("x"), b"x", headers=headers)
        message = await kit.receive(subscription)
        assert (message.data, dict(message.headers)) == (b"x", headers)
        assert message.metadata.sequence == receipt.sequence
        assert await message.ack() is True
        await backend.aclose()
        hooks = [call["hook"] for call in plugin.calls]
        assert hooks == ["connection_changed", "before_send", "published", "received", "settled", "connection_changed"]

    @case("hook.order", why="A plugin that adds a trace must come before the one that logs it.")
    async def test_hook_order(self, kit: Kit) -> None:
        """Plugins are told in the order in which they were given."""
        log: list[str] = []
        names = ("first", "second", "third")
        backend = await kit.connect(plugins=[Recorder(name, log) for name in names])
        subscription = await kit.subscription(backend=backend)
        await (await kit.publisher(backend)).publish(kit.subject("x"), b"x")
        await (await kit.receive(subscription)).ack()
        hooks = ("connection_changed", "before_send", "published", "received", "settled")
        assert log == [f"{name}.{hook}" for hook in hooks for name in names]

    @case("hook.own_connection", why="Two parts of a program may trace in different ways.")
    async def test_hook_own_connection(self, kit: Kit) -> None:
        """A plugin that was given to one connection is told nothing of another."""
        mine, other = Recorder(), Recorder()
        backend = await kit.connect(plugins=[mine])
        publisher = await kit.publisher(await kit.connect(plugins=[other]))
        await publisher.publish(kit.subject("x"), b"x")
        await kit.publish(b"x")
        await (await kit.publisher(backend)).publish(kit.subject("y"), b"y")
        assert [call["subject"] for call in mine.told("published")] == [kit.subject("y")]
        assert [call["subject"] for call in other.told("published")] == [kit.subject("x")]
