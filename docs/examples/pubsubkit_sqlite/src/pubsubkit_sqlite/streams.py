"""Streams and their messages: functions that run inside a transaction."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING

from pubsubkit import (
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    PublishReceipt,
    PubSubError,
    StreamFullError,
    StreamInfo,
)
from pubsubkit.subjects import matches, overlap
from pubsubkit_sqlite.records import check_same, effective, read_stream, write_stream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from pubsubkit import OutgoingMessage, StreamOptions

__all__ = ["create", "delete", "expire", "find", "info", "names", "publish", "update"]


def find(file: Connection, name: str) -> StreamOptions | None:
    """The stream, or None."""
    row = file.execute("SELECT options FROM streams WHERE name = ?", (name,)).fetchone()
    return None if row is None else read_stream(row[0])


def info(file: Connection, name: str) -> StreamInfo | None:
    """The stream with what it holds, or None."""
    options = find(file, name)
    if options is None:
        return None
    expire(file, options)
    last, messages, size, first = file.execute(
        "SELECT last, messages, bytes, (SELECT min(sequence) FROM messages WHERE stream = name) FROM streams "
        "WHERE name = ?",
        (name,),
    ).fetchone()
    if first is None:
        first = last + 1 if last else 0
    return StreamInfo(options=options, messages=messages, bytes=size, first_sequence=first, last_sequence=last)


def names(file: Connection) -> list[str]:
    """The names of all streams."""
    return [name for (name,) in file.execute("SELECT name FROM streams")]


def create(file: Connection, options: StreamOptions) -> None:
    """Create the stream."""
    options, found = effective(options), find(file, options.name)
    if found is not None:
        check_same(f"stream {options.name!r}", options, found)
        return
    _check_subjects(file, options)
    file.execute("INSERT INTO streams (name, options) VALUES (?, ?)", (options.name, write_stream(options)))


def update(file: Connection, options: StreamOptions) -> None:
    """Change the stream, and drop what is over its new limits."""
    options, found = effective(options), find(file, options.name)
    if found is None:
        raise NotFoundError(f"no stream {options.name!r}")
    if options.storage != found.storage:
        raise ConflictError(f"stream {options.name!r}: storage: {found.storage!s} -> {options.storage!s}")
    _check_subjects(file, options)
    file.execute("UPDATE streams SET options = ? WHERE name = ?", (write_stream(options), options.name))
    expire(file, options)
    if options.discard == "old":
        _trim(file, options)


def delete(file: Connection, name: str) -> bool:
    """Delete the stream with all that belongs to it; False when there was none."""
    file.execute("DELETE FROM deliveries WHERE consumer IN (SELECT id FROM consumers WHERE stream = ?)", (name,))
    file.execute("DELETE FROM consumers WHERE stream = ?", (name,))
    file.execute("DELETE FROM ids WHERE stream = ?", (name,))
    file.execute("DELETE FROM messages WHERE stream = ?", (name,))
    return file.execute("DELETE FROM streams WHERE name = ?", (name,)).rowcount > 0


def publish(file: Connection, messages: Sequence[OutgoingMessage]) -> list[PublishReceipt | Exception]:
    """Store *messages*; one that cannot be stored has changed nothing."""
    outcomes: list[PublishReceipt | Exception] = []
    for message in messages:
        try:
            outcomes.append(_store(file, message))
        except PubSubError as error:
            outcomes.append(error)
    return outcomes


def expire(file: Connection, options: StreamOptions) -> None:
    """Drop what is older than ``max_age``; whoever looks at the messages calls it first."""
    if options.max_age is None:
        return
    oldest = time.time_ns() - int(options.max_age * 1e9)
    first = "SELECT sequence FROM messages WHERE stream = ? AND stored_ns > ? ORDER BY sequence LIMIT 1"
    kept = file.execute(first, (options.name, oldest)).fetchone()
    _drop(file, options.name, kept[0] if kept else 2**63 - 1)


def _store(file: Connection, message: OutgoingMessage) -> PublishReceipt:
    options, now = _holder(file, message.subject), time.time_ns()
    if message.message_id is not None:
        forgotten = now - int((options.duplicate_window or 0) * 1e9)
        file.execute("DELETE FROM ids WHERE stream = ? AND stored_ns <= ?", (options.name, forgotten))
        known = "SELECT sequence FROM ids WHERE stream = ? AND message_id = ?"
        if row := file.execute(known, (options.name, message.message_id)).fetchone():
            return PublishReceipt(options.name, row[0], duplicate=True)
    expire(file, options)
    size = _check_room(file, options, message)
    change = "UPDATE streams SET last = last + 1, messages = messages + 1, bytes = bytes + ? WHERE name = ?"
    sequence = file.execute(f"{change} RETURNING last", (size, options.name)).fetchone()[0]
    headers = json.dumps(dict(message.headers)) if message.headers else None
    row = (options.name, sequence, message.subject, message.data, headers, message.message_id, now, size)
    file.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    if message.message_id is not None:
        file.execute("INSERT INTO ids VALUES (?, ?, ?, ?)", (options.name, message.message_id, sequence, now))
    _trim(file, options)
    return PublishReceipt(options.name, sequence)


def _holder(file: Connection, subject: str) -> StreamOptions:
    for (text,) in file.execute("SELECT options FROM streams").fetchall():
        options = read_stream(text)
        if any(matches(pattern, subject) for pattern in options.subjects):
            return options
    raise NotFoundError(f"no stream holds subject {subject!r}")


def _check_room(file: Connection, options: StreamOptions, message: OutgoingMessage) -> int:
    """Return the size of *message* when there is room for it."""
    headers = message.headers or {}
    size = len(message.data) + sum(len(name.encode()) + len(headers[name].encode()) for name in headers)
    if size > (options.max_message_size or math.inf):
        raise InvalidArgumentError(f"{size} bytes are more than stream {options.name!r} takes as one message")
    size += len(message.subject.encode())
    if size > (options.max_bytes or math.inf):
        raise InvalidArgumentError(f"{size} bytes are more than the whole stream {options.name!r} may hold")
    if options.discard == "new" and _over(file, options, 1, size):
        raise StreamFullError(f"stream {options.name!r} is full")
    return size


def _over(file: Connection, options: StreamOptions, more: int, size: int) -> bool:
    if options.max_messages is None and options.max_bytes is None:
        return False
    has = file.execute("SELECT messages + ?, bytes + ? FROM streams WHERE name = ?", (more, size, options.name))
    messages, held = has.fetchone()
    return bool(messages > (options.max_messages or math.inf) or held > (options.max_bytes or math.inf))


def _trim(file: Connection, options: StreamOptions) -> None:
    while _over(file, options, 0, 0):
        first = file.execute("SELECT min(sequence) FROM messages WHERE stream = ?", (options.name,)).fetchone()[0]
        _drop(file, options.name, first + 1)


def _drop(file: Connection, name: str, before: int) -> None:
    gone = file.execute("DELETE FROM messages WHERE stream = ? AND sequence < ? RETURNING size", (name, before))
    sizes = [size for (size,) in gone.fetchall()]
    if sizes:
        less = "UPDATE streams SET messages = messages - ?, bytes = bytes - ? WHERE name = ?"
        file.execute(less, (len(sizes), sum(sizes), name))


def _check_subjects(file: Connection, options: StreamOptions) -> None:
    for (text,) in file.execute("SELECT options FROM streams WHERE name <> ?", (options.name,)).fetchall():
        other = read_stream(text)
        taken = next((held for held in other.subjects if any(overlap(held, mine) for mine in options.subjects)), None)
        if taken is not None:
            raise ConflictError(
                f"stream {options.name!r} cannot hold {', '.join(options.subjects)}: stream {other.name!r} holds "
                f"{taken!r}, and a subject belongs to one stream"
            )
