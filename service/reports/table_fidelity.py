"""Do the rows of a table look like real ones? Columns, pairs of columns, and a detector.

columns ──► KSComplement, TVComplement ──► column shapes
pairs ──► CorrelationSimilarity, ContingencySimilarity ──► pair trends
rows ──logistic regression──► can one tell them from training rows?
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.domain.ranking import auc
from service.domain.similarity import (
    bin_edges,
    binned,
    contingency_similarity,
    correlation,
    correlation_similarity,
    ks_complement,
    tv_complement,
)
from service.reports.figures import Chart, Figure, Grid, Series
from service.reports.learners import Matrix, detection_scores
from service.reports.rows import Table
from service.reports.table_columns import Columns

CHARTS = 12
BINS = 20
WORST_PAIRS = 10
MOST_BARS = 12
EASY_AUC = 0.9

Pair = tuple[str, str]

_SHAPES = (
    "How alike single columns are to those of training rows, 1 for equal: the mean of SDMetrics' "
    "KSComplement (numbers) and TVComplement (categories)."
)
_TRENDS = (
    "How alike columns go together, 1 for equal: the mean of SDMetrics' CorrelationSimilarity and "
    "ContingencySimilarity over all pairs."
)
_LIKENESS = (
    ("fidelity.column_shapes", "Column shapes", _SHAPES),
    ("fidelity.pair_trends", "Column pair trends", _TRENDS),
)


def shapes(side: Table, train: Table, columns: Columns) -> dict[str, float | None]:
    """How alike each column is to the training rows', by itself."""
    return {name: _shape(side, train, columns, name) for name in columns.names}


def trends(side: Table, train: Table, columns: Columns) -> dict[Pair, float | None]:
    """How alike each pair of columns goes together as in the training rows."""
    pairs = combinations(columns.names, 2)
    return {(a, b): _trend(side, train, columns, a, b) for a, b in pairs}


def _shape(side: Table, train: Table, columns: Columns, name: str) -> float | None:
    if columns.numeric(name):
        return ks_complement(train.columns[name].values, side.columns[name].values)
    return tv_complement(columns.codes(train, name), columns.codes(side, name))


def _trend(side: Table, train: Table, columns: Columns, a: str, b: str) -> float | None:
    if columns.numeric(a) and columns.numeric(b):
        return correlation_similarity(
            *(correlation(t.columns[a].values, t.columns[b].values) for t in (train, side))
        )
    codes = [_codes(train, side, columns, name) for name in (a, b)]
    return contingency_similarity((codes[0][0], codes[1][0]), (codes[0][1], codes[1][1]))


def _codes(
    train: Table, side: Table, columns: Columns, name: str
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]:
    """A column of both tables in codes: categories, or ten bins of the training rows' values."""
    if not columns.numeric(name):
        return columns.codes(train, name), columns.codes(side, name)
    edges = bin_edges(train.columns[name].values)
    return tuple(binned(t.columns[name].values, edges) for t in (train, side))


def similarity_figures(
    ours: tuple[dict[str, float | None], dict[Pair, float | None]],
    theirs: tuple[dict[str, float | None], dict[Pair, float | None]],
) -> list[Figure]:
    """The means over columns and over pairs."""
    means = [[_mean([*one.values()]), _mean([*two.values()])] for one, two in (ours, theirs)]
    return [
        Figure(id=id_, name=name, value=mine, real=other, good="higher", meaning=meaning)
        for (id_, name, meaning), mine, other in zip(_LIKENESS, *means, strict=True)
    ]


