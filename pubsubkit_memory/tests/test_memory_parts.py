"""The parts below the broker: the subject index and the deadlines."""

from __future__ import annotations

import asyncio
import itertools
import random
from types import SimpleNamespace
from typing import Any

import pytest

from pubsubkit.subjects import matches
from pubsubkit_memory.index import SubjectIndex
from pubsubkit_memory.timers import Timers

CAP = 10.0
PATTERNS = [
    ".".join(tokens)
    for length in (1, 2, 3)
    for tokens in itertools.product(("a", "b", "*", ">"), repeat=length)
    if ">" not in tokens[:-1]
]
SUBJECTS = [".".join(tokens) for length in (1, 2, 3, 4) for tokens in itertools.product("abc", repeat=length)]


def expected(patterns: list[str], subject: str) -> set[str]:
    return {pattern for pattern in patterns if matches(pattern, subject)}


def test_index_agrees_with_the_grammar() -> None:
    """The trie finds exactly the filters that match by the subject grammar, while filters come and go."""
    index: SubjectIndex[str] = SubjectIndex()
    present: list[str] = []
    dice = random.Random(1)
    for step in range(400):
        pattern = dice.choice(PATTERNS)
        if pattern in present:
            index.remove(pattern, pattern)
            present.remove(pattern)
        else:
            index.add(pattern, pattern)
            present.append(pattern)
        for subject in SUBJECTS if step % 20 == 0 else dice.sample(SUBJECTS, 5):
            found = index[subject]
            assert set(found) == expected(present, subject)
            assert len(found) == len(set(found))
    for pattern in present:
        index.remove(pattern, pattern)
    assert index._root.empty
    assert index["a"] == ()


def test_index_lists_a_value_once() -> None:
    """A value with several filters that match is found once, and stays for the others when one goes."""
    index: SubjectIndex[str] = SubjectIndex()
    for pattern in ("a.>", "a.*", "a.b"):
        index.add(pattern, "x")
    assert index["a.b"] == ("x",)
    index.remove("a.>", "x")
    assert index["a.b"] == ("x",)
    assert index["a.b.c"] == ()


def test_index_cache_is_bounded() -> None:
    """Any number of subjects takes a bounded amount of memory."""
    index: SubjectIndex[str] = SubjectIndex()
    index.add(">", "x")
    for number in range(20_000):
        assert index[str(number)] == ("x",)
    assert len(index) <= 4096


async def test_deadlines_in_order() -> None:
    """Deadlines are called in their order, equal ones in that of their making, and cancelled ones not at all."""
    timers, called, done = Timers(), [], asyncio.Event()
    timers.start(asyncio.get_running_loop())
    now = timers.now()
    timers.at(now + 0.03, done.set)
    timers.at(now + 0.02, lambda: called.append("late"))
    gone = timers.at(now + 0.015, lambda: called.append("gone"))
    for name in "ab":
        timers.at(now + 0.01, lambda name=name: called.append(name))
    timers.cancel(gone)
    timers.cancel(gone)
    async with asyncio.timeout(CAP):
        await done.wait()
    assert called == ["a", "b", "late"]
    assert not timers.armed
    assert len(timers) == 0


async def test_deadline_made_by_a_deadline() -> None:
    """A call may set the next deadline, at once or later."""
    timers, done = Timers(), asyncio.Event()
    timers.start(asyncio.get_running_loop())
    timers.at(timers.now(), lambda: timers.at(timers.now(), lambda: timers.at(timers.now() + 0.01, done.set)))
    async with asyncio.timeout(CAP):
        await done.wait()
    timers.stop()


async def test_cancelled_deadlines_go() -> None:
    """Cancelled deadlines are swept away while live ones stay."""
    timers, done = Timers(), asyncio.Event()
    timers.start(asyncio.get_running_loop())
    timers.at(timers.now() + 0.02, done.set)
    for _ in range(1000):
        timers.cancel(timers.at(timers.now() + 3600, done.set))
    assert len(timers) < 150
    async with asyncio.timeout(CAP):
        await done.wait()
    timers.stop()


async def test_stopped_deadlines_wait() -> None:
    """What falls due while stopped is called after the next start; the clock does not jump."""
    timers, done = Timers(), asyncio.Event()
    timers.at(timers.now() - 1, done.set)
    before = timers.now()
    timers.start(asyncio.get_running_loop())
    assert 0 <= timers.now() - before < CAP
    timers.stop()
    assert not timers.armed
    assert not done.is_set()
    timers.start(asyncio.get_running_loop())
    async with asyncio.timeout(CAP):
        await done.wait()
    timers.stop()


class FakeLoop:
    """A loop with a clock of its own."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.armed: list[float] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: object) -> Any:
        self.armed.append(when)
        return SimpleNamespace(cancel=self.armed.pop)


def test_clock_follows_the_loop() -> None:
    """Deadlines go by the running loop's clock, keep their distance when the loop changes, and time goes on without."""
    timers = Timers()
    one, two = FakeLoop(1000.0), FakeLoop(5.0)
    timers.start(one)
    start = timers.now()
    timers.at(start + 100, lambda: None)
    one.now += 40
    assert timers.now() - start == pytest.approx(40)
    assert one.armed == [pytest.approx(1100)]
    timers.stop()
    one.now += 1000
    assert timers.now() - start == pytest.approx(40, abs=CAP)
    assert not one.armed
    timers.start(two)
    assert two.armed == [pytest.approx(65, abs=CAP)]
