"""``pubsubkit pub``."""

from __future__ import annotations

import json
import os
import sys
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from pubsubkit.cli import stopping
from pubsubkit.cli.common import Settings, common_options
from pubsubkit.cli.failure import DONE, CommandError, exit_code, one_line
from pubsubkit.cli.pipes import Output, ReaderGone, standard_stream
from pubsubkit.cli.progress import Tally, shown
from pubsubkit.cli.session import STORAGE, choose_stream, first_token, opened
from pubsubkit.cli.sources import Argument, JsonLines, StandardInput
from pubsubkit.cli.stopping import Stopped
from pubsubkit.cli.values import header, seconds
from pubsubkit.driver import OutgoingMessage
from pubsubkit.errors import PublishBatchError, PubSubError
from pubsubkit.options import PublisherOptions
from pubsubkit.receipt import PublishReceipt
from pubsubkit.subjects import check_subject

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncGenerator, Sequence

    from pubsubkit.backend import Backend
    from pubsubkit.cli.sources import Source
    from pubsubkit.cli.stopping import Stop

__all__ = ["pub"]


class _Input(click.File):
    """A file to read bytes from; ``-`` is stdin."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Open it."""
        return standard_stream("stdin") if value == "-" else super().convert(value, param, ctx)


@click.command()
@click.argument("subject", required=False)
@click.argument("data", required=False)
@click.option("--jsonl", type=_Input("rb"), metavar="FILE", help="Publish a message per line of FILE; - is stdin.")
@click.option("--stream", metavar="NAME", help="Stream to publish into.  [default: first token of the first subject]")
@STORAGE
@click.option("-H", "--header", type=header, multiple=True, metavar="'NAME: VALUE'", help="Header; may be repeated.")
@click.option("--message-id", metavar="ID", help="Stored once within the stream's duplicate window.")
@click.option(
    "--retry",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    show_default=True,
    help="Further attempts after a failure.",
)
@click.option(
    "--timeout",
    type=seconds,
    metavar="DURATION",
    default="5s",
    show_default=True,
    help="Wait for the broker's confirmation.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON line for each message: where it is stored, or why not."
)
@common_options
def pub(settings: Settings, **arguments: Any) -> int:
    """Publish one message, or with --jsonl many.

    It ends when the broker has confirmed that it stored every message.  DATA is sent as it is; without DATA, or with
    -, all of stdin is one message.

    \b
      pubsubkit pub orders.created '{"id": 1}'
      pubsubkit pub files.report -H 'Content-Type: application/pdf' < report.pdf
      pubsubkit pub orders.created --message-id 1 --retry 5 -- -5
      pubsubkit pub orders.created '{"id": 1}' --json | jq .sequence

    A line of --jsonl has a subject and any JSON as data, which is published as a JSON document: "data": "a" sends the
    three bytes "a" with its quotes.  Use "text" or "base64" in place of "data" for other payloads.  The lines that
    `pubsubkit sub` prints can be published again.

    \b
      {"subject": "orders.created", "data": {"id": 1}}
      {"subject": "orders.note", "text": "as it is", "headers": {"By": "me"}, "message_id": "n1"}

    \b
      pubsubkit pub --jsonl events.jsonl --storage file
      tail -f events.jsonl | pubsubkit pub --jsonl - --stream github
    """  # noqa: D301 - \b is a mark for click
    request = Request(**arguments)
    request.check()
    url = settings.need_url()
    return stopping.run(lambda stop: _Run(stop, request).go(url))


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of ``pub``."""

    subject: str | None
    data: str | None
    jsonl: BinaryIO | None
    stream: str | None
    storage: str | None
    header: tuple[tuple[str, str], ...]
    message_id: str | None
    retry: int
    timeout: float
    as_json: bool

    def check(self) -> None:
        """Raise for arguments that do not go together."""
        if self.jsonl is None and self.subject is None:
            raise click.UsageError("give a SUBJECT, or --jsonl FILE")
        if self.jsonl is not None and (self.subject is not None or self.message_id is not None):
            raise click.UsageError("with --jsonl the lines say the subjects, data and message ids")
        names = [name.lower() for name, _ in self.header]
        if len(set(names)) < len(names):
            raise click.UsageError("a header is given twice")
        if self.subject is not None:
            check_subject(self.subject)

    def source(self, stop: Stop) -> Source:
        """Return where the messages come from."""
        headers = dict(self.header)
        if self.jsonl is not None:
            return JsonLines(stop, self.jsonl, getattr(self.jsonl, "name", "stdin").strip("<>"), headers)
        data = os.fsencode(self.data or "")
        message = OutgoingMessage(self.subject or "", data, headers or None, self.message_id)
        if self.data is None or self.data == "-":
            if sys.stdin and sys.stdin.isatty():
                click.echo("reading the message from the terminal; end it with Ctrl-D", err=True)
            return StandardInput(stop, standard_stream("stdin"), message)
        return Argument(stop, message)


class _Run:
    """One run of ``pub``."""

    def __init__(self, stop: Stop, request: Request) -> None:
        self._stop = stop
        self._request = request
        self._source = request.source(stop)
        self._tally = Tally(stop)
        self._stream = ""
        self._failure: CommandError | None = None

    async def go(self, url: str) -> int:
        """Publish everything, say how it went, and return the exit code."""
        try:
            async with opened(self._stop, url) as backend:
                await self._publish(backend)
        except Stopped:
            self._source.cut = True
        stopped = await self._stopped_early()
        ending = f"; stopped by {stopped.name}" if stopped else ""
        click.echo(self._tally.summary(self._stream) + ending, err=True)
        if problem := self._failure or self._source.problem:
            raise problem
        return 128 + stopped if stopped else DONE

    async def _publish(self, backend: Backend) -> None:
        async with aclosing(self._source.messages(backend.max_payload)) as messages:
            first = await anext(messages, None)
            if first is None:
                return
            request = self._request
            self._stream = request.stream or first_token(first.subject)
            options = PublisherOptions(
                stream=await choose_stream(backend, self._stream, first.subject, request.storage),
                retry_attempts=request.retry,
                timeout=request.timeout,
                on_publish=self._tally.on_publish,
            )
            self._tally.start()
            try:
                async with backend.publisher(options) as publisher, shown(self._tally.line):
                    receipts = await publisher.publish_many(_chain(first, messages))
                self._tally.duplicates = sum(receipt.duplicate for receipt in receipts)
                await self._print(receipts)
            except PublishBatchError as error:
                self._failure = await self._explain(error)
                await self._print(error.outcomes)

    async def _print(self, outcomes: Sequence[PublishReceipt | PubSubError]) -> None:
        """Tell of each message, in the order of the input, also when the run was stopped or has failed."""
        if self._request.as_json:
            rows = b"".join(map(_row, outcomes))
            try:
                await Output(standard_stream("stdout")).write(rows)
            except ReaderGone:
                return
            except CommandError as error:
                self._failure = self._failure or error

    async def _explain(self, error: PublishBatchError) -> CommandError:
        index, first = next(iter(error.failed.items()))
        place = self._source.place(index)
        if not place:
            return CommandError(str(first), exit_code(first))
        rest = await self._source.count_rest()
        left = "the rest" if rest is None else str(rest)
        counts = f"{len(error.stored)} stored, {len(error.failed)} failed, {left} not attempted"
        return CommandError(f"{counts}; the first failure is {place}: {first}", exit_code(first))

    async def _stopped_early(self) -> signal.Signals | None:
        if self._stop.signal is None or not self._source.cut or self._failure is not None:
            return None
        return None if await self._source.count_rest() == 0 else self._stop.signal


def _row(outcome: PublishReceipt | PubSubError) -> bytes:
    row = outcome._asdict() if isinstance(outcome, PublishReceipt) else {"error": one_line(outcome)}
    return json.dumps(row).encode() + b"\n"


async def _chain(first: OutgoingMessage, rest: AsyncGenerator[OutgoingMessage]) -> AsyncGenerator[OutgoingMessage]:
    yield first
    async for message in rest:
        yield message
