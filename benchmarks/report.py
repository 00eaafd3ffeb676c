"""The bars, and what is printed and drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paths import PATHS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paths import Cell, Measured

__all__ = ["Judgement", "judge", "legend", "tables"]


class Bar(NamedTuple):
    """What a ratio of ours to theirs must reach, by the size of the payload; or, without a rival, our figure itself."""

    path: str
    figure: str
    rival: str
    bars: dict[int, float]
    stretch: float | None = None
    at_most: bool = False


BARS = (
    Bar("consume", "msg/s", "nats-py fetch(100)", {128: 3, 4096: 2.5}, 5),
    Bar("consume", "msg/s", "FastStream per message", {128: 8, 4096: 6}, 15),
    Bar("consume", "msg/s", "FastStream batch", {128: 3, 4096: 2.5}, 5),
    Bar("publish many", "msg/s", "nats-py publish_async", {128: 1.5, 4096: 1.1}, 2.5),
    Bar("publish many", "msg/s", "FastStream gathered", {128: 2.5, 4096: 2}, 4),
    Bar("publish", "msg/s", "nats-py", {128: 1, 4096: 1}, 1.2),
    Bar("publish", "msg/s", "FastStream", {128: 1, 4096: 1}, 1.2),
    Bar("latency", "p99 us", "core NATS", {128: 1.5, 4096: 1.5}, 1.2, at_most=True),
    Bar("growth", "MB", "", {128: 5}, at_most=True),
    Bar("in process", "msg/s", "asyncio.Queue", {128: 0.12}, 0.25),
    Bar("in process", "msg/s", "kombu memory://", {128: 5}),
    Bar("beside durables", "us", "pubsubkit, 10 beside", {128: 3}, 1.1, at_most=True),
)


class Judgement(NamedTuple):
    """A bar, beside what a cell reached."""

    cell: Cell
    ours: str
    rival: str
    figure: str
    value: float
    bar: float
    stretch: float | None
    at_most: bool

    @property
    def met(self) -> bool:
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    @property
    def words(self) -> str:
        reached = self.stretch is not None and self.cell.size == 128
        if reached and (self.value <= self.stretch if self.at_most else self.value >= self.stretch):
            return "met, and the stretch"
        return "met" if self.met else "**missed**"


def judge(results: Sequence[Measured]) -> list[Judgement]:
    """Put every bar beside what was measured on its path; those of absent rivals are left out."""
    return [judgement for measured in results for judgement in _judge(measured)]


def _judge(measured: Measured) -> Iterator[Judgement]:
    for bar in BARS:
        if bar.path != measured.cell.path or (bar.rival and bar.rival not in measured.figures):
            continue
        for ours in measured.figures:
            if ours.startswith("pubsubkit") and ours != bar.rival:
                value = measured.median(ours, bar.figure)
                if bar.rival:
                    value /= measured.median(bar.rival, bar.figure)
                limit = bar.bars[measured.cell.size]
                yield Judgement(measured.cell, ours, bar.rival, bar.figure, value, limit, bar.stretch, bar.at_most)


def legend(results: Sequence[Measured]) -> str:
    """What a reader of the page must know first, as a paragraph."""
    judgements = judge(results)
    missed = sum(not one.met for one in judgements)
    return (
        "A bar is the ratio to a rival, or the figure, that pubsubkit is to reach, and the stretch, which counts at "
        f"128 bytes, one that would be better still; {missed} of {len(judgements)} bars are missed. "
        "A load average above 1 per core makes the figures unreliable.\n"
    )


def tables(results: Sequence[Measured]) -> Iterator[str]:
    """The lines of a Markdown page: the bars, then all medians, then who is missing."""
    yield "## Bars\n"
    yield "| path | loop | storage | bytes | ours | against | reached | bar | |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for one in judge(results):
        sign = "≤" if one.at_most else "≥"
        reached = f"{one.value:.2f} ×" if one.rival else f"{one.value:.1f} {one.figure}"
        figure = f" ({one.figure})" if one.figure != "msg/s" and one.rival else ""
        yield (
            f"| {_place(one.cell)} | {one.ours} | {one.rival or '–'}{figure} | {reached} "
            f"| {sign} {one.bar:g} | {one.words} |"
        )
    for path in dict.fromkeys(result.cell.path for result in results):
        yield f"\n## {PATHS[path].about[0].upper()}{PATHS[path].about[1:]}\n"
        yield from _medians([result for result in results if result.cell.path == path])
        if PATHS[path].note:
            yield f"\n{PATHS[path].note}"
    absent = {name: why for result in results for name, why in result.absent.items()}
    if absent:
        yield "\n## Not measured\n"
        yield from (f"* {name}: {why}" for name, why in absent.items())


def _medians(results: Sequence[Measured]) -> Iterator[str]:
    names = list(dict.fromkeys(name for result in results for name in result.figures))
    figures = list(next(iter(results[0].figures.values())))
    yield "| loop | storage | bytes | " + " | ".join(names) + " |"
    yield "|" + "---|" * (len(names) + 3)
    for result in results:
        values = (
            " / ".join(_number(result.median(name, figure)) for figure in figures) if name in result.figures else "–"
            for name in names
        )
        yield f"| {_place(result.cell).partition(' | ')[2]} | " + " | ".join(values) + " |"
    yield f"\nMedians, in {' / '.join(figures)}."


def _place(cell: Cell) -> str:
    return f"{cell.path} | {cell.loop} | {cell.storage or '–'} | {cell.size:,}"


def _number(value: float) -> str:
    return f"{value:,.{1 if value < 10 else 0}f}"
