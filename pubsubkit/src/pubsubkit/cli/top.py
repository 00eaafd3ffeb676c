"""``pubsubkit top``: streams and consumers, as they change."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pubsubkit.cli import stopping
from pubsubkit.cli.common import Settings, common_options
from pubsubkit.cli.failure import DONE, one_line
from pubsubkit.cli.inventory import consumers_of, size_text
from pubsubkit.cli.pipes import Output, ReaderGone, standard_stream
from pubsubkit.cli.screen import draw, whole_screen
from pubsubkit.cli.session import opened
from pubsubkit.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pubsubkit.backend import Backend
    from pubsubkit.driver import ConsumerInfo, StreamInfo

__all__ = ["top"]


class Snapshot(NamedTuple):
    """What there was at one moment."""

    taken: float
    streams: Mapping[str, StreamInfo]
    consumers: Mapping[tuple[str, str], ConsumerInfo]


class Row(NamedTuple):
    """A line of the table."""

    name: str
    messages: str
    rate: str
    lag: str
    in_flight: str
    redelivered: str


_HEADS = Row("STREAM / CONSUMER", "MESSAGES", "MSG/S", "LAG", "FLYING", "AGAIN")


@click.command()
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to look.",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="Look so often and end.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line each time.")
@common_options
def top(settings: Settings, *, interval: float, count: int | None, as_json: bool) -> int:
    """Watch the streams and consumers of the broker, until q or Ctrl-C.

    Of a stream: how many messages it holds and how many per second are stored.  Of a consumer: how many per second
    are delivered, its LAG (never delivered yet), FLYING (delivered and not done) and AGAIN (of these, delivered more
    than once).  Where stdout is no terminal the table is printed anew each time.

    \b
      pubsubkit top
      pubsubkit top --interval 5
      pubsubkit top --count 1
      pubsubkit top --json | jq -c '.consumers[] | {name, lag}'
    """  # noqa: D301 - \b is a mark for click
    url = settings.need_url()
    standard_stream("stdout")  # where it is shown
    live = not as_json and count is None and sys.stdout.isatty()

    async def watch(stop: stopping.Stop) -> None:
        async with opened(stop, url) as backend:
            with whole_screen(stop.ask) if live else nullcontext():
                await stop.race(_watch(backend, interval, count, _Display(backend.address, live=live, as_json=as_json)))

    try:
        with suppress(ReaderGone):
            stopping.run(watch)
    except stopping.Stopped:
        if count is not None:
            raise
    return DONE


async def _watch(backend: Backend, interval: float, count: int | None, display: _Display) -> None:
    before, shown = await _look(backend), 0
    await display.begin(before)
    while shown != count:
        await asyncio.sleep(interval)
        try:
            now = await _look(backend)
        except TransientError as error:
            if count is not None:
                raise
            await display.trouble(error)
            continue
        await display.show(before, now)
        before, shown = now, shown + 1


async def _look(backend: Backend) -> Snapshot:
    streams = await backend.list_streams()
    consumers = await consumers_of(backend, streams)
    return Snapshot(
        time.monotonic(),
        {info.options.name: info for info in streams},
        {(info.spec.stream, info.spec.name): info for info in consumers},
    )


class _Display:
    def __init__(self, address: str, *, live: bool, as_json: bool) -> None:
        self._address = address
        self._live = live
        self._as_json = as_json
        self._output = Output(standard_stream("stdout"))

    async def begin(self, now: Snapshot) -> None:
        """Show what there is on a terminal, before there are rates."""
        if self._live:
            await self.show(now, now)

    async def trouble(self, error: TransientError) -> None:
        """Tell why there is nothing new to show."""
        if self._live:
            self._draw([one_line(error)])
        else:
            click.echo(one_line(error), err=True)

    async def show(self, before: Snapshot, now: Snapshot) -> None:
        """Show *now*, with the rates since *before*."""
        if self._as_json:
            await self._print(json.dumps(_document(before, now)))
            return
        lines = list(_lines(before, now, shutil.get_terminal_size().columns - 1))
        if self._live:
            self._draw(lines)
        else:
            await self._print("\n".join([*self._head(), *lines, ""]))

    async def _print(self, text: str) -> None:
        await self._output.write(text.encode() + b"\n")

    def _draw(self, table: Sequence[str]) -> None:
        lines, room = [*self._head(), *table], shutil.get_terminal_size().lines - 1
        if len(lines) > room:
            lines = [*lines[: room - 1], f"… {len(lines) - room + 1} more lines"]
        draw(lines)

    def _head(self) -> Sequence[str]:
        return f"{self._address}  {time.strftime('%H:%M:%S')}", ""


def _lines(before: Snapshot, now: Snapshot, columns: int) -> Iterator[str]:
    rows = [_HEADS, *_rows(before, now)]
    widths = [max(len(row[column]) for row in rows) for column in range(1, len(_HEADS))]
    longest = max(len(row.name) for row in rows)
    room = max(12, min(longest, columns - sum(widths) - 2 * len(widths)))
    for row in rows:
        name = row.name if len(row.name) <= room else f"{row.name[: room - 1]}…"
        numbers = "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths, strict=True))
        yield f"{name:{room}}{numbers}"[:columns]
    if len(rows) == 1:
        yield "no streams yet"


def _rows(before: Snapshot, now: Snapshot) -> Iterator[Row]:
    consumers = _consumers(before, now)
    for stream in _streams(before, now):
        name = f"{stream['name']} ({size_text(stream['bytes'])})"
        yield Row(name, f"{stream['messages']:,}", _cell(stream["stored_per_second"]), "", "", "")
        for row in consumers:
            if row["stream"] == stream["name"]:
                counts = (_cell(row[name]) for name in ("delivered_per_second", "lag", "in_flight", "redelivered"))
                yield Row(f"  {row['name']}", "", *counts)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _document(before: Snapshot, now: Snapshot) -> dict[str, Any]:
    return {"streams": _streams(before, now), "consumers": _consumers(before, now)}


def _streams(before: Snapshot, now: Snapshot) -> list[dict[str, Any]]:
    rate = _Rate(now.taken - before.taken)
    return [
        {
            "name": name,
            "messages": info.messages,
            "bytes": info.bytes,
            "stored_per_second": rate(getattr(before.streams.get(name), "last_sequence", None), info.last_sequence),
        }
        for name, info in now.streams.items()
    ]


def _consumers(before: Snapshot, now: Snapshot) -> list[dict[str, Any]]:
    rate = _Rate(now.taken - before.taken)
    return [
        {
            "stream": key[0],
            "name": key[1],
            "delivered_per_second": rate(
                getattr(before.consumers.get(key), "num_deliveries", None), info.num_deliveries
            ),
            "lag": info.num_pending,
            "in_flight": info.num_ack_pending,
            "redelivered": info.num_redelivered,
        }
        for key, info in now.consumers.items()
    ]


class _Rate:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, before: int | None, now: int | None) -> float | None:
        """What was added per second; None when it is not known, 0 of what is new."""
        if now is None or not self._seconds:
            return None
        return round(max(0, now - (now if before is None else before)) / self._seconds, 1)