def detection(*, synthetic: Matrix, held_out: Matrix, train: Matrix) -> Figure:
    """How well a logistic regression tells rows from training rows, and real rows from them.

    Raises:
        LearnersMissing: scikit-learn is not installed.
    """
    found = [
        auc(positive=positive, negative=negative)
        for negative, positive in (detection_scores(train, side) for side in (synthetic, held_out))
    ]
    ours, theirs = found
    return Figure(
        id="fidelity.detection",
        name="Detection by a logistic regression, AUC",
        value=ours.value,
        interval=(ours.low, ours.high),
        real=theirs.value,
        real_interval=(theirs.low, theirs.high),
        good="near 0.5",
        meaning="How well a simple classifier tells the rows from training rows, on rows that it "
        "has not seen: 0.5 is not at all, 1 is always.",
        notice=f"A simple classifier tells these rows from real ones: AUC {ours.value:.3f}."
        if ours.low > max(EASY_AUC, theirs.high)
        else None,
    )


def column_grid(
    ours: dict[str, float | None], theirs: dict[str, float | None], sides: Sequence[Table],
    columns: Columns,
) -> Grid:  # fmt: skip
    """Each column: its likeness, and how much of it is missing on each side."""
    rows: list[list[str | float | int | None]] = []
    for name in columns.names:
        kind = "number" if columns.numeric(name) else "category"
        rows.append(
            [name, kind, ours[name], theirs[name], *(_missing(side, name) for side in sides)]
        )
    return Grid(
        id="fidelity.columns",
        title="Columns",
        columns=("column", "kind", "synthetic", "hold-out", "missing, synthetic", "missing, real"),
        rows=rows,
        caption="Likeness of each column to the training rows', 1 for equal, and the share of its "
        "values that are missing.",
    )


def worst_pairs(ours: dict[Pair, float | None], theirs: dict[Pair, float | None]) -> Grid:
    """The pairs of columns that go together least as they should."""
    known = [(value, pair) for pair, value in ours.items() if value is not None]
    rows: list[list[str | float | int | None]] = [
        [f"{a} and {b}", value, theirs[a, b]] for value, (a, b) in sorted(known)[:WORST_PAIRS]
    ]
    return Grid(
        id="fidelity.pairs",
        title="Pairs of columns, least alike first",
        columns=("columns", "synthetic", "hold-out"),
        rows=rows,
        caption="1: the two columns go together as in the training rows.",
    )


def column_charts(synthetic: Table, held_out: Table, columns: Columns) -> list[Chart]:
    """The first columns, drawn: synthetic rows over the hold-out."""
    draw = {True: _histogram, False: _bars}
    return [
        draw[columns.numeric(name)](synthetic, held_out, columns, name)
        for name in columns.names[:CHARTS]
    ]


def _histogram(synthetic: Table, held_out: Table, _: Columns, name: str) -> Chart:
    sides = [side.columns[name].values for side in (synthetic, held_out)]
    known = [side[~np.isnan(side)] for side in sides]
    both = np.concatenate(known)
    low, high = np.percentile(both, [0.5, 99.5]) if len(both) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    return _chart(
        name,
        "histogram",
        edges.tolist(),
        [np.histogram(side.clip(low, high), edges)[0] / max(len(side), 1) for side in known],
    )


def _bars(synthetic: Table, held_out: Table, columns: Columns, name: str) -> Chart:
    size = len(columns.categories[name])
    codes = [columns.codes(side, name) for side in (synthetic, held_out)]
    shares = [np.bincount(c[c >= 0], minlength=size) / max(len(c), 1) for c in codes]
    order = np.argsort(-shares[1], kind="stable")[:MOST_BARS]
    names = [columns.categories[name][i] for i in order]
    return _chart(name, "bars", names, [side[order] for side in shares])


def _chart(
    name: str,
    kind: Literal["bars", "histogram"],
    x: Sequence[str] | Sequence[float],
    sides: Sequence[NDArray[np.float64]],
) -> Chart:
    return Chart(
        id=f"fidelity.column.{name}",
        title=name,
        kind=kind,
        x=x,
        series=[
            Series(name=side, values=values.tolist())
            for side, values in zip(("synthetic", "hold-out"), sides, strict=True)
        ],
        y_label="share of rows",
        caption="",
    )


def _missing(table: Table, name: str) -> float:
    values = table.columns[name].values
    if values.dtype.kind == "f":
        return float(np.isnan(values).mean())
    return sum(v is None for v in values) / max(len(values), 1)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None
