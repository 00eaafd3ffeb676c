"""Creates what is missing on the broker, and never narrows or rewrites a stream that exists.

An existing stream must promise at least what is asked: hold the subjects, be as durable, have the limits that were
given.  An existing consumer must be the same but for where it started.  What differs is reported as a
:class:`ConflictError` with one line ``field: is -> wanted`` for each, or mended and logged under ``manage="update"``: a
stream as long as nothing is narrowed, a consumer to what is asked.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import TYPE_CHECKING

from pubsubkit.errors import ConflictError, InvalidArgumentError, NotFoundError
from pubsubkit.native import differences
from pubsubkit.options import Storage
from pubsubkit.subjects import covers, overlap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pubsubkit.driver import ConsumerSpec, Driver, StreamInfo
    from pubsubkit.options import Manage, StreamOptions

__all__ = ["check_filter_reaches", "ensure_consumer", "ensure_stream", "find_stream"]

logger: logging.Logger = logging.getLogger("pubsubkit.provision")

_LIMITS = ("max_messages", "max_bytes", "max_age", "max_message_size")
_CONSUMER_FIELDS = ("filter_subject", "ack_wait", "max_deliver", "max_in_flight")


async def find_stream(driver: Driver, name: str) -> StreamOptions:
    """Return the options of an existing stream.

    :raises NotFoundError: there is none.
    """
    return (await _find(driver, name)).options


async def ensure_stream(driver: Driver, wanted: StreamOptions, manage: Manage) -> StreamOptions:
    """Make sure that the stream exists and promises at least *wanted*; return what it is.

    :raises NotFoundError: it is missing and *manage* is ``none``.
    :raises ConflictError: it promises less than *wanted*, and *manage* is ``create`` or mending would narrow it.
    """
    if wanted.native:
        driver.check_native("stream", wanted.native)
    if manage == "none":
        return await find_stream(driver, wanted.name)
    info = await driver.stream_info(wanted.name)
    if info is None:
        try:
            await driver.create_stream(wanted)
        except ConflictError:
            # Lost a race against another creator, or it overlaps a stream of another name.
            if await driver.stream_info(wanted.name) is None:
                raise
        info = await _find(driver, wanted.name)
    found, what = info.options, f"stream {wanted.name!r}"
    gaps = _stream_gaps(wanted, found) + differences(wanted.native, info.native)
    if not gaps:
        return found
    wider = _widened(wanted, found) if manage == "update" else None
    if wider is None:
        raise _conflict(what, gaps)
    if narrower := _stream_gaps(wanted, wider):
        raise _conflict(what, narrower)
    await driver.update_stream(wider)
    _log(what, gaps)
    return await find_stream(driver, wanted.name)


async def ensure_consumer(driver: Driver, wanted: ConsumerSpec, manage: Manage) -> ConsumerSpec:
    """Make sure that the durable consumer exists as *wanted*, but for where it started; return what it is.

    :raises NotFoundError: it is missing and *manage* is ``none``.
    :raises ConflictError: it differs, and *manage* is ``create``.
    """
    info = await driver.consumer_info(wanted.stream, wanted.name)
    if info is None:
        if manage == "none":
            raise NotFoundError(f"no consumer {wanted.name!r} in stream {wanted.stream!r} on {driver.address}")
        try:
            await driver.create_consumer(wanted)
        except ConflictError:
            info = await driver.consumer_info(wanted.stream, wanted.name)
            if info is None:
                raise
    if info is None or manage == "none":
        return info.spec if info else wanted
    what = f"consumer {wanted.stream}/{wanted.name}"
    different = _differences(wanted, info.spec, _CONSUMER_FIELDS) + differences(wanted.native, info.native)
    if different and manage == "create":
        raise _conflict(what, different)
    if different:
        await driver.update_consumer(wanted)
        _log(what, different)
    return wanted


def check_filter_reaches(pattern: str, stream: StreamOptions) -> None:
    """Refuse a filter that can never select a message of *stream*; brokers accept it and stay silent.

    A stream without subjects of its own (a mirror) may hold anything.

    :raises InvalidArgumentError: *pattern* and the stream's subjects have no subject in common.
    """
    if pattern and stream.subjects and not any(overlap(pattern, subject) for subject in stream.subjects):
        held = ", ".join(stream.subjects)
        raise InvalidArgumentError(
            f"filter {pattern!r} can match nothing in stream {stream.name!r}, which holds {held}; "
            "change the filter, or give the stream's subjects with stream=StreamOptions(...)"
        )


async def _find(driver: Driver, name: str) -> StreamInfo:
    info = await driver.stream_info(name)
    if info is None:
        raise NotFoundError(f"no stream {name!r} on {driver.address}")
    return info


def _conflict(what: str, lines: Iterable[str]) -> ConflictError:
    diff = "".join(f"\n- {line}" for line in lines)
    return ConflictError(
        f"{what} exists with another configuration (is -> wanted); change one of them, or open with manage='none' to "
        f"use it as it is:{diff}"
    )


def _log(what: str, lines: Iterable[str]) -> None:
    logger.info("updated %s: %s", what, "; ".join(lines))


def _uncovered(wanted: StreamOptions, found: StreamOptions) -> list[str]:
    return [want for want in wanted.subjects if not any(covers(have, want) for have in found.subjects)]


def _stream_gaps(wanted: StreamOptions, found: StreamOptions) -> list[str]:
    gaps: list[str] = []
    if missing := _uncovered(wanted, found):
        gaps.append(f"subjects: {', '.join(found.subjects)} -> {', '.join((*found.subjects, *missing))}")
    if wanted.storage is Storage.FILE and found.storage is not Storage.FILE:
        gaps.append("storage: memory -> file")
    if wanted.replicas > found.replicas:
        gaps.append(f"replicas: {found.replicas} -> {wanted.replicas}")
    given = [name for name in (*_LIMITS, "duplicate_window") if getattr(wanted, name) is not None]
    if any(getattr(wanted, name) for name in ("max_messages", "max_bytes")):
        given.append("discard")
    return gaps + _differences(wanted, found, given)


def _differences(wanted: object, found: object, fields: Iterable[str]) -> list[str]:
    pairs = ((name, getattr(wanted, name), getattr(found, name)) for name in fields)
    return [f"{name}: {have!r} -> {want!r}" for name, want, have in pairs if not _same(want, have)]


def _same(want: object, have: object) -> bool:
    """Brokers keep times in nanoseconds or milliseconds, so a float need not come back to the last digit."""
    if isinstance(want, float | int) and isinstance(have, float):
        return math.isclose(want, have, rel_tol=1e-9, abs_tol=1e-6)
    return want == have


def _widened(wanted: StreamOptions, found: StreamOptions) -> StreamOptions | None:
    """*found* with everything of *wanted* that keeps more messages than before; None when they contradict.

    Of native settings the driver knows.
    """
    subjects = found.subjects + tuple(_uncovered(wanted, found))
    changes: dict[str, object] = {"subjects": subjects, "native": wanted.native}
    for name in (*_LIMITS, "duplicate_window"):
        want, have = getattr(wanted, name), getattr(found, name)
        if want is not None and have is not None and want > have:
            changes[name] = want
    changes["replicas"] = max(wanted.replicas, found.replicas)
    try:
        return dataclasses.replace(found, **changes)  # type: ignore[arg-type]
    except InvalidArgumentError:
        return None
