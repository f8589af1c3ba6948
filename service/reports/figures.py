"""What a report says: figures beside their real twins, charts, pictures, and what stands out.

Figure, Chart, Picture ──► Section ──► Report ──document──► report.json

A report has no clock in it: the same rows give the same document.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Interval = tuple[float, float]
Good = Literal["lower", "higher", "as the real one", "near 0.5", "above 0"]
SIGNIFICANT_DIGITS = 6  # sums may differ in their last bits from one machine to another


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of the synthetic rows, and the same number of the hold-out.

    Attributes:
        id: a stable name for programs.
        name: what a person calls it.
        value, interval: of the synthetic rows, with its 95 % interval where one is known.
        real, real_interval: of real rows in their place.
        good: which direction is good.
        meaning: what it says, in a sentence.
        notice: what a reader should be told first, if it stands out.
    """

    id: str
    name: str
    value: float | None
    real: float | None
    good: Good
    meaning: str
    interval: Interval | None = None
    real_interval: Interval | None = None
    unit: Literal["", "%"] = ""
    notice: str | None = None


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line, or one set of bars, of a chart."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Numbers drawn: bars over categories, steps over bins, or curves.

    Attributes:
        x: categories (bars), bin edges (histogram, one more than values), or abscissae (curve;
            each series has its own in `xs`).
    """

    id: str
    title: str
    kind: Literal["bars", "histogram", "curve"]
    series: Sequence[Series]
    caption: str
    x: Sequence[str] | Sequence[float] = ()
    xs: Sequence[Sequence[float]] = ()
    x_label: str = ""
    y_label: str = ""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of numbers, such as a figure by class."""

    id: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | int | None]]
    caption: str
    percent: bool = False


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG; the document has its title and caption alone."""

    id: str
    title: str
    png: bytes = field(repr=False)
    caption: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Something that this report cannot say, and why."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question about the data set, and the answers."""

    id: str
    title: str
    question: str
    figures: Sequence[Figure] = ()
    charts: Sequence[Chart] = ()
    grids: Sequence[Grid] = ()
    pictures: Sequence[Picture] = ()
    note: str = ""
    missing: Sequence[Missing] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """The whole report.

    Attributes:
        about: what was compared: labels → values, in the order in which they are shown.
        sections: in the order in which they are read.
    """

    title: str
    kind: Literal["images", "table"]
    about: dict[str, str | int | None]
    sections: Sequence[Section]

    @property
    def notices(self) -> list[str]:
        """What stands out, in the order of the sections."""
        return [f.notice for s in self.sections for f in s.figures if f.notice is not None]

    @property
    def missing(self) -> list[Missing]:
        """Everything that could not be said."""
        return [m for s in self.sections for m in s.missing]

    def document(self) -> dict[str, Any]:
        """The report as JSON has it, with numbers cut to six significant digits."""
        sections = [asdict(s) for s in self.sections]
        for section in sections:
            for picture in section["pictures"]:
                del picture["png"]
        whole = {
            "schema_version": 1,
            "title": self.title,
            "kind": self.kind,
            "about": self.about,
            "notices": self.notices,
            "sections": sections,
        }
        cut: dict[str, Any] = _cut(whole)
        return cut

    def summary(self) -> dict[str, Any]:
        """A few lines of it: each figure beside its twin, what stands out, and what is missing."""
        figures = {
            figure.id: {"synthetic": figure.value, "real": figure.real}
            for section in self.sections
            for figure in section.figures
        }
        cut: dict[str, Any] = _cut(
            {
                "figures": figures,
                "notices": self.notices,
                "missing": [asdict(m) for m in self.missing],
            }
        )
        return cut


def _cut(value: Any) -> Any:  # noqa: ANN401  (JSON)
    """Numbers at six significant digits; what is not finite is null."""
    if isinstance(value, dict):
        return {key: _cut(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else None
    return value
