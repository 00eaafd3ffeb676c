"""``pubsubkit dlq``: dead letters."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from pubsubkit import dead_letters
from pubsubkit.cli import stopping
from pubsubkit.cli.common import Settings, common_options
from pubsubkit.cli.failure import DONE, CommandError
from pubsubkit.cli.jsonl import format_line
from pubsubkit.cli.letters import details, details_line, overview, replay_line, to_row
from pubsubkit.cli.pipes import Output, ReaderGone, standard_stream
from pubsubkit.cli.progress import shown
from pubsubkit.cli.session import opened
from pubsubkit.dead_letters import Selection
from pubsubkit.dead_letters.run import Run
from pubsubkit.errors import PubSubError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pubsubkit.backend import Backend
    from pubsubkit.cli.stopping import Stop
    from pubsubkit.dead_letters import DeadLetter, Replay

__all__ = ["dlq"]

_Command = Callable[..., Any]
_JSON = click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each.")
_SEQUENCES = click.argument("sequences", type=click.IntRange(1), nargs=-1, metavar="[SEQUENCE]...")


def _filters(function: _Command) -> _Command:
    """Give a command the options that select dead letters."""
    options = (
        click.option("--reason", default="", metavar="TEXT", help="Only with TEXT in the reason, in any case."),
        click.option("--error", default="", metavar="TYPE", help="Only of this type of exception."),
        click.option("--subject", default="", metavar="FILTER", help="Only whose original subject FILTER selects."),
        click.option("--limit", type=click.IntRange(1), metavar="N", help="The oldest N of them."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.group()
def dlq() -> None:
    """Look at dead letters, publish them again, or put them away.

    STREAM is the stream of dead letters.  A dead letter is open until it was replayed or purged; that is noted in the
    stream STREAM-settled.  Without a SEQUENCE and without filters all open ones are meant.

    \b
      pubsubkit dlq list orders-dead
      pubsubkit dlq show orders-dead 12
      pubsubkit dlq replay orders-dead 12 13
      pubsubkit dlq replay orders-dead --error TimeoutError --limit 100
      pubsubkit dlq purge orders-dead --subject 'orders.test.>' --yes
    """  # noqa: D301 - \b is a mark for click


@dlq.command("list")
@click.argument("stream")
@_filters
@_JSON
@common_options
def list_(settings: Settings, stream: str, *, as_json: bool, **filters: Any) -> int:
    """List the open dead letters of STREAM, the oldest first.  It changes nothing.

    \b
      pubsubkit dlq list orders-dead
      pubsubkit dlq list orders-dead --subject 'orders.*.created' --reason timeout
      pubsubkit dlq list orders-dead --json | jq -r .error | sort | uniq -c
    """  # noqa: D301 - \b is a mark for click
    selection = Selection(**filters)
    rows = _find(settings.need_url(), stream, selection)
    if not rows:
        click.echo(f"no open dead letters in stream {stream}", err=True)
    elif as_json:
        _print(map(format_line, rows))
    else:
        _print([f"{overview(rows)}\n".encode()])
    if rows and not any(row["stream"] or row["deliveries"] or row["reason"] for row in rows):
        click.echo(f"none of these says where it comes from: is {stream} the stream of dead_letter=?", err=True)
    return DONE


@dlq.command()
@click.argument("stream")
@click.argument("sequence", type=click.IntRange(1))
@click.option("--raw", is_flag=True, help="Print the payload alone, byte for byte.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON.")
@common_options
def show(settings: Settings, stream: str, sequence: int, *, raw: bool, as_json: bool) -> int:
    """Show the dead letter SEQUENCE of STREAM, open or not, with headers and payload.

    A payload that is no text is shown as a hex dump.  In JSON it is in "data", "text" or "base64", as in the lines of
    `pubsubkit sub`.

    \b
      pubsubkit dlq show orders-dead 12
      pubsubkit dlq show orders-dead 12 --raw > payload
      pubsubkit dlq show orders-dead 12 --json | jq .data
    """  # noqa: D301 - \b is a mark for click
    if raw and as_json:
        raise click.UsageError("give --raw or --json, not both")
    url = settings.need_url()

    async def get(stop: Stop) -> DeadLetter:
        async with opened(stop, url) as backend:
            return await stop.race(dead_letters.get(backend, stream, sequence))

    letter = stopping.run(get)
    if raw:
        _print([letter.data])
    else:
        _print([details_line(letter) if as_json else f"{details(letter)}\n".encode()])
    return DONE


@dlq.command()
@click.argument("stream")
@_SEQUENCES
@_filters
@_JSON
@common_options
def replay(settings: Settings, stream: str, sequences: tuple[int, ...], *, as_json: bool, **filters: Any) -> int:
    """Publish open dead letters of STREAM again, each to its original stream and subject.

    Every consumer of the original stream gets the message.  It is stored, and confirmed, before the dead letter counts
    as replayed; a run that was interrupted can be repeated at once: what it had stored is not stored twice.  What
    cannot be published, because its stream is gone for example, stays open.

    \b
      pubsubkit dlq replay orders-dead
      pubsubkit dlq replay orders-dead 12 13
      pubsubkit dlq replay orders-dead --error TimeoutError --limit 100
    """  # noqa: D301 - \b is a mark for click
    run = _Settling(stream, Selection(sequences=sequences, **filters), "replayed", as_json=as_json)
    return run.go(settings.need_url())


@dlq.command()
@click.argument("stream")
@_SEQUENCES
@_filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
@common_options
def purge(
    settings: Settings, stream: str, sequences: tuple[int, ...], *, yes: bool, as_json: bool, **filters: Any
) -> int:
    """Put open dead letters of STREAM away: they are not listed and not replayed any more.

    They stay stored until a limit of their stream pushes them out.  On a terminal it asks before.

    \b
      pubsubkit dlq purge orders-dead 12
      pubsubkit dlq purge orders-dead --subject 'orders.test.>' --yes
    """  # noqa: D301 - \b is a mark for click
    url, selection = settings.need_url(), Selection(sequences=sequences, **filters)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody can be asked here whether to purge: give --yes")
        found = [row["sequence"] for row in _find(url, stream, selection)]
        if not found or not click.confirm(f"Purge {_count(len(found))} of stream {stream}?", err=True):
            click.echo("nothing was purged" if found else f"no open dead letters in stream {stream}", err=True)
            return DONE
        selection = Selection(sequences=found)
    return _Settling(stream, selection, "purged", as_json=as_json).go(url)


class _Settling:
    """One run of ``replay`` or ``purge``.

    :param verb: which of them, as in the summary.
    """

    def __init__(self, stream: str, selection: Selection, verb: str, *, as_json: bool = False) -> None:
        self._stream = stream
        self._selection = selection
        self._verb = verb
        self._output = Output(standard_stream("stdout")) if as_json else None
        self._done = 0
        self._duplicates = 0
        self._failed = 0
        self._first_failure: Replay | None = None
        self._seen: set[int] = set()

    def go(self, url: str) -> int:
        """Settle what is selected, say how it went, and return the exit code."""
        return stopping.run(lambda stop: self._main(stop, url))

    async def _main(self, stop: Stop, url: str) -> int:
        try:
            async with opened(stop, url) as backend, shown(self._line):
                await (self._replay if self._verb == "replayed" else self._purge)(stop, backend)
        except (PubSubError, CommandError):
            if self._done:
                click.echo(self._summary(stop), err=True)
            raise
        click.echo(self._summary(stop), err=True)
        if stop.signal:
            return 128 + stop.signal
        self._check()
        return DONE

    async def _replay(self, stop: Stop, backend: Backend) -> None:
        async with Run(backend, self._stream) as run, aclosing(run.replay(self._selection)) as batches:
            async for batch in batches:
                failed = [outcome for outcome in batch if outcome.error]
                self._failed += len(failed)
                self._first_failure = self._first_failure or next(iter(failed), None)
                self._done += sum(outcome.error is None for outcome in batch)
                self._duplicates += sum(bool(outcome.receipt and outcome.receipt.duplicate) for outcome in batch)
                self._seen.update(outcome.letter.sequence for outcome in batch)
                await self._tell(map(replay_line, batch))
                if stop.asked:
                    return

    async def _purge(self, stop: Stop, backend: Backend) -> None:
        async with Run(backend, self._stream) as run, aclosing(run.purge(self._selection)) as batches:
            async for batch in batches:
                self._done += len(batch)
                self._seen.update(letter.sequence for letter in batch)
                await self._tell(format_line(to_row(letter)) for letter in batch)
                if stop.asked:
                    return

    async def _tell(self, lines: Iterable[bytes]) -> None:
        """Print *lines*; a reader that has gone keeps nothing from being done."""
        if self._output is not None:
            try:
                await self._output.write(b"".join(lines))
            except ReaderGone:
                self._output = None

    def _line(self) -> str:
        return f"{self._done} {self._verb}"

    def _summary(self, stop: Stop) -> str:
        again = f", {self._duplicates} of them stored before by a run that was interrupted" if self._duplicates else ""
        ending = f"; stopped by {stop.signal.name}" if stop.signal else ""
        return f"{self._verb} {_count(self._done)} of stream {self._stream}{again}{ending}"

    def _check(self) -> None:
        if first := self._first_failure:
            raise CommandError(
                f"{_count(self._failed)} could not be replayed and stay open; "
                f"the first is {first.letter.sequence}: {first.error}"
            )
        if missing := sorted(set(self._selection.sequences) - self._seen):
            numbers = ", ".join(map(str, missing))
            raise CommandError(f"no open dead letter {numbers} in stream {self._stream}, or a filter leaves it out")


def _find(url: str, stream: str, selection: Selection) -> Sequence[dict[str, Any]]:
    """The rows of the open dead letters; all of them, so that a reader who is slow holds up nothing on the broker."""
    rows: list[dict[str, Any]] = []

    async def collect(backend: Backend) -> None:
        async with aclosing(dead_letters.read(backend, stream, selection)) as letters:
            async for letter in letters:
                rows.append(to_row(letter))  # noqa: PERF401 - they are counted meanwhile

    async def find(stop: Stop) -> None:
        async with opened(stop, url) as backend, shown(lambda: f"{len(rows)} read"):
            await stop.race(collect(backend))

    stopping.run(find)
    return rows


def _print(parts: Iterable[bytes]) -> None:
    async def write(stop: Stop) -> None:
        output = Output(standard_stream("stdout"))
        for part in parts:
            await stop.race(output.write(part))

    try:
        stopping.run(write)
    except ReaderGone:
        return


def _count(number: int) -> str:
    return "1 dead letter" if number == 1 else f"{number} dead letters"
