"""Charts as SVG, without a script: bars, histograms, curves, in the colours of the page.

Chart ──scale──► shapes with classes `s0`, `s1`, … ──► <svg>
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from service.reports.figures import Chart

WIDTH, HEIGHT = 440, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 44
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
LONGEST_LABEL = 12
MOST_LABELS = 12


def svg(chart: Chart) -> str:
    """The chart as an SVG element that fills the width it is given."""
    top = _ceiling(max((v for s in chart.series for v in s.values), default=1.0))
    if chart.kind == "bars":
        shapes = _bars(chart, top) + _names([str(x) for x in chart.x])
    elif chart.kind == "histogram":
        edges = [float(x) for x in chart.x]
        shapes = _steps(chart, edges, top) + _ticks(edges[0], edges[-1])
    else:
        top = 1.0
        shapes = _curves(chart) + _ticks(0.0, 1.0)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">'
        f"{_levels(top)}{shapes}{_axis_names(chart)}</svg>"
    )


def _bars(chart: Chart, top: float) -> str:
    groups, sides = len(chart.x), len(chart.series)
    slot = PLOT_WIDTH / max(groups, 1)
    width = slot * 0.8 / max(sides, 1)
    shapes = []
    for k, series in enumerate(chart.series):
        for i, (name, value) in enumerate(zip(chart.x, series.values, strict=True)):
            height = PLOT_HEIGHT * value / top
            x = LEFT + slot * (i + 0.1) + k * width
            shapes.append(
                f'<rect class="s{k}" x="{x:.1f}" y="{TOP + PLOT_HEIGHT - height:.1f}" '
                f'width="{width:.1f}" height="{height:.1f}"><title>'
                f"{escape(f'{name}, {series.name}: {_number(value)}')}</title></rect>"
            )
    return "".join(shapes)


def _steps(chart: Chart, edges: Sequence[float], top: float) -> str:
    low, high = edges[0], edges[-1]
    shapes = []
    for k, series in enumerate(chart.series):
        points = [_point(edges[0], 0.0, low=low, high=high, top=top)]
        for left, right, value in zip(edges, edges[1:], series.values, strict=False):
            points += [_point(x, value, low=low, high=high, top=top) for x in (left, right)]
        points.append(_point(edges[-1], 0.0, low=low, high=high, top=top))
        shapes.append(f'<polygon class="s{k} area" points="{" ".join(points)}"/>')
    return "".join(shapes)


def _curves(chart: Chart) -> str:
    shapes = []
    for k, (xs, series) in enumerate(zip(chart.xs, chart.series, strict=True)):
        points = [
            _point(x, y, low=0, high=1, top=1.0) for x, y in zip(xs, series.values, strict=True)
        ]
        shapes.append(f'<polyline class="s{k} line" points="{" ".join(points)}"/>')
    return "".join(shapes)


def _point(x: float, y: float, *, low: float, high: float, top: float) -> str:
    across = (x - low) / ((high - low) or 1.0)
    return f"{LEFT + PLOT_WIDTH * across:.1f},{TOP + PLOT_HEIGHT * (1 - y / top):.1f}"


def _levels(top: float) -> str:
    """Lines across, and their values."""
    shapes = []
    for i in range(5):
        y, value = TOP + PLOT_HEIGHT * (1 - i / 4), top * i / 4
        shapes.append(
            f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>'
        )
    return "".join(shapes)


def _names(names: Sequence[str]) -> str:
    """Below each group of bars its name, as far as there is room."""
    slot = PLOT_WIDTH / max(len(names), 1)
    every = math.ceil(len(names) / MOST_LABELS)
    room = max(int(slot * every / 7), 2)
    return "".join(
        _text(LEFT + slot * (i + 0.5), _short(name, min(room, LONGEST_LABEL)))
        for i, name in enumerate(names)
        if i % every == 0
    )


def _ticks(low: float, high: float) -> str:
    return "".join(
        _text(LEFT + PLOT_WIDTH * i / 4, _number(low + (high - low) * i / 4)) for i in range(5)
    )


def _text(x: float, text: str) -> str:
    y = TOP + PLOT_HEIGHT + 16
    return f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{escape(text)}</text>'


def _axis_names(chart: Chart) -> str:
    shown = f'<text class="axis" x="{LEFT + PLOT_WIDTH / 2:.0f}" y="{HEIGHT - 8}" '
    below = f'{shown}text-anchor="middle">{escape(chart.x_label)}</text>' if chart.x_label else ""
    middle = TOP + PLOT_HEIGHT / 2
    beside = (
        f'<text class="axis" transform="translate(12 {middle:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(chart.y_label)}</text>'
        if chart.y_label
        else ""
    )
    return below + beside


def _ceiling(value: float) -> float:
    """The least of 1, 2, 4, 5, 6, 8 × 10ᵏ that is not below."""
    if value <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(m * size for m in (1, 2, 4, 5, 6, 8, 10) if m * size >= value * (1 - 1e-9))


def _short(name: str, room: int) -> str:
    return name if len(name) <= room else name[: room - 1] + "…"


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1000 else f"{value:.1e}"
