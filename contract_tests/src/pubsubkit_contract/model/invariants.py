"""What must hold of every history, whatever happened in it: pure functions of a record.

Each yields a sentence for every violation.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pubsubkit.subjects import matches
from pubsubkit_contract.model.record import Closed, Delivered, Settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pubsubkit_contract.model.record import Record

__all__ = ["INVARIANTS", "broken"]

_Place = tuple[str, int]
"""A consumer, and the sequence of a message."""
_FINAL = ("ack", "term")
_EARLY = 0.9
_SAFE = 0.1
"""The part of ``ack_wait`` in which a verdict is in time, although the message may have waited in a member's buffer."""


def nothing_lost(record: Record) -> Iterator[str]:
    """Each consumer got every confirmed message that its filter selects, again and again until it was settled."""
    settled = {
        (event.delivery.consumer, event.delivery.data)
        for event in record.events
        if isinstance(event, Settled) and event.verdict in _FINAL
    }
    for consumer, pattern in record.filters.items():
        got = {delivery.data for delivery in record.delivered(consumer)}
        for message in record.published:
            if message.sequence is None or not matches(pattern or ">", message.subject):
                continue
            if message.data not in got:
                yield f"{consumer} never got {message.data!r}, stored under {message.sequence}"
            elif (consumer, message.data) not in settled:
                yield f"{consumer} never got {message.data!r} again, which was not settled"


def nothing_invented(record: Record) -> Iterator[str]:
    """A consumer gets only what was published, unchanged, and selected by its filter."""
    subjects = {message.data: message.subject for message in record.published}
    for consumer, pattern in record.filters.items():
        for delivery in record.delivered(consumer):
            if subjects.get(delivery.data) != delivery.subject:
                yield f"{consumer} got {delivery.data!r} on {delivery.subject}, which was never published"
            elif not matches(pattern or ">", delivery.subject):
                yield f"{consumer} got {delivery.data!r} on {delivery.subject}, which its filter does not select"


def stored_once(record: Record) -> Iterator[str]:
    """The stream holds every confirmed message, each once, and nothing that was not attempted."""
    confirmed = [message for message in record.published if message.sequence is not None]
    highest = len(record.published) if record.unique else max(record.stored, len(confirmed))
    if not len(confirmed) <= record.stored <= highest:
        yield f"{len(confirmed)} of {len(record.published)} messages were confirmed and {record.stored} are stored"
    if len({message.sequence for message in confirmed}) < len(confirmed):
        yield "two messages were confirmed under one sequence"


def one_sequence(record: Record) -> Iterator[str]:
    """A message has one sequence, that of its receipt, at every delivery."""
    known = {message.data: message.sequence for message in record.published if message.sequence is not None}
    for event in record.events:
        if isinstance(event, Delivered) and record.unique:
            sequence = known.setdefault(event.data, event.sequence)
            if event.sequence != sequence:
                yield f"{event.data!r} was delivered as {event.sequence}, and is stored as {sequence}"


def settled_stays(record: Record) -> Iterator[str]:
    """A message that was acked or terminated in time does not come again.

    A late nak may have sent for it before, and after a disturbance a member's buffer may hold an older delivery.
    When all was read, none may come.
    """
    done: dict[_Place, int] = {}
    latest: dict[_Place, Delivered] = {}
    late_naks = _late_naks(record)
    for index, event in enumerate(record.events):
        if isinstance(event, Delivered):
            place = event.consumer, event.sequence
            buffered = not record.calm or late_naks.get(place, index) < done.get(place, index)
            if place in done and (index >= record.read_at or not buffered):
                yield f"{event.consumer} got {event.data!r} again (delivery {event.num}) after it was settled"
            latest[place] = event
        elif isinstance(event, Settled) and event.verdict in _FINAL and event.sure and _in_time(record, event, latest):
            done.setdefault(_place(event), index)


def counts_increase(record: Record) -> Iterator[str]:
    """Each delivery of a message has a higher count than the one before.

    After a late nak or a disturbance two members may have it in their buffers: then at least another count.
    """
    counts: dict[_Place, list[int]] = defaultdict(list)
    late_naks = _late_naks(record)
    for index, event in enumerate(record.events):
        if isinstance(event, Delivered) and record.counts:
            place = event.consumer, event.sequence
            before = counts[place]
            in_order = record.calm and late_naks.get(place, index) >= index
            wrong = event.num <= max(before, default=0) if in_order else event.num in before
            if wrong or event.num < 1:
                yield f"{event.consumer} got {event.data!r} as delivery {event.num} after deliveries {before}"
            before.append(event.num)


