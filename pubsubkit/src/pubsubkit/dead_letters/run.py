"""One run that settles dead letters."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pubsubkit.dead_letters.letter import to_letter
from pubsubkit.dead_letters.notes import RETRIES, Notes
from pubsubkit.dead_letters.reading import read_stored
from pubsubkit.driver import Capability
from pubsubkit.errors import ClosedError, NotFoundError, PubSubError, TransientError
from pubsubkit.options import PublisherOptions
from pubsubkit.payload import message_size

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from pubsubkit.backend import Backend
    from pubsubkit.dead_letters.letter import DeadLetter, Selection, Settled
    from pubsubkit.publisher import Publisher
    from pubsubkit.receipt import PublishReceipt

__all__ = ["Replay", "Run", "open_letters"]

_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Replay:
    """How publishing one dead letter again ended."""

    letter: DeadLetter
    receipt: PublishReceipt | None = None
    """Where the original is now; ``duplicate`` when a run that was interrupted had stored it there."""
    error: PubSubError | None = None
    """Why it was not stored; the dead letter stays open."""


async def open_letters(backend: Backend, stream: str, notes: Notes, selection: Selection) -> AsyncGenerator[DeadLetter]:
    """Give out the selected dead letters that *stream* holds now and that have no note, the oldest first."""
    await notes.refresh()
    count = 0
    async with aclosing(read_stored(backend, stream)) as messages:
        async for message in messages:
            meta = message.metadata
            letter = to_letter(message, stream, notes.verdict(meta.sequence, meta.timestamp))
            if letter.settled is None and selection.takes(letter):
                yield letter
                count += 1
                if count == selection.limit:
                    return


class Run:
    """One run that settles dead letters, inside ``async with``.

    Entering makes the stream of notes; it raises NotFoundError when there is no stream of dead letters, and
    ConflictError when the notes would be less durable.
    """

    def __init__(self, backend: Backend, stream: str) -> None:
        self._notes = Notes(backend, stream)
        self._backend = backend
        self._stream = stream
        self._stack = AsyncExitStack()
        self._publishers: dict[str, Publisher] = {}

    async def __aenter__(self) -> Self:
        options = (await self._backend.stream_info(self._stream)).options
        self._writer = await self._notes.publisher(options)
        await self._stack.enter_async_context(self._writer)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def replay(self, selection: Selection) -> AsyncGenerator[Sequence[Replay]]:
        """Publish again what is selected, and give out the outcomes batch by batch.

        :raises TransientError: the broker did not confirm in time; what that batch came to was given out before.
        """
        async with aclosing(self._batches(selection)) as batches:
            async for letters in batches:
                begun = [await self._begin(letter) for letter in letters]
                outcomes = [await _end(*pair) for pair in zip(letters, begun, strict=True)]
                await self._note([outcome.letter for outcome in outcomes if outcome.error is None], "replayed")
                yield outcomes
                for outcome in outcomes:
                    if isinstance(outcome.error, TransientError | ClosedError):
                        raise outcome.error

    async def purge(self, selection: Selection) -> AsyncGenerator[Sequence[DeadLetter]]:
        """Put away what is selected, and give it out batch by batch."""
        async with aclosing(self._batches(selection)) as batches:
            async for letters in batches:
                await self._note(letters, "purged")
                yield letters

    async def _batches(self, selection: Selection) -> AsyncGenerator[Sequence[DeadLetter]]:
        """Give out what is selected in batches, without what others have settled up to then."""
        letters = open_letters(self._backend, self._stream, self._notes, selection)
        async with aclosing(letters), aclosing(_in_batches(letters)) as batches:
            async for batch in batches:
                await self._notes.refresh()
                left = [each for each in batch if self._notes.verdict(each.sequence, each.timestamp) is None]
                if left:
                    yield left

    async def _note(self, letters: Sequence[DeadLetter], verdict: Settled) -> None:
        await self._notes.add(self._writer, letters, verdict)

    async def _begin(self, letter: DeadLetter) -> asyncio.Future[PublishReceipt] | PubSubError:
        try:
            publisher = await self._publisher(letter)
            unique = self._message_id(letter)
            return await publisher.publish_soon(letter.subject, letter.data, headers=letter.headers, message_id=unique)
        except PubSubError as error:
            return error

    async def _publisher(self, letter: DeadLetter) -> Publisher:
        if not letter.stream:
            raise NotFoundError(
                f"dead letter {letter.sequence} does not say which stream it comes from, as it had no room for that; "
                "publish it by hand and purge it"
            )
        publisher = self._publishers.get(letter.stream)
        if publisher is None:
            await self._backend.stream_info(letter.stream)
            options = PublisherOptions(stream_name=letter.stream, manage="none", retry_attempts=RETRIES)
            publisher = await self._stack.enter_async_context(self._backend.publisher(options))
            self._publishers[letter.stream] = publisher
        return publisher

    def _message_id(self, letter: DeadLetter) -> str | None:
        """The same for all runs; None where the broker cannot use it, or the message has no room for it."""
        unique = f"{self._stream}:{letter.sequence}:{letter.timestamp.isoformat()}"
        fits = message_size(letter.data, letter.headers, unique) <= self._backend.max_payload
        return unique if fits and Capability.DEDUPLICATION in self._backend.capabilities else None


async def _end(letter: DeadLetter, begun: asyncio.Future[PublishReceipt] | PubSubError) -> Replay:
    if isinstance(begun, PubSubError):
        return Replay(letter=letter, error=begun)
    try:
        return Replay(letter=letter, receipt=await begun)
    except PubSubError as error:
        return Replay(letter=letter, error=error)


async def _in_batches(letters: AsyncIterator[DeadLetter]) -> AsyncGenerator[Sequence[DeadLetter]]:
    batch: list[DeadLetter] = []
    async for letter in letters:
        batch.append(letter)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
