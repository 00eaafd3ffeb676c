"""``pubsubkit streams`` and ``pubsubkit consumers``: what there is on a broker."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from pubsubkit.cli import stopping
from pubsubkit.cli.common import Settings, common_options
from pubsubkit.cli.failure import DONE
from pubsubkit.cli.session import opened
from pubsubkit.cli.table import table
from pubsubkit.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from pubsubkit.backend import Backend
    from pubsubkit.driver import ConsumerInfo, StreamInfo

__all__ = ["consumers", "consumers_of", "size_text", "streams"]

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")


@click.command()
@click.argument("name", required=False)
@_JSON
@common_options
def streams(settings: Settings, name: str | None, *, as_json: bool) -> int:
    """List the streams of the broker, or show one with its whole configuration.

    \b
      pubsubkit streams
      pubsubkit streams orders
      pubsubkit streams --json | jq -r '.[] | select(.messages > 1000) | .name'
    """  # noqa: D301 - \b is a mark for click
    if name is None:
        found = _ask(settings, lambda backend: backend.list_streams())
        rows = [_stream(info) for info in found]
        click.echo(json.dumps(rows, indent=2) if as_json else _streams(rows))
    else:
        shown = {
            **_stream(info := _ask(settings, lambda backend: backend.stream_info(name))),
            "native": {**info.native},
        }
        click.echo(json.dumps(shown, indent=2, default=str) if as_json else _details(shown))
    return DONE


@click.command()
@click.argument("stream", required=False)
@click.argument("name", required=False)
@_JSON
@common_options
def consumers(settings: Settings, stream: str | None, name: str | None, *, as_json: bool) -> int:
    """List the consumers of all streams or of STREAM, or show the one called NAME with its whole configuration.

    LAG is how many messages were never delivered yet; IN FLIGHT those that were delivered and are not done;
    REDELIVERED how many of these more than once.

    \b
      pubsubkit consumers
      pubsubkit consumers orders
      pubsubkit consumers orders billing
      pubsubkit consumers orders --json | jq '.[] | {name, lag}'
    """  # noqa: D301 - \b is a mark for click
    if stream is not None and name is not None:
        info = _ask(settings, lambda backend: backend.consumer_info(stream, name))
        shown = {**_consumer(info), "native": {**info.native}}
        click.echo(json.dumps(shown, indent=2, default=str) if as_json else _details(shown))
    else:
        rows = [_consumer(info) for info in _ask(settings, lambda backend: _consumers_of(backend, stream))]
        click.echo(json.dumps(rows, indent=2) if as_json else _consumers(rows))
    return DONE


def size_text(count: float) -> str:
    """A number of bytes for people."""
    for unit in _BYTES[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.0f} {_BYTES[-1]}"


def _ask(settings: Settings, question: Callable[[Backend], Coroutine[Any, Any, Any]]) -> Any:
    url = settings.need_url()

    async def ask(stop: stopping.Stop) -> Any:
        async with opened(stop, url) as backend:
            return await stop.race(question(backend))

    return stopping.run(ask)


async def consumers_of(backend: Backend, streams: Iterable[StreamInfo]) -> list[ConsumerInfo]:
    """The consumers of *streams*, without those that were deleted meanwhile."""
    found: list[ConsumerInfo] = []
    for each in streams:
        with suppress(NotFoundError):
            found += await backend.list_consumers(each.options.name)
    return found


async def _consumers_of(backend: Backend, stream: str | None) -> list[ConsumerInfo]:
    if stream is not None:
        return await backend.list_consumers(stream)
    return await consumers_of(backend, await backend.list_streams())


def _stream(info: StreamInfo) -> dict[str, Any]:
    options = info.options
    return {
        "name": options.name,
        "subjects": list(options.subjects),
        "storage": options.storage.value,
        "replicas": options.replicas,
        "messages": info.messages,
        "bytes": info.bytes,
        "first_sequence": info.first_sequence,
        "last_sequence": info.last_sequence,
        "max_messages": options.max_messages,
        "max_bytes": options.max_bytes,
        "max_age": options.max_age,
        "max_message_size": options.max_message_size,
        "duplicate_window": options.duplicate_window,
        "discard": options.discard,
    }


def _consumer(info: ConsumerInfo) -> dict[str, Any]:
    spec = info.spec
    return {
        "stream": spec.stream,
        "name": spec.name,
        "durable": spec.durable,
        "filter_subject": spec.filter_subject,
        "lag": info.num_pending,
        "in_flight": info.num_ack_pending,
        "redelivered": info.num_redelivered,
        "deliveries": info.num_deliveries,
        "ack_wait": spec.ack_wait,
        "max_deliver": spec.max_deliver,
        "max_in_flight": spec.max_in_flight,
        "deliver_from": spec.deliver_from if isinstance(spec.deliver_from, int | str) else str(spec.deliver_from),
    }


def _streams(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "no streams"
    cells = [
        (row["name"], f"{row['messages']:,}", size_text(row["bytes"]), row["storage"], " ".join(row["subjects"]) or "-")
        for row in rows
    ]
    return table(("STREAM", "MESSAGES", "SIZE", "STORAGE", "SUBJECTS"), cells)


def _consumers(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "no consumers"
    heads = ("STREAM", "CONSUMER", "LAG", "IN FLIGHT", "REDELIVERED", "FILTER")
    return table(heads, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> Sequence[str]:
    again = "-" if row["redelivered"] is None else f"{row['redelivered']:,}"
    return row["stream"], row["name"], f"{row['lag']:,}", f"{row['in_flight']:,}", again, row["filter_subject"] or ">"


def _details(shown: dict[str, Any]) -> str:
    flat = {name: value for name, value in shown.items() if name != "native"}
    lines = [(name, _text(value)) for name, value in flat.items()]
    lines += [(f"native {name}", _text(value)) for name, value in shown["native"].items()]
    return table(("FIELD", "VALUE"), lines)


def _text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"  # pyright: ignore[reportUnknownArgumentType]
    text = str(value)
    return json.dumps(value, default=str) if isinstance(value, dict) or not text.isprintable() else text
