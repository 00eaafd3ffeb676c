"""Consumers and their deliveries: functions that run inside a transaction.

A consumer has looked at every message up to ``scanned``.  Each one that it selected has a row in ``deliveries`` until
it is settled: ``due`` is when it may be delivered again, because its ``ack_wait`` or the delay of a nak is over.  So a
lease that runs out needs no timer, and nothing has to be repaired after a crash.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from pubsubkit import ConsumerInfo, NotFoundError
from pubsubkit.subjects import matches
from pubsubkit_sqlite import streams
from pubsubkit_sqlite.records import check_same, read_spec, write_spec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from pubsubkit.driver import ConsumerSpec

__all__ = [
    "Found",
    "Row",
    "create",
    "delete",
    "extend",
    "finish",
    "give_back",
    "info",
    "join",
    "nak",
    "names",
    "take",
    "update",
]

_FOREVER = 2**62
_SCANNED_AT_ONCE = 1000


class Row(NamedTuple):
    """A message as it is stored, and how often it was delivered."""

    sequence: int
    subject: str
    data: bytes
    headers: str | None
    message_id: str | None
    stored_ns: int
    delivered: int


class Found(NamedTuple):
    """What there is to deliver."""

    row: Row | None
    due: float | None
    """By ``time.time()``: with a row, when a third of its lease is over; without, when to look again at the latest.

    None when only a change can bring a message.
    """
    until: float = 0.0
    """By ``time.time()``: with a row, when its lease ends."""


def create(file: Connection, spec: ConsumerSpec) -> None:
    """Create the consumer."""
    stream = streams.find(file, spec.stream)
    if stream is None:
        raise NotFoundError(f"no stream {spec.stream!r}")
    if (known := _find(file, spec.stream, spec.name)) is not None:
        check_same(f"consumer {spec.stream}/{spec.name}", spec, known[1])
        return
    streams.expire(file, stream)
    start = _start(file, spec) - 1
    number = secrets.randbits(62)  # in a file that takes the place of this one it is nobody else's
    row = (number, spec.stream, spec.name, write_spec(spec), start, start)
    file.execute("INSERT INTO consumers VALUES (?, ?, ?, ?, ?, ?)", row)


def update(file: Connection, spec: ConsumerSpec) -> None:
    """Change the consumer; a new filter applies to all that follows the last message that was delivered."""
    if (known := _find(file, spec.stream, spec.name)) is None:
        raise NotFoundError(f"no consumer {spec.stream}/{spec.name}")
    number, old = known
    text = write_spec(replace(spec, deliver_from=old.deliver_from))
    file.execute("UPDATE consumers SET spec = ? WHERE id = ?", (text, number))
    if spec.filter_subject != old.filter_subject:
        file.execute("UPDATE consumers SET scanned = delivered WHERE id = ?", (number,))


def delete(file: Connection, stream: str, name: str) -> bool:
    """Delete the consumer; False when there was none."""
    if (known := _find(file, stream, name)) is None:
        return False
    file.execute("DELETE FROM deliveries WHERE consumer = ?", (known[0],))
    file.execute("DELETE FROM consumers WHERE id = ?", (known[0],))
    return True


def info(file: Connection, stream: str, name: str) -> ConsumerInfo | None:
    """The consumer with what it has to do, or None."""
    options = streams.find(file, stream)
    known = _find(file, stream, name)
    if options is None or known is None:
        return None
    number, spec = known
    streams.expire(file, options)
    _forget(file, number, spec, time.time())
    pending, unsettled, redelivered = file.execute(
        "SELECT (SELECT count(*) FROM messages m WHERE m.stream = c.stream AND m.sequence > c.scanned"
        " AND (? OR matches(?, m.subject))), (SELECT count(*) FROM deliveries WHERE consumer = c.id),"
        " (SELECT count(*) FROM deliveries WHERE consumer = c.id AND count > 1) FROM consumers c WHERE c.id = ?",
        (not spec.filter_subject, spec.filter_subject, number),
    ).fetchone()
    return ConsumerInfo(spec=spec, num_pending=pending, num_ack_pending=unsettled, num_redelivered=redelivered)


def names(file: Connection, stream: str) -> list[str]:
    """The names of a stream's consumers."""
    return [name for (name,) in file.execute("SELECT name FROM consumers WHERE stream = ?", (stream,))]


