"""Dealing with dead letters: look at them, publish them again, or put them away.

::

    from pubsubkit import dead_letters

    async for outcome in dead_letters.replay(backend, "orders-dead", Selection(reason="timeout")):
        print(outcome.letter.sequence, outcome.error or "replayed")

Brokers have no way in common to delete one message, so what was dealt with is noted: the stream ``{stream}-settled``
holds one small message for each dead letter that was replayed or purged.  A dead letter without such a note is open.

Looking at them changes nothing and hides nothing from others.  A durable consumer in place of the notes would: to see
what it has left one must take it away from everybody else, and what a run was about to give back as it died would be
hidden until ``ack_wait`` is over.  A note is a confirmed publish as well, which survives what the dead letter survives.

Publishing again goes store, have it confirmed, note.  Whatever fails in between, the next run does it again under the
same message id, which a broker that de-duplicates stores once within the ``duplicate_window`` of the original's stream.
Several runs at the same time look for each other's notes before every batch.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from pubsubkit.dead_letters.letter import DeadLetter, Selection, to_letter
from pubsubkit.dead_letters.notes import Notes
from pubsubkit.dead_letters.reading import read_stored
from pubsubkit.dead_letters.run import Replay, Run, open_letters
from pubsubkit.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pubsubkit.backend import Backend

__all__ = ["DeadLetter", "Replay", "Selection", "get", "purge", "read", "replay"]

_ALL = Selection()


async def read(backend: Backend, stream: str, selection: Selection = _ALL) -> AsyncGenerator[DeadLetter]:
    """Give out the open dead letters that were in *stream* when this was called, the oldest first.

    :raises NotFoundError: there is no such stream.
    :raises PubSubError: as reading a subscription does.
    """
    async with aclosing(open_letters(backend, stream, Notes(backend, stream), selection)) as letters:
        async for letter in letters:
            yield letter


async def get(backend: Backend, stream: str, sequence: int) -> DeadLetter:
    """Return one dead letter, open or not.

    :raises NotFoundError: there is no such stream, or no message of that number in it.
    """
    notes = Notes(backend, stream)
    await notes.refresh()
    async with aclosing(read_stored(backend, stream, sequence)) as messages:
        message = await anext(messages, None)
    if message is None or message.metadata.sequence != sequence:
        raise NotFoundError(f"no dead letter {sequence} in stream {stream!r}")
    return to_letter(message, stream, notes.verdict(sequence, message.metadata.timestamp))


async def replay(backend: Backend, stream: str, selection: Selection = _ALL) -> AsyncGenerator[Replay]:
    """Publish open dead letters again, each to its original stream and subject with its original data and headers,
    and give out how that ended.

    All consumers of the original stream get the message, also those that had handled it.  When an outcome is given out
    the dead letter is settled, unless there is an error.  What becomes a dead letter meanwhile is left for the next
    run.  Stopping, cancelling or killing a run loses nothing, and the next one stores nothing twice as long as it
    begins within the ``duplicate_window`` of the original's stream.

    :raises NotFoundError: there is no such stream.
    :raises TransientError: the broker did not confirm in time.
    :raises ConflictError: the notes would be less durable than the dead letters.
    :raises PubSubError: as reading a subscription does.
    """
    async with Run(backend, stream) as run, aclosing(run.replay(selection)) as batches:
        async for batch in batches:
            for outcome in batch:
                yield outcome


async def purge(backend: Backend, stream: str, selection: Selection = _ALL) -> AsyncGenerator[DeadLetter]:
    """Put open dead letters away: they are open no more; give out each.

    They stay stored until a limit of their stream pushes them out.

    :raises NotFoundError: there is no such stream.
    :raises ConflictError: the notes would be less durable than the dead letters.
    :raises PubSubError: as publishing and reading do.
    """
    async with Run(backend, stream) as run, aclosing(run.purge(selection)) as batches:
        async for batch in batches:
            for letter in batch:
                yield letter
