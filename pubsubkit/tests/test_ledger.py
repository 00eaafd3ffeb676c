"""What a subscription remembers of the messages that it handed out."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from pubsubkit import Message
from pubsubkit.ledger import Ledger


def message(key: int) -> Message:
    delivery = SimpleNamespace(key=key, data=b"", subject="s.x")
    return Message(cast("Any", delivery), cast("Any", None))


def test_sealing_gives_back_what_is_leased():
    """Sealing returns the messages without a verdict whose ack_wait has not run out, and seals the others too."""
    ledger, messages = Ledger(ack_wait=60), [message(key) for key in range(3)]
    for item in messages:
        ledger.held[item.delivery.key] = item
    ledger.remove(messages[0])
    messages[1].leased -= 61
    assert ledger.seal() == [messages[2]]
    assert [item.settled for item in messages] == [False, True, True]
    assert ledger.seal() == []


def test_a_newer_delivery_takes_the_place_of_an_older_one():
    """A verdict on an older delivery of a message leaves the newer one without a verdict."""
    ledger, older, newer = Ledger(ack_wait=60), message(1), message(1)
    ledger.held[1] = older
    ledger.held[1] = newer
    ledger.remove(older)
    assert ledger.seal() == [newer]


def test_what_is_forgotten_by_handlers_does_not_pile_up():
    """Messages whose ack_wait ran out are let go of, however many there are."""
    ledger = Ledger(ack_wait=60)
    for key in range(5000):
        item = message(key)
        item.leased -= 61
        ledger.held[item.delivery.key] = item
        ledger.prune()
    assert len(ledger.held) <= 1024


async def test_quiet_waits_for_verdicts_under_way():
    """Quiet returns when the last verdict under way has ended."""
    ledger = Ledger(ack_wait=60)
    ledger.under_way = 2
    waiting = asyncio.ensure_future(ledger.quiet())
    for _ in range(2):
        await asyncio.sleep(0)
        assert not waiting.done()
        assert ledger.watched
        ledger.end()
    async with asyncio.timeout(5):
        await waiting
