"""What a case works with: a namespace of its own on the broker, and everything closed at the end."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pubsubkit import Backend, ConsumerOptions, Message, Publisher, PublisherOptions, Subscription
from pubsubkit.driver import Capability
from pubsubkit.registry import create_driver
from pubsubkit_contract.evidence import Evidence
from pubsubkit_contract.timing import Timing

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from types import TracebackType

    from pubsubkit import ConsumerInfo
    from pubsubkit.driver import StreamInfo
    from pubsubkit_contract.child import Child
    from pubsubkit_contract.harness import Harness
    from pubsubkit_contract.proxy import Proxy

__all__ = ["Kit", "payloads"]

logger: logging.Logger = logging.getLogger("pubsubkit.contract")

_E = TypeVar("_E", bound=BaseException)


class Kit:
    """Opens backends, publishers and subscriptions in a namespace of one case.

    :param harness: the broker, started.
    :param seed: what :attr:`random` is made from.
    """

    def __init__(self, harness: Harness, *, timing: Timing | None = None, seed: str = "") -> None:
        self.harness = harness
        self.timing: Timing = timing or Timing(short=harness.shortest_ack_wait)
        self.seed = seed
        """What random histories are made from: the seed of the run and the id of the case."""
        self.random: random.Random = random.Random(seed)  # noqa: S311 - for histories that can be replayed
        self.evidence: Evidence = Evidence()
        self.stream: str = f"c{secrets.token_hex(6)}"
        self._streams = [self.stream]
        self._stack = AsyncExitStack()
        self._backend: Backend | None = None

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(self._delete_streams)
        self._backend = await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            async with asyncio.timeout(self.timing.cap):
                await self._stack.aclose()
        except Exception as failure:
            if error is None:
                raise AssertionError(f"closing everything at the end of the case failed: {failure!r}") from failure
            logger.debug("cleaning up failed: %r", failure)

    @property
    def backend(self) -> Backend:
        """The case's backend."""
        assert self._backend is not None
        return self._backend

    @property
    def cap(self) -> float:
        """Seconds that a case may wait for something that must happen."""
        return self.timing.cap

    @property
    def short(self) -> float:
        """Seconds of a short ``ack_wait`` or delay."""
        return self.timing.short

    def subject(self, tail: str) -> str:
        """A subject of the case's stream."""
        return f"{self.stream}.{tail}"

    def another_stream(self, tail: str) -> str:
        """The name of another stream of the case, which is deleted at its end."""
        self._streams.append(f"{self.stream}-{tail}")
        return self._streams[-1]

    def note(self, text: str) -> None:
        """Record something that the case observed; a case that observed nothing fails."""
        self.evidence.note(text)

    async def connect(self, url: str | None = None, *, plugins: Iterable[object] = ()) -> Backend:
        """Open another connection, to *url* or to the case's broker; it is closed at the end of the case."""
        __tracebackhide__ = True
        driver = create_driver(url or self.harness.url(), {})
        if self.harness.withheld:
            driver.capabilities = driver.capabilities - self.harness.withheld
        return await self._stack.enter_async_context(Backend(driver, plugins=plugins))

    async def proxy(self, *, plugins: Iterable[object] = ()) -> tuple[Proxy, Backend]:
        """A proxy before the broker and a connection through it that notices soon when it is dead."""
        from pubsubkit_contract.proxy import Proxy

        proxy = await self._stack.enter_async_context(Proxy(*self.harness.address()))
        return proxy, await self.connect(self.harness.url_at(proxy.host, proxy.port), plugins=plugins)

    async def spawn(self, role: str, **parameters: object) -> Child:
        """Start another process that plays *role* (see ``pubsubkit_contract/child.py``); it is killed at the end."""
        from pubsubkit_contract.child import Child

        child = Child(self, role, {"stream": self.stream, **parameters})
        return await self._stack.enter_async_context(child)

    async def publisher(self, backend: Backend | None = None, **options: Any) -> Publisher:
        """Open a publisher into the case's stream."""
        if "stream" not in options:
            options.setdefault("stream_name", self.stream)
        publisher = (backend or self.backend).publisher(PublisherOptions(**options))
        return await self._stack.enter_async_context(publisher)

    async def subscription(
        self, consumer_name: str | None = None, *, backend: Backend | None = None, **options: Any
    ) -> Subscription:
        """Open a member of a consumer of the case's stream; it is closed at the end of the case, if not before.

        :param consumer_name: None for a durable ``d``, or an ephemeral consumer where there are no durables.
        """
        if "stream" not in options:
            options.setdefault("stream_name", self.stream)
        backend = backend or self.backend
        if consumer_name is None:
            consumer_name = "d" if Capability.DURABLE in backend.capabilities else ""
        consumer = backend.consumer(ConsumerOptions(consumer_name=consumer_name, **options))
        return await self._stack.enter_async_context(consumer.subscribe())

    async def feed(self, *datas: bytes, **options: Any) -> Subscription:
        """Open a subscription with *options*, then publish payloads to one subject, in order."""
        subscription = await self.subscription(**options)
        await self.publish(*datas)
        return subscription

    async def publish(self, *datas: bytes, tail: str = "x", **options: Any) -> None:
        """Publish payloads to one subject, in order."""
        publisher = await self.publisher(**options)
        for data in datas:
            await publisher.publish(self.subject(tail), data)
        self.note(f"published {_shown(datas)}")

    async def receive(self, subscription: Subscription) -> Message:
        """The next message, which must come within the cap."""
        try:
            async with asyncio.timeout(self.cap):
                message = await anext(subscription)
        except TimeoutError:
            raise AssertionError(f"no message came within {self.cap:g} s") from None
        except StopAsyncIteration:
            raise AssertionError("the iteration ended although nobody closed the subscription") from None
        self._note_received([message])
        return message

    async def read(self, subscription: Subscription, count: int, *, ack: bool = True) -> list[Message]:
        """The next *count* messages, acked unless told otherwise."""
        messages: list[Message] = []
        for _ in range(count):
            message = await self.receive(subscription)
            messages.append(message)
            if ack:
                await message.ack()
        return messages

    async def nothing(self, subscription: Subscription) -> asyncio.Future[Message]:
        """See that no message comes for a while; return the receive that waits on."""
        waiting = asyncio.ensure_future(self.receive(subscription))
        await asyncio.wait([waiting], timeout=self.timing.quiet)
        assert not waiting.done(), f"a message came that must not: {waiting.result()!r}"
        self.note(f"nothing came within {self.timing.quiet:g} s")
        return waiting

    async def lapse(self, ack_wait: float, *, times: int = 1) -> None:
        """See *ack_wait* run out, several times, by a message without a verdict in another stream."""
        clock = self.another_stream("clock")
        canary = await self.subscription(stream_name=clock, ack_wait=ack_wait)
        publisher = await self.publisher(stream_name=clock)
        await publisher.publish(f"{clock}.x", b"canary")
        await self.read(canary, 1 + times, ack=False)

    async def stream_info(self) -> StreamInfo:
        """What the broker says of the case's stream, asked over another connection."""
        backend = await self.connect()
        info = await backend.stream_info(self.stream)
        self.note(f"stream has {info.messages} messages, sequences {info.first_sequence} to {info.last_sequence}")
        return info

    async def consumer_info(self, name: str = "d") -> ConsumerInfo:
        """What the broker says of a consumer, asked over another connection."""
        backend = await self.connect()
        info = await backend.consumer_info(self.stream, name)
        self.note(f"consumer {name!r} has {info.num_pending} pending, {info.num_ack_pending} in flight")
        return info

    async def within(self, work: Any, what: str) -> Any:
        """Await *work*, which must end within the cap; *what* says it in the failure."""
        try:
            async with asyncio.timeout(self.cap):
                return await work
        except TimeoutError:
            raise AssertionError(f"{what} did not end within {self.cap:g} s") from None

    @contextmanager
    def raises(self, kind: type[_E], match: str = "") -> Generator[list[_E]]:
        """The block must raise *kind*, with a message in which *match* is found; the list gets what was raised."""
        caught: list[_E] = []
        try:
            yield caught
        except kind as error:
            caught.append(error)
        assert caught, f"{kind.__name__} was not raised"
        assert re.search(match, str(caught[0]), re.DOTALL), f"{match!r} is not in: {caught[0]}"
        self.note(f"raised {kind.__name__}")

    def _note_received(self, messages: Sequence[Message]) -> None:
        for message in messages:
            meta = message.metadata
            self.note(f"received {_shown([message.data])} (sequence {meta.sequence}, delivery {meta.num_delivered})")

    async def _delete_streams(self) -> None:
        backend = Backend(create_driver(self.harness.url(), {}), plugins=())
        async with backend:
            for name in self._streams:
                await backend.delete_stream(name)


def payloads(messages: Sequence[Message]) -> list[bytes]:
    """The data of each."""
    return [message.data for message in messages]


def _shown(datas: Sequence[bytes]) -> str:
    if len(datas) > 4:
        return f"{len(datas)} messages, {_shown(datas[:1])} to {_shown(datas[-1:])}"
    return ", ".join(f"{data[:24]!r}" + (f"… {len(data)} bytes" if len(data) > 24 else "") for data in datas)
