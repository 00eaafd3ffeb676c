"""Errors: one tree for all backends, the native cause kept, and only passing failures called passing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pubsubkit import (
    Backend,
    Backoff,
    ClosedError,
    ConflictError,
    ConsumerOptions,
    InvalidArgumentError,
    NotFoundError,
    PublisherOptions,
    PubSubError,
    StreamOptions,
    TransientError,
)
from pubsubkit.driver import Capability
from pubsubkit.hookspecs import hookimpl
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.faulty import NativeError, failing, faulty, hanging, overlaid
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from pubsubkit_contract.kit import Kit

__all__ = ["ErrorCases"]


class ErrorCases(Cases):
    """Whoever catches PubSubError has caught everything; whoever catches TransientError may try again."""

    @case("err.types", why="Code that is written for one backend must handle the failures of the next.")
    async def test_err_types(self, kit: Kit) -> None:
        """Each mistake has its class, with what it is about in the message; none of them is called passing."""
        publisher = await kit.publisher()
        closed = await kit.publisher()
        await closed.aclose()
        subject, missing = kit.subject("x"), f"{kit.stream}-missing"
        table: list[tuple[type[PubSubError], str, Callable[[], Any]]] = [
            (InvalidArgumentError, "a b", lambda: publisher.publish("a b", b"")),
            (InvalidArgumentError, "bytes", lambda: publisher.publish(subject, b"m" * 2 * kit.backend.max_payload)),
            (InvalidArgumentError, "a.b", lambda: kit.backend.stream_info("a.b")),
            (NotFoundError, "elsewhere.x", lambda: publisher.publish("elsewhere.x", b"")),
            (NotFoundError, missing, lambda: kit.backend.stream_info(missing)),
            (NotFoundError, missing, lambda: kit.publisher(stream_name=missing, manage="none")),
            (NotFoundError, "nobody", lambda: kit.backend.consumer_info(kit.stream, "nobody")),
            (ConflictError, "max_age", lambda: kit.publisher(stream=StreamOptions(name=kit.stream, max_age=1000.0))),
            (ClosedError, "publisher", lambda: closed.publish(subject, b"")),
        ]
        for kind, match, attempt in table:
            with kit.raises(kind, match) as caught:
                await attempt()
            assert type(caught[0]) is kind
        with kit.raises(InvalidArgumentError, "consumer_name"):
            ConsumerOptions(stream_name=kit.stream, consumer_name="a.b")
        with kit.raises(ValueError, "window"):
            PublisherOptions(stream_name=kit.stream, window=0)

    @case("err.table", why="A native exception that is not translated passes every except clause of the application.")
    async def test_err_table(self, kit: Kit) -> None:
        """Each native exception of the driver's table becomes its portable class, an unknown one a plain PubSubError;
        the native one is the cause, and the message tells what failed and where.
        """
        driver = faulty(kit)
        table: dict[type[Exception], type[PubSubError]] = {**driver.error_table, NativeError: PubSubError}
        for native, kind in table.items():
            error = _made(native)
            async with Backend(faulty(kit, stream_info=failing(error))) as backend:
                with kit.raises(PubSubError, f"{kit.stream}.*why") as caught:
                    await backend.stream_info(kit.stream)
                assert type(caught[0]) is kind, f"{native.__name__} became {type(caught[0]).__name__}"
                assert caught[0].__cause__ is error
                assert backend.address in str(caught[0])

    @case("err.native", why="One call that lets a native exception through ties the application to one backend.")
    async def test_err_native(self, kit: Kit) -> None:
        """Whatever call it is in which the client library fails, PubSubError comes out, with the native cause."""
        await kit.publish(b"x")
        fail = failing(NativeError("why"))
        calls: dict[str, Callable[[Backend], Any]] = {
            "send": _publish_to(kit),
            "stream_info": lambda backend: backend.ensure_stream(StreamOptions(name=kit.stream)),
            "delete_stream": lambda backend: backend.delete_stream(kit.stream),
            "consumer_info": lambda backend: backend.consumer_info(kit.stream, "d"),
            "delete_consumer": lambda backend: backend.delete_consumer(kit.stream, "d"),
            "create_consumer": lambda backend: kit.subscription("", backend=backend),
            "subscribe": lambda backend: kit.subscription(backend=backend),
        }
        for method, call in calls.items():
            async with Backend(faulty(kit, **{method: fail})) as backend:
                with kit.raises(PubSubError, "why") as caught:
                    await call(backend)
                assert isinstance(caught[0].__cause__, NativeError), method
        with kit.raises(PubSubError, "connect.*why"):
            await Backend(faulty(kit, open=fail)).open()
        async with Backend(faulty(kit, ping=fail)) as backend:
            health = await backend.health()
            assert not health.connected and "why" in health.error

    @case("err.native_secrets", why="Client libraries put the URL they were given into their errors.")
    async def test_err_native_secrets(self, kit: Kit) -> None:
        """The text of a native exception is shown without the passwords of URLs in it."""
        native = NativeError("cannot reach proto://user:correct-horse@somewhere:1")
        async with Backend(faulty(kit, stream_info=failing(native))) as backend:
            with kit.raises(PubSubError, "cannot reach .*somewhere") as caught:
                await backend.stream_info(kit.stream)
            assert "correct-horse" not in str(caught[0])
        with kit.raises(PubSubError, "somewhere") as caught:
            await Backend(faulty(kit, open=failing(native))).open()
        assert "correct-horse" not in str(caught[0])

    @case("err.native_receive", why="A consumer runs for months; its failures are those that come.")
    async def test_err_native_receive(self, kit: Kit) -> None:
        """What the client library raises while receiving or settling comes out as PubSubError with its cause; the
        message is then without a verdict.
        """
        fail = failing(NativeError("why"))
        driver = faulty(kit)
        broken: list[bool] = []

        async def subscribe(*arguments: Any) -> Any:
            inner = await driver.subscribe(*arguments)

            async def receive() -> Any:
                if broken:
                    raise NativeError("why")
                return overlaid(await inner.receive(), settle=fail)

            async def aclose(_: object) -> None:
                await inner.aclose(())

            return overlaid(inner, receive=receive, aclose=aclose)

        async with Backend(overlaid(driver, subscribe=subscribe)) as backend:
            subscription = await kit.feed(b"x", backend=backend)
            message = await kit.receive(subscription)
            with kit.raises(PubSubError, "ack.*why") as caught:
                await message.ack()
            assert isinstance(caught[0].__cause__, NativeError)
            assert not message.settled
            broken.append(True)
            with kit.raises(PubSubError, "receive.*why") as caught:
                await anext(subscription)
            assert isinstance(caught[0].__cause__, NativeError)

    @case("err.cancel_passes", why="A cancellation that becomes an error is handled, and the task goes on for ever.")
    async def test_err_cancel_passes(self, kit: Kit) -> None:
        """Cancelling a call that hangs in the client library raises CancelledError, at once, and nothing else."""
        subscription = await kit.subscription()
        calls: dict[str, Callable[[Backend], Any]] = {
            "send": _publish_to(kit),
            "stream_info": lambda backend: backend.stream_info(kit.stream),
            "create_consumer": lambda backend: kit.subscription("", backend=backend),
            "subscribe": lambda backend: kit.subscription(backend=backend),
        }
        for method, call in calls.items():
            entered = asyncio.Event()
            async with Backend(faulty(kit, **{method: hanging(entered)})) as backend:
                await _cancel(kit, asyncio.ensure_future(call(backend)), entered)
        entered = asyncio.Event()
        await _cancel(kit, asyncio.ensure_future(Backend(faulty(kit, open=hanging(entered))).open()), entered)
        await kit.publish(b"after")
        assert payloads(await kit.read(subscription, 1)) == [b"after"]
        await _cancel(kit, asyncio.ensure_future(anext(subscription)), None)

    @case("err.retryable", why="What is tried again although it can never work holds up everything behind it.")
    async def test_err_retryable(self, kit: Kit) -> None:
        """A passing failure is tried again as often as retry_attempts says, under one message id where there are any;
        any other failure is raised at once.
        """
        tries: list[tuple[str | None, ...]] = []
        outcomes: list[Exception] = []
        driver = faulty(kit)

        async def send(messages: Any, timeout: float) -> Any:
            tries.append(tuple(message.message_id for message in messages))
            return [outcomes.pop(0) for _ in messages] if outcomes else await driver.send(messages, timeout)

        plugin = _Retries()
        async with Backend(overlaid(driver, send=send), plugins=[plugin]) as backend:
            publisher = await kit.publisher(backend, retry_attempts=2, retry_backoff=Backoff(initial=0.001))
            for permanent in (NotFoundError("no"), InvalidArgumentError("no"), NativeError("no"), PubSubError("no")):
                outcomes[:] = [permanent]
                with kit.raises(PubSubError, "no") as caught:
                    await publisher.publish(kit.subject("x"), b"x")
                assert not isinstance(caught[0], TransientError)
            assert (len(tries), plugin.attempts) == (4, [])
            outcomes[:] = [TransientError("passing")] * 3
            with kit.raises(TransientError, "passing"):
                await publisher.publish(kit.subject("x"), b"x")
            assert (len(tries), plugin.attempts) == (7, [1, 2])
            outcomes[:] = [TransientError("passing")] * 2
            await publisher.publish(kit.subject("x"), b"x")
            assert (len(tries), plugin.attempts) == (10, [1, 2, 1, 2])
            assert len(set(tries[-3:])) == 1
            assert (tries[-1] != (None,)) is (Capability.DEDUPLICATION in kit.backend.capabilities)
        assert (await kit.stream_info()).messages == 1


class _Retries:
    """A plugin that counts attempts."""

    def __init__(self) -> None:
        self.attempts: list[int] = []

    @hookimpl
    def pubsubkit_retrying(self, attempt: int, delay: float) -> None:
        assert delay >= 0
        self.attempts.append(attempt)


def _made(native: type[Exception]) -> Exception:
    """An instance of *native*, whatever its constructor needs, that says "why"."""

    def initialise(_: object) -> None:
        pass

    def text(_: object) -> str:
        return "why"

    made: Exception = type(native.__name__, (native,), {"__init__": initialise, "__str__": text})()
    return made


def _publish_to(kit: Kit) -> Callable[[Backend], Any]:
    async def publish(backend: Backend) -> None:
        await (await kit.publisher(backend)).publish(kit.subject("x"), b"x")

    return publish


async def _cancel(kit: Kit, task: asyncio.Future[Any], entered: asyncio.Event | None) -> None:
    """Cancel *task* when it hangs; it must end as cancelled."""
    await (asyncio.sleep(0.01) if entered is None else kit.within(entered.wait(), "reaching the client library"))
    task.cancel()
    await kit.within(asyncio.wait([task]), "the cancelled call")
    assert task.cancelled(), f"it ended with {task.exception()!r}"
    kit.note("cancelled")
