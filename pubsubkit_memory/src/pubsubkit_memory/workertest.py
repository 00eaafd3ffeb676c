"""Testing a worker without a server: the same handlers on a broker of the test's own, and a clock that is moved.

::

    async def test_an_order_is_billed_at_the_third_try():
        async with WorkerTest(worker) as test:
            await test.publish("orders.created", {"id": 1})
            await test.until_idle()
        assert [each.verdict for each in test.verdicts] == ["nak", "nak", "ack"]
        assert test.dead_letters == []

What waits for a redelivery makes nobody wait: when nothing else is left to do the broker's clock is put forward.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, NamedTuple, Self, final

from pubsubkit import Backend, dead_letters
from pubsubkit.driver import Verdict
from pubsubkit.errors import NotFoundError
from pubsubkit.hookspecs import hookimpl
from pubsubkit.options import PublisherOptions
from pubsubkit.worker import WorkerState
from pubsubkit_memory.broker import Broker
from pubsubkit_memory.driver import MemoryDriver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from pubsubkit.dead_letters import DeadLetter
    from pubsubkit.driver import ConsumerSpec, PublishReceipt
    from pubsubkit.worker import Worker
    from pubsubkit_memory.consumer import Consumer
    from pubsubkit_memory.subscription import MemorySubscription

__all__ = ["Settled", "WorkerTest"]

_TURNS = 5
"""So many turns of the event loop nothing must happen."""
_LOOK_AGAIN = 0.005


class Settled(NamedTuple):
    """A verdict that the worker gave."""

    subject: str
    num_delivered: int
    """Which delivery of the message it was: 1 for the first."""
    verdict: Verdict
    """``ack``, ``nak`` or ``term``."""
    error: str = ""
    """The type of what the handler raised, with its module unless that is ``builtins``."""
    reason: str = ""
    """What the error said."""
    delay: float = 0.0
    """For a nak: seconds before the next delivery."""


@final
class WorkerTest:
    """Runs the handlers of a worker on an empty memory broker of its own, inside ``async with``.

    Entering returns when every handler consumes; what is wrong with the handlers' streams and consumers is raised
    then.  Leaving stops the worker gracefully, after an error in the block at once.  The worker that was given is not
    touched: a test may use one that a module makes for production, whatever backend it names.

    :param worker: whose handlers run.  Health is not served.
    """

    def __init__(self, worker: Worker) -> None:
        self.broker: Broker = Broker()
        """The broker, for a closer look; :meth:`advance` and not this one's moves the clock."""
        self.verdicts: list[Settled] = []
        """Every verdict so far, in order."""
        self.dead_letters: list[DeadLetter] = []
        """Every dead letter that :meth:`until_idle` found, the oldest of each stream first."""
        self._log = _Log(self.verdicts)
        self._driver = _Watched(self.broker)
        self.backend: Backend = Backend(MemoryDriver(self.broker))
        """A backend on the same broker, for what handlers and tests publish and read themselves."""
        self._inside = Backend(self._driver, plugins=[self._log])
        self._worker = worker.on(self._inside)
        self._worker.health_port = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for each in (self.backend, self._inside, self._worker):
                await stack.enter_async_context(each)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._worker.stop(force=True)
        await self._stack.__aexit__(kind, error, trace)

    async def publish(
        self,
        subject: str,
        data: object = b"",
        *,
        headers: Mapping[str, str] | None = None,
        message_id: str | None = None,
    ) -> PublishReceipt:
        """Publish a message into the stream that holds its subject.

        :param data: the payload: bytes as they are, text as UTF-8, anything else as JSON.
        :raises NotFoundError: no stream holds it.
        :raises PubSubError: what :meth:`Publisher.publish` raises.
        """
        stream = self.broker.holder(subject)
        if not stream:
            raise NotFoundError(f"no stream of the worker's handlers holds the subject {subject!r}")
        async with self.backend.publisher(PublisherOptions(stream_name=stream, manage="none")) as publisher:
            return await publisher.publish(subject, _payload(data), headers=headers, message_id=message_id)

    async def advance(self, seconds: float) -> None:
        """Put the broker's clock forward and let happen what falls due; handlers may not have ended when this returns.

        :raises InvalidArgumentError: *seconds* is no number from 0 to 1e9.
        """
        self.broker.advance(seconds)
        await _turns()

    async def until_idle(self, timeout: float = 10.0, *, horizon: float = 86_400.0) -> None:
        """Return when the worker has nothing to do: each message has its last verdict, and no handler runs.

        When all that is left waits for its redelivery the clock is put forward to the next one.  It never moves while
        a handler runs.

        :param timeout: seconds of real time that it may take.
        :param horizon: seconds by which the clock may be put forward.
        :raises AssertionError: it took longer; the message says what was still running or waiting.
        :raises PubSubError: the worker has failed, with this error.
        """
        until, moved = time.monotonic() + timeout, 0.0
        while not await self._is_idle():
            if self._worker.state is WorkerState.STOPPED:
                await self._stack.aclose()
                raise AssertionError("the worker was stopped before it was idle")
            if time.monotonic() > until:
                raise AssertionError(f"the worker is not idle after {timeout:g} s: {self._describe()}")
            step = self._next_step()
            if step is None:
                await self._log.change(_LOOK_AGAIN)
            elif moved + step > horizon:
                raise AssertionError(f"the worker is not idle after {horizon:g} s of its clock: {self._describe()}")
            else:
                moved += step
                await self.advance(step)
        self.dead_letters[:] = await self._find_dead_letters()

    async def _is_idle(self) -> bool:
        """Whether there is nothing to do, and nothing happens in some turns of the event loop."""
        if self._worker.state is WorkerState.STOPPED or self._driver.lost:
            return False
        for _ in range(_TURNS):
            before = self._log.count
            if self._is_busy() or any(each.delayed() for each in self._driver.joined):
                return False
            await asyncio.sleep(0)
            if self._log.count != before:
                return False
        return True

    def _is_busy(self) -> bool:
        """Whether a message can be delivered, or is held by a handler."""
        if any(handler.held for handler in self._worker.health().handlers):
            return True
        infos = [(each.info(), len(each.delayed())) for each in self._driver.joined]
        return any(info.num_pending or info.num_ack_pending > delayed for info, delayed in infos)

    def _next_step(self) -> float | None:
        """Seconds to the next redelivery, when nothing else is left to do."""
        deadlines = [deadline for each in self._driver.joined for deadline in each.delayed()]
        if self._is_busy() or not deadlines:
            return None
        return max(0.0, min(deadlines) - self.broker.timers.now())

    def _describe(self) -> str:
        handlers = self._worker.health().handlers
        found = [f"handler {each.name} holds {_messages(each.held)}" for each in handlers if each.held]
        for consumer in self._driver.joined:
            found += _describe(consumer, self.broker.timers.now())
        return "; ".join(found) or "it has just ended its work"

    async def _find_dead_letters(self) -> list[DeadLetter]:
        found: list[DeadLetter] = []
        for stream in self.broker.streams:
            async with aclosing(dead_letters.read(self.backend, stream)) as letters:
                found += [letter async for letter in letters if letter.stream]
        return found


