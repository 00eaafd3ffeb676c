"""The medians as bars, in SVG."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from paths import PATHS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paths import Measured

__all__ = ["chart"]

_WIDTH, _LEFT, _ROW, _HEAD = 860, 250, 24, 46
_OURS, _THEIRS = "#2a6fb0", "#b8bfc8"


def chart(results: Sequence[Measured]) -> str:
    """One panel for each path, of its first cell."""
    firsts = {result.cell.path: result for result in reversed(results) if len(result.figures) > 1}
    parts: list[str] = []
    top = 10
    for path in PATHS:
        if path in firsts:
            parts += _panel(firsts[path], top)
            top += _HEAD + _ROW * len(firsts[path].figures) + 10
    style = "font-family='Helvetica, Arial, sans-serif' font-size='13'"
    frame = f"<rect width='{_WIDTH}' height='{top}' fill='white'/>"
    head = f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{top}' {style}>"
    return "\n".join([head, frame, *parts, "</svg>", ""])


def _panel(result: Measured, top: int) -> Iterator[str]:
    cell, names = result.cell, list(result.figures)
    figure = list(result.figures[names[0]])[-1]
    values = {name: result.median(name, figure) for name in names}
    place = ", ".join(
        part for part in (f"{cell.storage} storage" if cell.storage else "", f"{cell.size} bytes") if part
    )
    title = f"{PATHS[cell.path].about} ({figure}; {cell.loop}, {place})"
    yield f"<text x='10' y='{top + 20}' font-weight='bold'>{escape(title)}</text>"
    for row, (name, value) in enumerate(values.items()):
        y = top + _HEAD - 14 + row * _ROW
        long = max(1, (_WIDTH - _LEFT - 90) * value / max(values.values()))
        colour = _OURS if name.startswith("pubsubkit") else _THEIRS
        yield f"<text x='{_LEFT - 8}' y='{y + 13}' text-anchor='end'>{escape(name)}</text>"
        yield f"<rect x='{_LEFT}' y='{y}' width='{long:.0f}' height='{_ROW - 7}' fill='{colour}'/>"
        yield f"<text x='{_LEFT + long + 6:.0f}' y='{y + 13}'>{value:,.{1 if value < 10 else 0}f}</text>"
