"""The report as one HTML page: no network, no script, light and dark, readable on a phone.

Report ──sections──► figures beside their twins, SVG charts, PNG pictures ──► report.html
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from functools import cache
from html import escape
from importlib.resources import files

from service.reports.charts import svg
from service.reports.figures import (
    Chart,
    Figure,
    Good,
    Grid,
    Interval,
    Missing,
    Picture,
    Report,
    Section,
)

# Nothing may be loaded, and nothing may run: styles and pictures are in the page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
HOW_TO_READ = (
    "Every figure of the synthetic rows stands beside the same figure of real rows that the "
    "generator has not seen, of the same number: what a perfect generator would have."
)
GOOD: dict[Good, str] = {
    "lower": "lower is better",
    "higher": "higher is better",
    "as the real one": "best as the real one",
    "near 0.5": "best near 0.5",
    "above 0": "above 0 helps",
}


def page(report: Report) -> str:
    """The whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{escape(report.title)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n"
        f"<h1>{escape(report.title)}</h1>\n<p class='quiet'>{HOW_TO_READ}</p>\n"
        f"{_about(report)}{_notices(report.notices)}"
        f"{''.join(_section(s) for s in report.sections)}</body>\n</html>\n"
    )


@cache
def _style() -> str:
    return files("service.reports").joinpath("style.css").read_text("utf-8")


def _about(report: Report) -> str:
    lines = (
        f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>"
        for name, value in report.about.items()
    )
    return f'<dl class="about">{"".join(lines)}</dl>\n'


def _notices(notices: list[str]) -> str:
    if not notices:
        return (
            '<div class="box"><h3>What stands out</h3><p>Nothing, in what was checked here.'
            "</p></div>\n"
        )
    return f'<div class="box warn"><h3>What stands out</h3>{_list(notices)}</div>\n'


def _section(section: Section) -> str:
    head = f'<section id="{section.id}">\n<h2>{escape(section.title)}</h2>\n'
    parts = [head, f'<p class="quiet">{escape(section.question)}</p>\n']
    if section.note:
        parts.append(f'<div class="box"><p>{escape(section.note)}</p></div>\n')
    if section.figures:
        parts.append(_figures(section.figures))
    parts += [_grid(grid) for grid in section.grids]
    if section.charts:
        parts.append(f'<div class="charts">{"".join(map(_chart, section.charts))}</div>\n')
    if section.pictures:
        parts.append(f'<div class="pictures">{"".join(map(_picture, section.pictures))}</div>\n')
    if section.missing:
        parts.append(_missing(section.missing))
    return "".join(parts) + "</section>\n"


def _figures(figures: Iterable[Figure]) -> str:
    rows = "".join(
        f"<tr><td>{escape(f.name)}{_mark(f)}"
        f'<span class="meaning">{escape(f.meaning)}</span></td>'
        f"{_cell('synthetic', f.value, f.interval, f.unit)}"
        f"{_cell('real', f.real, f.real_interval, f.unit)}"
        f'<td class="good">{GOOD[f.good]}</td></tr>\n'
        for f in figures
    )
    return (
        '<table class="figures"><thead><tr><th></th><th class="synthetic">synthetic</th>'
        '<th class="real">real hold-out</th><th></th></tr></thead>\n'
        f"<tbody>{rows}</tbody></table>\n"
    )


def _mark(figure: Figure) -> str:
    return "" if figure.notice is None else ' <span class="mark" title="stands out">▲</span>'


def _cell(kind: str, value: float | None, interval: Interval | None, unit: str) -> str:
    label = "synthetic" if kind == "synthetic" else "real hold-out"
    reach = (
        ""
        if interval is None
        else f'<span class="interval">{number(interval[0], unit)} … {number(interval[1], unit)}'
        "</span>"
    )
    return (
        f'<td data-label="{label}"><span class="value {kind}">{number(value, unit)}</span>'
        f"{reach}</td>"
    )


def _grid(grid: Grid) -> str:
    head = "".join(f"<th>{escape(c)}</th>" for c in grid.columns)
    rows = "".join(
        f"<tr>{''.join(f'<td>{_value(v, percent=grid.percent)}</td>' for v in row)}</tr>\n"
        for row in grid.rows
    )
    return (
        f'<figure class="box"><h3>{escape(grid.title)}</h3><div class="scroll">'
        f'<table class="grid"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        f"<figcaption>{escape(grid.caption)}</figcaption></figure>\n"
    )


def _value(value: str | float | int | None, *, percent: bool) -> str:  # noqa: PYI041  counts differ
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, int):
        return f"{value:,}"
    return number(value, "%" if percent else "")


def _chart(chart: Chart) -> str:
    names = "".join(
        f'<span><i class="c{k if chart.kind != "curve" else 2 * k}"></i>{escape(s.name)}</span>'
        for k, s in enumerate(chart.series)
    )
    return (
        f'<figure class="box"><h3>{escape(chart.title)}</h3><div class="legend">{names}</div>'
        f"{svg(chart)}<figcaption>{escape(chart.caption)}</figcaption></figure>\n"
    )


def _picture(picture: Picture) -> str:
    data = b64encode(picture.png).decode()
    return (
        f'<figure class="box"><h3>{escape(picture.title)}</h3>'
        f'<img alt="{escape(picture.title)}" width="{picture.width}" height="{picture.height}" '
        f'src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>\n"
    )


def _missing(missing: Iterable[Missing]) -> str:
    lines = [f"{m.what}: {m.why}" for m in missing]
    return f'<div class="box"><h3>Not said here</h3>{_list(lines)}</div>\n'


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def number(value: float | None, unit: str = "") -> str:
    """Enough digits to compare by: a share in per cent with one decimal, else three or four."""
    if value is None:
        return "–"
    if unit == "%":
        return f"{value * 100:.1f} %"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:.2e}"
