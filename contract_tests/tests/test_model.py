"""Random histories: they repeat, both backends agree with the reference, and each invariant is really checked."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pubsubkit.driver import Capability
from pubsubkit_contract.cases.model import check_history
from pubsubkit_contract.harness import Harness, load_harness
from pubsubkit_contract.kit import Kit
from pubsubkit_contract.model.history import Step, disturbed, free_history, members
from pubsubkit_contract.model.invariants import INVARIANTS, broken
from pubsubkit_contract.model.player import Player
from pubsubkit_contract.model.record import Closed, Delivered, Published, Record, Settled
from pubsubkit_contract.model.reference import Entry, Reference
from pubsubkit_contract.model.report import explain, first_broken
from pubsubkit_contract.model.strict import strict_history
from pubsubkit_contract.model.transcript import transcript
from pubsubkit_contract.timing import Timing

ALL = frozenset(Capability)
SEEDS = range(20)
MEMORY = "pubsubkit_memory.testing:MemoryHarness"
NATS = "pubsubkit_nats.testing:NatsHarness"


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


async def transcripts(named: str) -> list[list[Entry]]:
    """What the members of twenty strict histories observe on a backend."""
    async with load_harness(named) as harness:
        return [await one_transcript(harness, f"{seed}:strict") for seed in SEEDS]


async def one_transcript(harness: Harness, seed: str) -> list[Entry]:
    async with Kit(harness, seed=seed) as kit:
        wanted, got = await transcript(kit, strict_history(seed, 150, kit.backend.capabilities & ALL))
        assert got == wanted
        return got


def test_memory_and_nats_agree(runner: asyncio.Runner):
    """Twenty strict histories are observed alike on both backends, delivery for delivery and count for count."""
    strict = [step for seed in SEEDS for step in strict_history(f"{seed}:strict", 150, ALL)]
    assert {step.action for step in strict} == {"open", "close", "publish", "repeat", "receive", "ack", "nak", "term"}
    memory, nats = runner.run(transcripts(MEMORY)), runner.run(transcripts(NATS))
    assert memory == nats
    assert sum(map(len, memory)) > 500
    assert max(entry.num_delivered for entries in memory for entry in entries) >= 4


def test_histories_repeat():
    """The same seed makes the same history, another one another, and a history is plain JSON."""
    for make in (free_history, strict_history):
        steps = make("1:a", 200, ALL)
        assert steps == make("1:a", 200, ALL) != make("2:a", 200, ALL)
        assert [Step(*step) for step in json.loads(json.dumps(steps))] == steps
        assert len(steps) == 200


@pytest.mark.parametrize("lacking", [Capability.TERM, Capability.NAK_DELAY, Capability.CONFIRMED_ACK])
def test_histories_leave_out_what_is_not_claimed(lacking: Capability):
    """A history has no step that needs a capability which the backend does not have."""
    names = {Capability.TERM: "term", Capability.NAK_DELAY: "nak_later", Capability.CONFIRMED_ACK: "confirm"}
    assert names[lacking] in {step.action for step in free_history("1", 500, ALL)}
    assert names[lacking] not in {step.action for step in free_history("1", 500, ALL - {lacking})}


def test_members_are_those_that_the_backend_can_have():
    """Without competing consumers there is one member, without filters or fan-out one consumer."""
    assert members(ALL) == ("d0", "d1", "f0")
    assert members(ALL - {Capability.COMPETE}) == ("d0", "f0")
    assert members(ALL - {Capability.WILDCARDS, Capability.COMPETE}) == ("d0",)


def test_disturbances_are_spread():
    """They come at equal distances, the last one at the end."""
    steps = disturbed([Step("publish")] * 7, "cut", 3)
    assert "".join(step.action[0] for step in steps) == "pppcpppcpc"


def test_the_reference_keeps_strict_order():
    """The oldest message without a verdict is delivered until it has one; closing gives it back."""
    reference = Reference()
    actions = ["open", "receive", "publish", "publish", "receive", "receive", "nak", "receive", "close", "receive"]
    actions += ["open", "receive", "ack", "ack", "receive", "term", "receive"]
    seen = [reference.apply(Step(action, "p0" if action == "publish" else "d0", 0, "a")) for action in actions]
    entries = [(entry.data, entry.num_delivered) for entry in seen if isinstance(entry, Entry)]
    assert entries == [("p0/0", 1), ("p0/0", 2), ("p0/0", 3), ("p0/1", 1)]
    assert [entry is False for entry in seen].count(True) == 5


@pytest.mark.timeout(180)
def test_a_hundred_histories_hold_on_memory(runner: asyncio.Runner):
    """Free histories of many seeds, at once and with short times, break no invariant."""

    async def play(harness: Harness, seed: str) -> None:
        timing = Timing(short=0.01, quiet=0.01)
        async with Kit(harness, seed=seed, timing=timing) as kit:
            steps = free_history(seed, 150, kit.backend.capabilities)
            await check_history(kit, steps, Player(kit, kit.backend))

    async def play_all() -> None:
        async with load_harness(MEMORY) as harness:
            for first in range(0, 100, 20):
                await asyncio.gather(*(play(harness, f"{seed}:free") for seed in range(first, first + 20)))

    runner.run(play_all())


def published(number: int, sequence: int | None, publisher: str = "p0", subject: str = "s.a") -> Published:
    return Published(publisher, number, subject, f"{publisher}/{number}".encode(), sequence)


def delivered(number: int, count: int = 1, at: float = 0.0, member: str = "d0.1", subject: str = "s.a") -> Delivered:
    return Delivered("d", member, subject, f"p0/{number}".encode(), count, number + 1, at)


def acked(delivery: Delivered, at: float, verdict: str = "ack", delay: float = 0.0) -> Settled:
    return Settled(delivery, verdict, at, delay)


ONE, TWO = published(0, 1), published(1, 2)
FIRST, SECOND = delivered(0, at=1.0), delivered(1, at=1.0)
GOOD = Record(
    ack_wait=10.0,
    filters={"d": "s.>"},
    events=[ONE, TWO, FIRST, SECOND, acked(FIRST, 1.1), acked(SECOND, 1.1)],
    stored=2,
    left={"d": (0, 0)},
)


def good(*more: object, **changes: object) -> Record:
    return replace(GOOD, events=[*GOOD.events, *more], **changes)


def events(*all_of_them: object, **changes: object) -> Record:
    return replace(GOOD, events=list(all_of_them), **changes)


LATE = delivered(0, at=1.0)
AGAIN = delivered(0, 2, 12.0)
VIOLATIONS = {
    "nothing_lost": [
        events(ONE, TWO, SECOND, acked(SECOND, 1.1)),
        events(ONE, TWO, FIRST, SECOND, acked(SECOND, 1.1), acked(FIRST, 1.1, "nak")),
    ],
    "nothing_invented": [
        good(delivered(5)),
        good(delivered(0, 2, 30.0, subject="s.b")),
        good(filters={"d": "s.b.>"}),
    ],
    "stored_once": [good(stored=3), good(stored=1), good(published(2, 2), stored=3)],
    "one_sequence": [good(delivered(0, 2, 30.0)._replace(sequence=7))],
    "publishing_in_order": [events(published(0, 2), published(1, 1))],
    "settled_stays": [
        good(delivered(0, 2, 30.0), read_at=9),
        good(delivered(0, 2, 30.0), calm=False, read_at=6),
        events(ONE, FIRST, AGAIN, acked(AGAIN, 12.1), acked(FIRST, 12.1, "nak"), delivered(0, 3, 12.2), read_at=9),
        events(ONE, FIRST, AGAIN, acked(FIRST, 12.1, "nak"), acked(AGAIN, 12.1), delivered(0, 3, 12.2), read_at=5),
    ],
    "counts_increase": [
        events(ONE, FIRST, delivered(0, 1, 30.0), acked(FIRST, 1.0)),
        events(ONE, delivered(0, 3), delivered(0, 2, 30.0)),
        events(ONE, FIRST, delivered(0, 1, 30.0), calm=False),
        events(ONE, delivered(0, 0)),
    ],
    "first_in_order": [events(ONE, TWO, SECOND, FIRST)],
    "leased_to_one": [events(ONE, FIRST, delivered(0, 2, 1.5, "d1.2"))],
    "delays_kept": [events(ONE, FIRST, acked(FIRST, 1.1, "nak", 2.0), delivered(0, 2, 2.0))],
    "nothing_left": [good(left={"d": (1, 0)}), good(left={"d": (0, 1)})],
}
ALLOWED = {
    "an uncertain publish": good(published(2, None), stored=3),
    "a late verdict": events(ONE, LATE, acked(LATE, 9.0), delivered(0, 2, 12.0), acked(LATE, 12.0)),
    "a stale nak": events(
        ONE, FIRST, acked(FIRST, 12.0, "nak"), delivered(0, 2, 12.1), delivered(0, 3, 12.2), acked(FIRST, 13.0)
    ),
    "a stale nak beside a delay": events(
        *(ONE, FIRST, AGAIN, acked(AGAIN, 12.1, "nak", 2.0), acked(FIRST, 12.1, "nak"), delivered(0, 3, 12.2)),
        acked(delivered(0, 3, 12.2), 12.3),
    ),
    "a stale nak before an ack": events(
        *(ONE, FIRST, AGAIN, acked(FIRST, 12.1, "nak"), acked(AGAIN, 12.1), delivered(0, 3, 12.2)),
        acked(delivered(0, 3, 12.2), 12.3),
        read_at=7,
    ),
    "a stale nak that fills two buffers": events(
        *(ONE, FIRST, acked(FIRST, 11.9, "nak"), delivered(0, 3, 12.0), delivered(0, 2, 12.0, "d1.2")),
        acked(delivered(0, 2, 12.0, "d1.2"), 12.1),
    ),
    "a member that closed": events(
        ONE, FIRST, Closed("d", "d0.1"), delivered(0, 2, 1.5, "d1.2"), acked(delivered(0, 2), 1.6)
    ),
    "an older delivery after a cut": good(delivered(0, 2, 1.2), calm=False, read_at=7),
    "a redelivery that overtakes": events(ONE, TWO, SECOND, delivered(0, 2), acked(SECOND, 1.1), acked(FIRST, 1.1)),
    "another member's order": events(
        ONE, TWO, SECOND, delivered(0, member="d1.2"), acked(SECOND, 1.1), acked(FIRST, 1.1)
    ),
    "no counts promised": events(ONE, FIRST, delivered(0, 1, 30.0), acked(FIRST, 1.0), counts=False),
}


def test_a_good_record_breaks_nothing():
    """The record that the others differ from is without fault."""
    assert broken(GOOD) == {}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed_is_no_violation(name: str):
    """What no backend can avoid is not held against it."""
    allowed = {"stored_once", "nothing_left"}
    assert broken(ALLOWED[name]).keys() <= allowed


def test_every_invariant_has_a_violation():
    """Each is violated by a record made by hand."""
    assert VIOLATIONS.keys() == {invariant.__name__ for invariant in INVARIANTS}


@pytest.mark.parametrize(
    ("name", "record"), [(name, record) for name, records in VIOLATIONS.items() for record in records]
)
def test_violations_are_found(name: str, record: Record):
    """The invariant sees it, and says in a sentence what is wrong."""
    sentences = broken(record).get(name)
    assert sentences
    assert all("d" in sentence for sentence in sentences)


def test_the_report_names_the_step():
    """The first step that broke something is named, with those before it and how to repeat it."""
    record = good(delivered(0, 2, 30.0), published(2, 3))
    steps = [Step("publish", "p0", 1, "a"), Step("receive", "d0"), Step("ack", "d0"), Step("receive", "d0")]
    step = first_broken(record, [2, 4, 6, 7])
    assert step == 3
    text = explain("42:model.history", steps, step, "settled_stays: again")
    assert 'at step 3 ["receive", "d0", 0, ""] of the history of seed 42: settled_stays: again' in text
    assert "--pubsubkit-seed 42" in text
    assert first_broken(GOOD, [2, 4, 6]) == 3
    assert "at the end" in explain("42:model.history", steps, 4, "nothing_left")


def test_a_failing_step_is_explained(runner: asyncio.Runner):
    """An error in the middle of a history comes with the step and the seed."""

    async def play() -> None:
        async with load_harness(MEMORY) as harness, Kit(harness, seed="7:x") as kit:
            steps = [Step("open", "d0"), Step("publish", "nobody", 0, "a")]
            await check_history(kit, steps, Player(kit, kit.backend))

    with pytest.raises(AssertionError, match=r"step 1 \[\"publish\", .* of seed 7: KeyError"):
        runner.run(play())
