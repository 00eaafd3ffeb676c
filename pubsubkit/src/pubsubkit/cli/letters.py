"""How dead letters are shown: as a table, one by one, and as JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pubsubkit.cli.jsonl import format_line
from pubsubkit.cli.table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit.dead_letters import DeadLetter, Replay

__all__ = ["details", "details_line", "overview", "replay_line", "to_row"]

_HEADS = ("SEQUENCE", "TIME", "SUBJECT", "DELIVERIES", "ERROR", "REASON")
_WIDTH = 16


def to_row(letter: DeadLetter) -> dict[str, Any]:
    """Return what is listed of a dead letter: all but headers and payload."""
    return {
        "sequence": letter.sequence,
        "timestamp": letter.timestamp.isoformat(),
        "subject": letter.subject,
        "stream": letter.stream,
        "consumer": letter.consumer,
        "original_sequence": letter.original_sequence,
        "deliveries": letter.deliveries,
        "reason": letter.reason,
        "error": letter.error,
        "bytes": len(letter.data),
    }


def overview(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of :func:`to_row`."""
    return table(_HEADS, [_cells(row) for row in rows])


def details(letter: DeadLetter) -> str:
    """Return everything about a dead letter, for people."""
    origin = f"stream {letter.stream}, consumer {letter.consumer}, sequence {letter.original_sequence}"
    lines = [
        ("sequence", str(letter.sequence)),
        ("state", letter.settled or "open"),
        ("time", letter.timestamp.isoformat()),
        ("subject", letter.subject),
        ("from", origin if letter.stream else "not known"),
        ("deliveries", _or_dash(letter.deliveries)),
        ("error", letter.error or "-"),
        ("reason", letter.reason or "-"),
        *(("header", f"{name}: {text}") for name, text in letter.headers.items()),
        ("payload", f"{len(letter.data)} bytes"),
    ]
    shown = [f"{name:12}{_printable(text)}" for name, text in lines]
    return "\n".join([*shown, "", _payload(letter.data)]).rstrip()


def details_line(letter: DeadLetter) -> bytes:
    """Return everything about a dead letter as a line of JSON."""
    row = {**to_row(letter), "settled": letter.settled, "headers": dict(letter.headers)}
    return format_line(row, letter.data)


def replay_line(outcome: Replay) -> bytes:
    """Return how a replay ended as a line of JSON."""
    letter, receipt = outcome.letter, outcome.receipt
    row = {
        "sequence": letter.sequence,
        "subject": letter.subject,
        "stream": letter.stream,
        "stored_as": receipt.sequence if receipt else None,
        "duplicate": receipt.duplicate if receipt else None,
        "error": str(outcome.error) if outcome.error else None,
    }
    return format_line(row)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    time = row["timestamp"][:19].replace("T", " ") + "Z"
    subject, error, reason = (_printable(row[name]) for name in ("subject", "error", "reason"))
    return (str(row["sequence"]), time, subject, _or_dash(row["deliveries"]), error or "-", reason or "-")


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)


def _printable(text: str) -> str:
    """Headers are text of strangers: nothing of it may act on the terminal."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _payload(data: bytes) -> str:
    """The payload as text, or as a hex dump when it has what is no text."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _hex_dump(data)
    return text if all(each.isprintable() or each in "\t\r\n" for each in text) else _hex_dump(data)


def _hex_dump(data: bytes) -> str:
    lines: list[str] = []
    for start in range(0, len(data), _WIDTH):
        part = data[start : start + _WIDTH]
        text = "".join(chr(each) if 32 <= each < 127 else "." for each in part)
        lines.append(f"{start:08x}  {part.hex(' '):{3 * _WIDTH}} {text}")
    return "\n".join(lines)
