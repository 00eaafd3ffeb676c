"""What was dealt with: a stream of small notes beside a stream of dead letters."""

from __future__ import annotations

import json
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from pubsubkit.dead_letters.reading import read_stored
from pubsubkit.driver import Capability
from pubsubkit.errors import ConflictError, NotFoundError, PublishBatchError
from pubsubkit.options import PublisherOptions, StreamOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pubsubkit.backend import Backend
    from pubsubkit.dead_letters.letter import DeadLetter, Settled
    from pubsubkit.publisher import Publisher

__all__ = ["RETRIES", "Notes"]

RETRIES = 5
"""Further attempts of a publish: with their waits about two seconds."""


class Notes:
    """The notes on the dead letters of one stream, as far as this side has read them."""

    def __init__(self, backend: Backend, stream: str) -> None:
        self.stream: str = f"{stream}-settled"
        self._backend = backend
        self._found: dict[tuple[int, str], Settled] = {}
        self._last = 0

    def verdict(self, sequence: int, timestamp: datetime) -> Settled | None:
        """What became of a dead letter; its time tells it from one of a stream that was made anew."""
        return self._found.get((sequence, timestamp.isoformat()))

    async def refresh(self) -> None:
        """Read what was added since, by whomever."""
        with suppress(NotFoundError):
            async with aclosing(read_stored(self._backend, self.stream, self._last + 1)) as messages:
                async for message in messages:
                    self._last = message.metadata.sequence
                    verdict: Settled = "purged" if message.subject.endswith(".purged") else "replayed"
                    with suppress(ValueError, LookupError, TypeError):  # somebody else's message is no note
                        note = json.loads(message.data)
                        self._found[note["sequence"], note["timestamp"]] = verdict

    async def publisher(self, options: StreamOptions) -> Publisher:
        """Return a publisher for :meth:`add`, to be entered.

        It makes sure that the stream exists and keeps the notes as safe and as long as *options* keeps dead letters.

        :raises ConflictError: it does not.
        """
        wanted = StreamOptions(
            name=self.stream, storage=options.storage, replicas=options.replicas, max_age=options.max_age
        )
        found = await self._backend.ensure_stream(wanted, manage="update")
        if found.max_age is not None and options.max_age is None:
            raise ConflictError(
                f"stream {self.stream!r} forgets after {found.max_age:g} seconds which of the dead letters were dealt "
                "with, which are kept for ever; remove its max_age"
            )
        return self._backend.publisher(PublisherOptions(stream=wanted, manage="none", retry_attempts=RETRIES))

    async def add(self, publisher: Publisher, letters: Sequence[DeadLetter], verdict: Settled) -> None:
        """Note what became of *letters*.

        :raises PubSubError: some were not noted; the error is that of the first.
        """
        try:
            await publisher.publish_many([self._note(letter, verdict) for letter in letters])
        except PublishBatchError as error:
            raise next(iter(error.failed.values())) from error

    def _note(self, letter: DeadLetter, verdict: Settled) -> tuple[str, bytes, None, str | None]:
        time = letter.timestamp.isoformat()
        data = json.dumps({"sequence": letter.sequence, "timestamp": time}).encode()
        can = Capability.DEDUPLICATION in self._backend.capabilities
        return f"{self.stream}.{verdict}", data, None, f"{letter.sequence}:{time}" if can else None