class _Watched(MemoryDriver):
    """Remembers which consumers the worker has joined."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._joined: set[Consumer] = set()

    @property
    def joined(self) -> Sequence[Consumer]:
        return [consumer for consumer in self._joined if not consumer.deleted]

    @property
    def lost(self) -> bool:
        """Whether one was deleted, so that the worker is about to fail."""
        return any(consumer.deleted for consumer in self._joined)

    async def subscribe(self, spec: ConsumerSpec, buffer: int) -> MemorySubscription:
        self._joined.add(self.native.stream(spec.stream).consumer(spec.name))
        return await super().subscribe(spec, buffer)


class _Log:
    """The plugin that sees the verdicts, and that something happens."""

    def __init__(self, verdicts: list[Settled]) -> None:
        self.count = 0
        self._verdicts = verdicts
        self._changed = asyncio.Event()

    async def change(self, timeout: float) -> None:
        """Return when something has happened, or after *timeout* seconds."""
        self._changed.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return

    @hookimpl
    def pubsubkit_received(self) -> None:
        self._note()

    @hookimpl
    def pubsubkit_published(self) -> None:
        self._note()

    @hookimpl
    def pubsubkit_settled(  # noqa: PLR0913, PLR0917 - the values of the hook that are wanted
        self,
        subject: str,
        verdict: Verdict,
        num_delivered: int,
        delay: float,
        reason: str,
        error_type: str,
        error: Exception | None,
    ) -> None:
        self._note()
        if verdict is not Verdict.IN_PROGRESS and error is None:
            self._verdicts.append(Settled(subject, num_delivered, verdict, error_type, reason, delay))

    def _note(self) -> None:
        self.count += 1
        self._changed.set()


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def _payload(data: object) -> bytes:
    if isinstance(data, bytes):
        return data
    return data.encode() if isinstance(data, str) else json.dumps(data).encode()


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"


def _describe(consumer: Consumer, now: float) -> list[str]:
    info, delayed = consumer.info(), consumer.delayed()
    name = f"{consumer.spec.stream}/{consumer.spec.name}"
    held = [f"{each.subject!r} (sequence {each.key}, delivery {each.num_delivered})" for each in consumer.leased()]
    found = [f"without a verdict from {name}: {', '.join(held)}"] if held else []
    if waiting := info.num_pending + info.num_ack_pending - len(held) - len(delayed):
        found.append(f"{_messages(waiting)} of {name} not delivered")
    if delayed:
        found.append(f"{_messages(len(delayed))} of {name} to come again, the next in {min(delayed) - now:.3g} s")
    return found
