"""``pubsubkit bench``."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from pubsubkit.cli import stopping
from pubsubkit.cli.common import Settings, common_options, url_argument
from pubsubkit.cli.failure import DONE
from pubsubkit.cli.measuring import Bench
from pubsubkit.cli.pipes import standard_stream
from pubsubkit.cli.progress import shown
from pubsubkit.cli.session import STORAGE, opened
from pubsubkit.cli.table import table
from pubsubkit.cli.values import byte_count
from pubsubkit.options import Storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit.cli.measuring import Measured
    from pubsubkit.cli.stopping import Stop

__all__ = ["bench"]

_HEADS = ("WHAT", "COUNT", "MSG/S", "MB/S", "P50 MS", "P99 MS")


@click.command()
@url_argument
@click.option("--count", type=click.IntRange(1), default=10_000, show_default=True, metavar="N", help="Messages.")
@click.option(
    "--size",
    type=byte_count,
    default="256",
    show_default=True,
    metavar="BYTES",
    help="Of a payload; 4KiB does as well.",
)
@STORAGE
@click.option("--json", "as_json", is_flag=True, help="Print JSON, times in seconds.")
@common_options
def bench(settings: Settings, *, count: int, size: int, storage: str | None, as_json: bool) -> int:
    """Measure how fast messages are published to the broker of URL and consumed from it.

    It uses streams of its own and deletes them, also when it is stopped by Ctrl-C; the broker has to have room for
    N messages.  The payloads are random bytes.

    \b
    It measures
      publish one by one   each confirmed before the next; 1000 at most
      publish many         confirmed, but many under way at a time
      consume and ack      until the broker has every ack
      publish to consumer  from publish until the consumer has it,
                           one at a time; 1000 at most

    All of it goes through this one process, which is often the limit: several show what the broker can do.

    \b
      pubsubkit bench memory://
      pubsubkit bench nats://localhost:4222 --count 100000 --size 1KiB
      pubsubkit bench nats://localhost:4222 --storage file --json | jq '.results[] | {what, messages_per_second}'
    """  # noqa: D301 - \b is a mark for click
    url, kept = settings.need_url(), Storage(storage or Storage.MEMORY)
    standard_stream("stdout")  # where the figures go

    async def measure(stop: Stop) -> tuple[str, list[Measured]]:
        async with opened(stop, url) as backend:
            work = Bench(stop, backend, kept, count=count, size=size)
            async with shown(work.line), aclosing(work.run()) as results:
                return backend.address, [each async for each in results]

    address, results = stopping.run(measure)
    document = {"broker": address, "storage": kept, "payload_bytes": size, "results": [_row(r, size) for r in results]}
    title = f"{address}, {kept} storage, payloads of {size} bytes"
    click.echo(json.dumps(document, indent=2) if as_json else f"{title}\n\n{_table(results, size)}")
    return DONE


def _row(result: Measured, size: int) -> dict[str, object]:
    return {
        "what": result.what,
        "messages": result.messages,
        "seconds": result.seconds,
        "messages_per_second": result.messages / result.seconds,
        "megabytes_per_second": result.messages * size / result.seconds / 1e6,
        "latency_p50": result.quantile(0.5),
        "latency_p99": result.quantile(0.99),
    }


def _table(results: Sequence[Measured], size: int) -> str:
    rows = [_cells(result, size) for result in results]
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]

    def aligned(row: Sequence[str]) -> list[str]:
        return [row[0], *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]

    return table(aligned(_HEADS), [aligned(row) for row in rows])


def _cells(result: Measured, size: int) -> tuple[str, ...]:
    rate = result.messages / result.seconds
    latencies = (result.quantile(0.5), result.quantile(0.99))
    shown_latencies = ["-" if each is None else f"{each * 1e3:.3f}" for each in latencies]
    return (result.what, str(result.messages), f"{rate:.0f}", f"{rate * size / 1e6:.1f}", *shown_latencies)
