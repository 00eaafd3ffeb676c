"""What ``pubsubkit doctor`` looks at on a broker."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pubsubkit.cli.failure import one_line
from pubsubkit.cli.session import UNREACHABLE, opened
from pubsubkit.cli.throwaway import throwaway_stream
from pubsubkit.driver import Capability, Finding
from pubsubkit.errors import PermissionDeniedError, PubSubError, TransientError
from pubsubkit.options import ConsumerOptions, PublisherOptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from pubsubkit.backend import Backend
    from pubsubkit.cli.stopping import Stop
    from pubsubkit.message import Message
    from pubsubkit.options import StreamOptions

__all__ = ["examine", "no_broker"]

_CREATE = "create a stream"
_WAIT_SECONDS = 5.0
_UNTRIED = "--write tries them with a stream of its own, which it deletes again"


def no_broker() -> Finding:
    """What there is to say without a URL."""
    advice = "give a URL, as in pubsubkit doctor nats://localhost:4222, or set PUBSUBKIT_URL"
    return Finding("broker", "none given, so none was looked at", advice, "unchecked")


async def examine(stop: Stop, url: str, *, write: bool) -> AsyncGenerator[Finding]:
    """Look at the broker of *url*.

    :param write: also create a stream, publish, consume and delete it.
    :raises Stopped: the command was asked to stop; the stream is deleted.
    """
    async with AsyncExitStack() as stack:
        started = time.perf_counter()
        try:
            backend = await stack.enter_async_context(opened(stop, url))
        except PubSubError as error:
            yield Finding("broker", one_line(error).removesuffix(f"; {UNREACHABLE}"), _advice(error), "mend")
            return
        yield await stop.race(_reached(backend, time.perf_counter() - started))
        told = await stop.race(_told(backend))
        for finding in told:
            yield finding
        clock = Capability.REMOTE in backend.capabilities and not any(each.check == "clock" for each in told)
        if write:
            async with aclosing(_try(stop, backend, clock=clock)) as tried:
                async for finding in tried:
                    yield finding
            return
        if clock:
            yield Finding("clock", "not compared with the broker's", "--write does, by a message's time", "unchecked")
        yield Finding("create, publish, consume, delete", "not tried", _UNTRIED, "unchecked")


def _advice(error: PubSubError) -> str:
    if isinstance(error, TransientError):
        return f"{UNREACHABLE} Is a firewall in between?"
    if isinstance(error, PermissionDeniedError):
        return "see to the user and password, token or credentials file of the URL"
    return ""


async def _reached(backend: Backend, opening: float) -> Finding:
    health = await backend.health()
    if health.latency is None:
        return Finding("broker", f"{backend.address}: {health.error}", "is it overloaded?", "mend")
    found = f"{backend.address}, opened in {opening * 1e3:.1f} ms, answers in {health.latency * 1e3:.1f} ms"
    return Finding("broker", found)


async def _told(backend: Backend) -> Sequence[Finding]:
    """What the backend itself has to tell."""
    try:
        return await backend.diagnose()
    except PubSubError as error:
        return [Finding("details", one_line(error), _advice(error), "mend")]


async def _try(stop: Stop, backend: Backend, *, clock: bool) -> AsyncGenerator[Finding]:
    """Do each thing that an application does, on a stream of its own, which is deleted also when this is stopped."""
    step = _CREATE
    try:
        async with throwaway_stream(backend, "doctor") as stream:
            yield Finding(step, "allowed")
            step = "publish"
            sent, stored = await stop.race(_publish(backend, stream))
            yield Finding(step, "allowed")
            step = "consume"
            message = await stop.race(_consume(backend, stream))
            yield Finding(step, "allowed, with ack")
            step = "delete a stream"
        yield Finding(step, "allowed")
        if clock:
            yield Finding.of_clock(sent, message.metadata.timestamp, stored)
    except (PubSubError, TimeoutError) as error:
        text = one_line(error) if isinstance(error, PubSubError) else f"no message came within {_WAIT_SECONDS:g} s"
        yield Finding(step, text, _grant(step, error), "mend")


async def _publish(backend: Backend, stream: StreamOptions) -> tuple[datetime, datetime]:
    """Publish a message; this machine's time before and after."""
    async with backend.publisher(PublisherOptions(stream=stream, subject_prefix=stream.name)) as publisher:
        sent = datetime.now(UTC)
        await publisher.publish("probe", b"doctor")
        return sent, datetime.now(UTC)


async def _consume(backend: Backend, stream: StreamOptions) -> Message:
    options = ConsumerOptions(stream=stream, consumer_name="doctor", channel_buf_size=1)
    async with (
        asyncio.timeout(_WAIT_SECONDS),
        backend.consumer(options) as consumer,
        consumer.subscribe() as subscription,
    ):
        message = await anext(subscription)
        await message.ack(confirm=Capability.CONFIRMED_ACK in backend.capabilities)
    return message


def _grant(step: str, error: Exception) -> str:
    if not isinstance(error, PermissionDeniedError):
        return ""
    if step == _CREATE:
        return "grant it, unless somebody else creates the streams: then give pub and sub one that exists by --stream"
    return "grant it to this user"