def join(file: Connection, spec: ConsumerSpec) -> int:
    """The number under which members of the consumer take its messages."""
    if (known := _find(file, spec.stream, spec.name)) is None:
        raise NotFoundError(f"no consumer {spec.stream}/{spec.name}")
    return known[0]


def take(file: Connection, number: int) -> Found:
    """Lease the next message of a consumer: one that is due again before a new one."""
    found = file.execute("SELECT spec FROM consumers WHERE id = ?", (number,)).fetchone()
    if found is None:
        raise NotFoundError("the consumer was deleted")
    spec = read_spec(found[0])
    stream = streams.find(file, spec.stream)
    if stream is not None:
        streams.expire(file, stream)
    now = time.time()
    _forget(file, number, spec, now)
    row = _again(file, number, spec, now)
    held = file.execute("SELECT count(*) FROM deliveries WHERE consumer = ?", (number,)).fetchone()[0]
    scanning = False
    if row is None and held < spec.max_in_flight:
        row, scanning = _fresh(file, number, spec)
    if row is not None:
        lease = (number, row.sequence, row.delivered, now + spec.ack_wait)
        file.execute("INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?)", lease)
        return Found(row, now + spec.ack_wait / 3, now + spec.ack_wait)
    if scanning:
        return Found(None, now)
    return Found(None, file.execute("SELECT min(due) FROM deliveries WHERE consumer = ?", (number,)).fetchone()[0])


def finish(file: Connection, number: int, row: Row) -> None:
    """Settle a message for good, also by a stale handle."""
    file.execute("DELETE FROM deliveries WHERE consumer = ? AND sequence = ?", (number, row.sequence))


def nak(file: Connection, number: int, row: Row, delay: float) -> None:
    """Have a message delivered again after *delay* seconds; a handle whose message was delivered since is stale."""
    _give_back(file, number, row, time.time() + delay)


def extend(file: Connection, number: int, row: Row) -> None:
    """Begin ``ack_wait`` anew."""
    found = file.execute("SELECT spec FROM consumers WHERE id = ?", (number,)).fetchone()
    if found is not None:
        until = time.time() + read_spec(found[0]).ack_wait
        change = "UPDATE deliveries SET due = ? WHERE consumer = ? AND sequence = ? AND count = ?"
        file.execute(change, (until, number, row.sequence, row.delivered))


def give_back(file: Connection, number: int, held: Sequence[Row], unseen: Found) -> None:
    """Have *held* delivered again, and then *unseen*, which does not count as delivered.

    While the lease of *unseen* lasts, a message without a row was settled by a stale handle, and stays so.  Later it
    may have been forgotten as well, which looks the same, and it is delivered again.
    """
    now = time.time()
    for row in held:
        _give_back(file, number, row, now)
    if unseen.row is not None:
        change = "UPDATE deliveries SET due = ?, count = count - 1 WHERE consumer = ? AND sequence = ? AND count = ?"
        given = file.execute(change, (now, number, unseen.row.sequence, unseen.row.delivered)).rowcount
        if not given and unseen.until <= now:
            _remember(file, number, unseen.row, now)


def _find(file: Connection, stream: str, name: str) -> tuple[int, ConsumerSpec] | None:
    query = "SELECT id, spec FROM consumers WHERE stream = ? AND name = ?"
    row = file.execute(query, (stream, name)).fetchone()
    return None if row is None else (row[0], read_spec(row[1]))


