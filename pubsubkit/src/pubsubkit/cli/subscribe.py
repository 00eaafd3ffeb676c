"""``pubsubkit sub``."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from pubsubkit.cli import stopping
from pubsubkit.cli.common import Settings, common_options
from pubsubkit.cli.failure import DONE
from pubsubkit.cli.jsonl import format_message
from pubsubkit.cli.pipes import Output, ReaderGone, standard_stream
from pubsubkit.cli.session import STORAGE, choose_stream, first_token, opened
from pubsubkit.cli.stopping import Stopped
from pubsubkit.cli.values import seconds, start
from pubsubkit.driver import Verdict
from pubsubkit.errors import NotFoundError
from pubsubkit.options import ConsumerOptions
from pubsubkit.subjects import check_filter

if TYPE_CHECKING:
    import signal

    from pubsubkit.backend import Backend
    from pubsubkit.cli.stopping import Stop
    from pubsubkit.message import Message
    from pubsubkit.options import DeliverFrom
    from pubsubkit.subscription import Subscription

__all__ = ["sub"]

_FROM = "all, new, last, a sequence number or an ISO time: where a new consumer starts."
_BUFFER = "Messages fetched ahead.  [default: 100; with --count 1, so that none is fetched in vain]"
_DONE_BY = {Verdict.ACK: "acknowledged", Verdict.NAK: "given back", Verdict.TERM: "terminated"}


@click.command()
@click.argument("filter_", metavar="FILTER")
@click.option("--stream", metavar="NAME", help="Stream to read.  [default: first token of FILTER]")
@click.option("--durable", metavar="NAME", help="Durable consumer to join, created when it is missing.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after N messages.")
@click.option("--idle", type=seconds, metavar="DURATION", help="Stop when no message came for so long.")
@click.option("--ack", "verdict", flag_value="ack", help="Acknowledge each message once it is printed.  [default]")
@click.option("--nak", "verdict", flag_value="nak", help="Give each message back: it comes again, at once.")
@click.option("--term", "verdict", flag_value="term", help="Never deliver a printed message again.")
@click.option("--from", "start", type=start, default="all", show_default=True, metavar="START", help=_FROM)
@STORAGE
@click.option("--buffer", type=click.IntRange(1), metavar="N", help=_BUFFER)
@click.option(
    "--ack-wait", type=seconds, metavar="DURATION", help="Redeliver what has no verdict after so long.  [default: 30s]"
)
@common_options
def sub(settings: Settings, **arguments: Any) -> int:
    """Print the messages that FILTER selects, one line of JSON each.

    A message is acknowledged when its line was written.  Without --durable every run sees all messages from --from on;
    with it, a run goes on where the last one stopped, and runs at the same time share the messages.  --from counts
    only when the durable consumer is created.

    \b
      pubsubkit sub 'orders.>'
      pubsubkit sub 'orders.*.created' --durable billing --count 10
      pubsubkit sub 'github.>' --from 2026-01-31T12:00:00Z --idle 1s > events.jsonl
      pubsubkit sub '>' --stream orders --from last --count 1 | jq .data

    \b
    A line holds
      subject, sequence, num_delivered, timestamp, headers
      data      the payload, when it is JSON
      text      the payload as text, when it is other UTF-8
      base64    the payload in base64, when it is neither

    Ctrl-C, SIGTERM and a reader that went away end it gracefully: what was not printed stays for the next run.
    """  # noqa: D301 - \b is a mark for click
    request = Request(**arguments)
    request.check()
    url = settings.need_url()
    return stopping.run(lambda stop: _Run(stop, request).go(url))


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of ``sub``."""

    filter_: str
    stream: str | None
    durable: str | None
    count: int | None
    idle: float | None
    verdict: str | None
    start: DeliverFrom
    storage: str | None
    buffer: int | None
    ack_wait: float | None

    @property
    def stream_name(self) -> str:
        """The stream to read; empty when it cannot be told."""
        return self.stream or first_token(self.filter_)

    def check(self) -> None:
        """Raise for arguments that do not go together."""
        check_filter(self.filter_)
        if not self.stream_name:
            raise click.UsageError(f"the filter {self.filter_!r} does not name a stream: give --stream NAME")

    async def options(self, backend: Backend) -> ConsumerOptions:
        """Return the consumer's options; what the command line leaves open is as it is on the broker."""
        kept: dict[str, Any] = {}
        if self.durable:
            with suppress(NotFoundError):
                spec = (await backend.consumer_info(self.stream_name, self.durable)).spec
                kept = {name: getattr(spec, name) for name in ("ack_wait", "max_deliver", "max_in_flight")}
        if self.ack_wait is not None:
            kept["ack_wait"] = self.ack_wait
        return ConsumerOptions(
            stream=await choose_stream(backend, self.stream_name, self.filter_, self.storage),
            consumer_name=self.durable or "",
            filter_subject=self.filter_,
            channel_buf_size=self.buffer or (1 if self.count else 100),
            deliver_from=self.start,
            **kept,
        )


class _Run:
    """One run of ``sub``."""

    def __init__(self, stop: Stop, request: Request) -> None:
        self._stop = stop
        self._request = request
        self._verdict = Verdict(request.verdict or "ack")
        self._output = Output(standard_stream("stdout"))
        self._settled = 0
        self._started = time.perf_counter()

    async def go(self, url: str) -> int:
        """Print until there is a reason to stop, say how it went, and return the exit code."""
        stopped: signal.Signals | None = None
        try:
            async with opened(self._stop, url) as backend:
                options = await self._stop.race(self._request.options(backend))
                self._started = time.perf_counter()
                async with backend.consumer(options) as consumer, consumer.subscribe() as subscription:
                    await self._print_all(subscription)
        except Stopped as error:
            stopped = error.signal
        except ReaderGone:
            return DONE
        self._summarise(stopped)
        return DONE

    async def _print_all(self, subscription: Subscription) -> None:
        while self._settled != self._request.count:
            try:
                message = await self._stop.race(anext(subscription), self._request.idle)
            except TimeoutError:
                return
            await self._stop.race(self._output.write(format_message(message)))
            await self._settle(message)
            self._settled += 1

    async def _settle(self, message: Message) -> None:
        if self._verdict is Verdict.ACK:
            await message.ack()
        elif self._verdict is Verdict.NAK:
            await message.nak()
        else:
            await message.term("by pubsubkit sub --term")

    def _summarise(self, stopped: signal.Signals | None) -> None:
        seconds = time.perf_counter() - self._started
        noun = "1 message" if self._settled == 1 else f"{self._settled} messages"
        consumer = f", consumer {self._request.durable}" if self._request.durable else ""
        place = f"from stream {self._request.stream_name}{consumer}"
        ending = f"; stopped by {stopped.name}" if stopped else ""
        click.echo(f"{_DONE_BY[self._verdict]} {noun} {place} in {seconds:.2f} s{ending}", err=True)
