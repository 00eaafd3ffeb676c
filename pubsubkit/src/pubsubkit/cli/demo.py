"""``pubsubkit demo``: the main job on a small sample, told as it happens and checked at the end."""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from pubsubkit.cli import stopping
from pubsubkit.cli.common import Settings, common_options
from pubsubkit.cli.failure import DONE, CommandError
from pubsubkit.cli.look import good
from pubsubkit.cli.pipes import standard_stream
from pubsubkit.cli.samples import sample_events
from pubsubkit.cli.session import opened
from pubsubkit.errors import PubSubError
from pubsubkit.options import ConsumerOptions, PublisherOptions, StreamOptions

if TYPE_CHECKING:
    from pubsubkit.backend import Backend
    from pubsubkit.cli.stopping import Stop
    from pubsubkit.message import Message

__all__ = ["demo"]

_DURABLE = "worker"
_NAK, _TERM = 3, 5
"""The sequence numbers of the events that the first run gives back once and terminates."""
_WAIT_SECONDS = 10.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON at the end in place of the story.")
@common_options
def demo(settings: Settings, *, as_json: bool) -> int:
    """Publish a few events and consume them in two runs of one durable consumer.

    The first run acknowledges, gives one event back and gets it again, terminates one, and stops gracefully half-way;
    the second run resumes and gets exactly the rest.  It checks what it shows, and ends with ok.

    It runs on memory:// unless --url or PUBSUBKIT_URL says otherwise; on a broker it makes a stream of its own and
    deletes it at the end.

    \b
      pubsubkit demo
      pubsubkit --url nats://localhost:4222 demo
    """  # noqa: D301 - \b is a mark for click
    standard_stream("stdout")  # without one the story would be told to nobody
    url = settings.url or "${PUBSUBKIT_URL:-memory://}"
    return stopping.run(lambda stop: _tell(stop, url, as_json=as_json))


async def _tell(stop: Stop, url: str, *, as_json: bool) -> int:
    async with opened(stop, url) as backend:
        story = _Story(backend, f"demo-{secrets.token_hex(4)}", aloud=not as_json)
        try:
            await stop.race(story.tell())
        finally:
            with suppress(PubSubError):
                await backend.delete_stream(story.name)
    if as_json:
        click.echo(json.dumps(story.facts))
    return DONE


@dataclass
class _Read:
    """What one run of the consumer has seen: sequence number → its deliveries, and what it has dealt with."""

    deliveries: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    done: set[int] = field(default_factory=set[int])


class _Story:
    """One demo on one stream."""

    def __init__(self, backend: Backend, name: str, *, aloud: bool) -> None:
        self.name = name
        self.facts: dict[str, object] = {}
        """What was shown, once it was."""
        self._aloud = aloud
        self._backend = backend
        self._stream = StreamOptions(name=name)

    async def tell(self) -> None:
        """Do everything and check it."""
        total = await self._publish()
        self._say(f"\nA durable consumer {_DURABLE!r} reads half of them:")
        first = await self._read(total // 2, {_NAK: "nak", _TERM: "term"})
        self._say(f"It stops gracefully after {len(first.done)} events; what it has not read stays.")
        self._say(f"\nA second run of {_DURABLE!r} resumes:")
        second = await self._read(total - len(first.done), {})
        left = await self._left()
        _check(total, first, second, left)
        self.facts = {
            "broker": self._backend.address,
            "published": total,
            "first_run": first.deliveries,
            "second_run": second.deliveries,
            "left": left,
            "ok": True,
        }
        self._say(f"It got exactly the remaining {len(second.done)}, and nothing is left over.\n\n{good('ok')}")

    def _say(self, text: str) -> None:
        if self._aloud:
            click.echo(text)

    async def _publish(self) -> int:
        events = list(sample_events())
        options = PublisherOptions(stream=self._stream, subject_prefix=self.name, retry_attempts=3)
        async with self._backend.publisher(options) as publisher:
            receipts = await publisher.publish_many(events)
        first, last = receipts[0].sequence, receipts[-1].sequence
        self._say(f"Published {len(receipts)} GitHub-like events to {self._backend.address}")
        self._say(f"  stream {self.name}, sequence numbers {first} to {last}")
        if [receipt.sequence for receipt in receipts] != list(range(1, len(events) + 1)):
            raise CommandError(f"promise not kept: the sequence numbers are {[r.sequence for r in receipts]}")
        return len(receipts)

    async def _read(self, wanted: int, verdicts: dict[int, str]) -> _Read:
        """Deal with *wanted* messages, by an ack or, the first time, by what *verdicts* says."""
        seen = _Read()
        options = ConsumerOptions(stream=self._stream, consumer_name=_DURABLE, channel_buf_size=2)
        try:
            async with (
                asyncio.timeout(_WAIT_SECONDS),
                self._backend.consumer(options) as consumer,
                consumer.subscribe() as subscription,
            ):
                while len(seen.done) < wanted:
                    await self._handle(await anext(subscription), seen, verdicts)
        except TimeoutError:
            raise CommandError(f"promise not kept: after {sorted(seen.done)} no more messages came") from None
        return seen

    async def _handle(self, message: Message, seen: _Read, verdicts: dict[int, str]) -> None:
        meta = message.metadata
        again = meta.sequence in seen.deliveries
        seen.deliveries.setdefault(meta.sequence, []).append(meta.num_delivered)
        verdict = "ack" if again else verdicts.get(meta.sequence, "ack")
        subject = message.subject.removeprefix(f"{self.name}.")
        note = {"nak": "give it back, to get it again", "term": "never deliver it again", "ack": ""}[verdict]
        note = f"delivery number {meta.num_delivered}" if again else note
        self._say(f"  {verdict:4} {meta.sequence:3}  {subject:38} {note}".rstrip())
        if verdict == "nak":
            await message.nak()
            return
        await (message.ack() if verdict == "ack" else message.term("the demo shows how"))
        seen.done.add(meta.sequence)

    async def _left(self) -> int:
        """Return how many messages the consumer still has before it or without a verdict, once the acks are in."""
        left = -1
        with suppress(TimeoutError):
            async with asyncio.timeout(_WAIT_SECONDS):
                while left := await self._count_left():  # noqa: ASYNC110 - the broker does not tell by itself
                    await asyncio.sleep(0.01)
        return left

    async def _count_left(self) -> int:
        info = await self._backend.consumer_info(self.name, _DURABLE)
        return info.num_pending + info.num_ack_pending


def _check(total: int, first: _Read, second: _Read, left: int) -> None:
    """Raise CommandError with every promise that was not kept."""
    kept = {
        f"event {_NAK} was delivered {first.deliveries.get(_NAK)} and not [1, 2]": first.deliveries.get(_NAK) == [1, 2],
        f"event {_TERM} came again after term": len(first.deliveries.get(_TERM, [])) == 1,
        "the second run got events of the first": not first.done & set(second.deliveries),
        "an event was lost": first.done | second.done == set(range(1, total + 1)),
        "the second run got an event twice": all(len(each) == 1 for each in second.deliveries.values()),
        f"{left} events are left over": left == 0,
    }
    broken = [what for what, good in kept.items() if not good]
    if broken:
        raise CommandError(f"promise not kept: {'; '.join(broken)}")