def publishing_in_order(record: Record) -> Iterator[str]:
    """What one publisher published later has a higher sequence."""
    last: dict[str, int] = {}
    for message in record.published:
        if message.sequence is not None and record.calm:
            if message.sequence <= last.get(message.publisher, 0):
                yield f"{message.data!r} was stored as {message.sequence}, behind its successor"
            last[message.publisher] = message.sequence


def first_in_order(record: Record) -> Iterator[str]:
    """First deliveries to one member are in the order in which each publisher's messages are stored."""
    last: dict[tuple[str, bytes], int] = {}
    for event in record.events:
        if isinstance(event, Delivered) and event.num == 1 and record.ordered and record.counts:
            place = event.member, event.data.partition(b"/")[0]
            if event.sequence < last.get(place, 0):
                yield f"{event.member} got {event.data!r} ({event.sequence}) after {last[place]} of the same publisher"
            last[place] = event.sequence


def leased_to_one(record: Record) -> Iterator[str]:
    """A message that a member holds comes to nobody else before ``ack_wait`` is over, unless it was given back late."""
    held: dict[_Place, Delivered] = {}
    late_naks = _late_naks(record)
    for index, event in enumerate(record.events):
        if isinstance(event, Closed):
            held = {place: delivery for place, delivery in held.items() if delivery.member != event.member}
        elif isinstance(event, Settled):
            held.pop(_place(event), None)
        elif isinstance(event, Delivered):
            place = event.consumer, event.sequence
            before = held.get(place)
            soon = before and event.at - before.at < _SAFE * record.ack_wait
            if before and soon and record.calm and late_naks.get(place, index) >= index:
                yield f"{event.member} got {event.data!r} while {before.member} held it"
            held[place] = event


def delays_kept(record: Record) -> Iterator[str]:
    """A message that was given back with a delay does not come before the delay is over, unless it was given back late
    as well.
    """
    due: dict[_Place, float] = {}
    late_naks = _late_naks(record)
    for index, event in enumerate(record.events):
        if isinstance(event, Settled) and event.verdict == "nak":
            due[_place(event)] = event.at + _EARLY * event.delay
        elif isinstance(event, Delivered):
            place = event.consumer, event.sequence
            if event.at < due.pop(place, 0.0) and record.calm and late_naks.get(place, index) >= index:
                yield f"{event.consumer} got {event.data!r} before its delay was over"


def nothing_left(record: Record) -> Iterator[str]:
    """When everything was read and settled, the consumers have nothing pending and nothing in flight."""
    for consumer, (pending, in_flight) in record.left.items():
        if (pending, in_flight) != (0, 0):
            yield f"{consumer} has {pending} messages pending and {in_flight} in flight in the end"


INVARIANTS: tuple[Callable[[Record], Iterator[str]], ...] = (
    nothing_invented,
    stored_once,
    one_sequence,
    publishing_in_order,
    nothing_lost,
    settled_stays,
    counts_increase,
    first_in_order,
    leased_to_one,
    delays_kept,
    nothing_left,
)


def _place(settled: Settled) -> _Place:
    return settled.delivery.consumer, settled.delivery.sequence


def _late_naks(record: Record) -> dict[_Place, int]:
    """When each message was first given back late: from then on it may be with two members."""
    naks: dict[_Place, int] = {}
    latest: dict[_Place, Delivered] = {}
    for index, event in enumerate(record.events):
        if isinstance(event, Delivered):
            latest[event.consumer, event.sequence] = event
        elif isinstance(event, Settled) and event.verdict == "nak" and not _in_time(record, event, latest):
            naks.setdefault(_place(event), index)
    return naks


def _in_time(record: Record, settled: Settled, latest: Mapping[_Place, Delivered]) -> bool:
    """Whether the verdict was given soon, and on the latest delivery of its message."""
    soon = settled.at - settled.delivery.at < _SAFE * record.ack_wait
    return soon and latest.get(_place(settled)) is settled.delivery


def broken(record: Record) -> dict[str, list[str]]:
    """The violations of *record* by the name of the invariant; empty when all hold."""
    found = {invariant.__name__: list(invariant(record)) for invariant in INVARIANTS}
    return {name: violations for name, violations in found.items() if violations}
