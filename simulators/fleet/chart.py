"""Line and bar charts as inline SVG: no script, no font from elsewhere, readable in any viewer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 16, 34, 34
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")
_INK, _FAINT = "#444", "#ddd"
_TICKS = 4
_NARROW = 300
"""More points than this are drawn as so many, each the largest of its stretch."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: points (x, y); None leaves a gap. dots: points alone, not joined."""

    name: str
    points: Sequence[tuple[float, float | None]]
    dots: bool = False


def line_chart(title: str, x_name: str, lines: Sequence[Line]) -> str:
    """A chart of some lines on one scale that begins at zero."""
    chosen = [Line(line.name, _thinned(line), line.dots) for line in lines]
    xs = [x for line in chosen for x, _ in line.points]
    ys = [y for line in chosen for _, y in line.points if y is not None]
    low, high = (min(xs), max(xs)) if xs else (0.0, 1.0)
    top = nice_top(max(ys, default=1.0))
    width = (high - low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (x - low) / width * (WIDTH - _LEFT - _RIGHT),
            HEIGHT - _BOTTOM - y / top * (HEIGHT - _TOP - _BOTTOM),
        )

    parts = [_frame(title, top)]
    for tick in range(_TICKS + 1):
        x = low + width * tick / _TICKS
        at, _ = place(x, 0)
        parts.append(_text(at, HEIGHT - _BOTTOM + 16, number(x), "middle"))
    parts.append(_text(WIDTH - _RIGHT, HEIGHT - 4, x_name, "end"))
    for index, line in enumerate(chosen):
        colour = COLOURS[index % len(COLOURS)]
        parts.append(_drawn(line, colour, place))
        parts.append(_key(index, len(chosen), line.name, colour))
    return _svg(title, parts)


def bar_chart(
    title: str, groups: Sequence[tuple[str, Sequence[float | None]]], names: Sequence[str]
) -> str:
    """Groups of bars side by side; names: one per bar of a group."""
    top = nice_top(max((v for _, values in groups for v in values if v is not None), default=1.0))
    parts = [_frame(title, top)]
    room = (WIDTH - _LEFT - _RIGHT) / max(len(groups), 1)
    bar = room * 0.7 / max(len(names), 1)
    for place, (group, values) in enumerate(groups):
        start = _LEFT + room * (place + 0.15)
        parts.append(_text(start + room * 0.35, HEIGHT - _BOTTOM + 16, group, "middle"))
        for index, value in enumerate(values):
            if value is None:
                continue
            tall = value / top * (HEIGHT - _TOP - _BOTTOM)
            x, y = start + bar * index, HEIGHT - _BOTTOM - tall
            colour = COLOURS[index % len(COLOURS)]
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{bar * 0.92:.1f}" height="{tall:.1f}" '
                f'fill="{colour}"/>'
            )
            parts.append(_text(x + bar * 0.46, y - 4, number(value), "middle"))
    parts += [
        _key(index, len(names), name, COLOURS[index % len(COLOURS)])
        for index, name in enumerate(names)
    ]
    return _svg(title, parts)


def nice_top(value: float) -> float:
    """The end of a scale that holds a value: 1, 2, 2.5 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value)


def number(value: float) -> str:
    """12.3k, 1.2M, 0.45."""
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"


def _thinned(line: Line) -> Sequence[tuple[float, float | None]]:
    if len(line.points) <= _NARROW or line.dots:
        return line.points
    size = -(-len(line.points) // _NARROW)
    parts = [line.points[at : at + size] for at in range(0, len(line.points), size)]
    return [
        (part[0][0], max((y for _, y in part if y is not None), default=None)) for part in parts
    ]


def _drawn(line: Line, colour: str, place: Callable[[float, float], tuple[float, float]]) -> str:
    if line.dots:
        return "".join(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>'
            for x, y in (place(x, y) for x, y in line.points if y is not None)
        )
    path, pen = [], "M"
    for x, y in line.points:
        if y is None:
            pen = "M"
            continue
        at, up = place(x, y)
        path.append(f"{pen}{at:.1f} {up:.1f}")
        pen = "L"
    return f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _frame(title: str, top: float) -> str:
    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="16" font-size="13" fill="{_INK}">{escape(title)}</text>',
    ]
    for tick in range(_TICKS + 1):
        y, right = HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * tick / _TICKS, WIDTH - _RIGHT
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="{_FAINT}"/>')
        parts.append(_text(_LEFT - 6, y + 4, number(top * tick / _TICKS), "end"))
    return "".join(parts)


def _key(index: int, count: int, name: str, colour: str) -> str:
    x = WIDTH - _RIGHT - 130 * (count - index)
    return f'<rect x="{x}" y="20" width="10" height="10" fill="{colour}"/>' + _text(
        x + 14, 29, name, "start"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" fill="{_INK}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>\n'
    )