def _start(file: Connection, spec: ConsumerSpec) -> int:
    """The number of the message that a new consumer begins with."""
    where = spec.deliver_from
    following = file.execute("SELECT last + 1 FROM streams WHERE name = ?", (spec.stream,)).fetchone()[0]
    if where == "all":
        return 1
    if where == "new":
        return int(following)
    if isinstance(where, int):
        return min(where, int(following))
    if isinstance(where, datetime):
        query = "SELECT min(sequence) FROM messages WHERE stream = ? AND stored_ns >= ?"
        values: tuple[object, ...] = (spec.stream, round(where.astimezone(UTC).timestamp() * 1_000_000) * 1000)
    else:
        query = "SELECT max(sequence) FROM messages WHERE stream = ? AND matches(?, subject)"
        values = (spec.stream, spec.filter_subject or ">")
    return int(file.execute(query, values).fetchone()[0] or following)


def _forget(file: Connection, number: int, spec: ConsumerSpec, now: float) -> None:
    """Drop what will not be delivered again: it was pushed out by a limit, or was delivered ``max_deliver`` times."""
    file.execute(
        "DELETE FROM deliveries WHERE consumer = ? AND due <= ? AND (count >= ? OR NOT EXISTS "
        "(SELECT 1 FROM messages m WHERE m.stream = ? AND m.sequence = deliveries.sequence))",
        (number, now, spec.max_deliver or _FOREVER, spec.stream),
    )


def _remember(file: Connection, number: int, unseen: Row, now: float) -> None:
    """Take back that a message was forgotten, for its last delivery, of which nobody has seen anything."""
    found = file.execute("SELECT spec FROM consumers WHERE id = ?", (number,)).fetchone()
    if found is not None and unseen.delivered >= (read_spec(found[0]).max_deliver or _FOREVER):
        lease = (number, unseen.sequence, unseen.delivered - 1, now)
        file.execute("INSERT OR IGNORE INTO deliveries VALUES (?, ?, ?, ?)", lease)


def _again(file: Connection, number: int, spec: ConsumerSpec, now: float) -> Row | None:
    found = file.execute(
        "SELECT m.sequence, m.subject, m.data, m.headers, m.message_id, m.stored_ns, d.count + 1"
        " FROM deliveries d JOIN messages m ON m.sequence = d.sequence"
        " WHERE d.consumer = ? AND d.due <= ? AND m.stream = ? ORDER BY d.due, d.sequence LIMIT 1",
        (number, now, spec.stream),
    ).fetchone()
    return None if found is None else Row(*found)


def _fresh(file: Connection, number: int, spec: ConsumerSpec) -> tuple[Row | None, bool]:
    """The next message that was never delivered, and whether there is more to look through."""
    rows = file.execute(
        "SELECT m.sequence, m.subject, m.data, m.headers, m.message_id, m.stored_ns, 1"
        " FROM messages m JOIN consumers c ON m.stream = c.stream AND m.sequence > c.scanned"
        " WHERE c.id = ? ORDER BY m.sequence LIMIT ?",
        (number, _SCANNED_AT_ONCE),
    )
    passed: list[int] = []
    for found in rows:
        row = Row(*found)
        if not spec.filter_subject or matches(spec.filter_subject, row.subject):
            passing = (row.sequence, row.sequence, number)
            file.execute("UPDATE consumers SET delivered = ?, scanned = ? WHERE id = ?", passing)
            return row, False
        passed.append(row.sequence)
    if passed:
        file.execute("UPDATE consumers SET scanned = ? WHERE id = ?", (passed[-1], number))
    return None, len(passed) == _SCANNED_AT_ONCE


def _give_back(file: Connection, number: int, row: Row, due: float) -> None:
    change = "UPDATE deliveries SET due = ? WHERE consumer = ? AND sequence = ? AND count = ?"
    file.execute(change, (due, number, row.sequence, row.delivered))
