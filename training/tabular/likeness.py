"""How like real rows synthetic ones are, by SDMetrics' definitions.

cells, cells ──a column──► column shapes        ──two columns──► pair trends        both in [0, 1]

The definitions are in `service/domain/similarity.py`; here they are gathered for a whole table.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Int64

from service.contract import CategoricalColumn, NumericColumn, TableData
from service.domain import similarity
from service.domain.rows import Cells

Codes = Int64[np.ndarray, " n"]


@dataclass(frozen=True)
class Likeness:
    """Scores of columns and of pairs; 1 is equal."""

    shapes: dict[str, float]
    trends: dict[tuple[str, str], float]

    @property
    def column_shapes(self) -> float:
        """The mean over columns."""
        return float(np.mean(list(self.shapes.values())))

    @property
    def pair_trends(self) -> float:
        """The mean over pairs."""
        return float(np.mean(list(self.trends.values()))) if self.trends else 1.0

    @property
    def overall(self) -> float:
        """The mean of both."""
        return (self.column_shapes + self.pair_trends) / 2.0


def likeness(data: TableData, *, real: Cells, made: Cells) -> Likeness:
    """Column shapes and pair trends of `made` against `real`, where they are defined."""
    n = len(data.columns)
    shapes = {data.columns[i].name: _shape(data, real=real, made=made, i=i) for i in range(n)}
    trends = {
        (data.columns[i].name, data.columns[j].name): _trend(data, real=real, made=made, i=i, j=j)
        for i, j in combinations(range(n), 2)
    }
    return Likeness(
        shapes={name: score for name, score in shapes.items() if score is not None},
        trends={pair: score for pair, score in trends.items() if score is not None},
    )


def _shape(data: TableData, *, real: Cells, made: Cells, i: int) -> float | None:
    if isinstance(data.columns[i], NumericColumn):
        return similarity.ks_complement(real[:, i], made[:, i])
    return similarity.tv_complement(_words(real, i), _words(made, i))


def _trend(data: TableData, *, real: Cells, made: Cells, i: int, j: int) -> float | None:
    both = [isinstance(data.columns[k], NumericColumn) for k in (i, j)]
    if all(both):
        return similarity.correlation_similarity(
            similarity.correlation(real[:, i], real[:, j]),
            similarity.correlation(made[:, i], made[:, j]),
        )
    coded = [_coded(data, real=real, made=made, i=k) for k in (i, j)]
    (a, c), (b, d) = coded
    return similarity.contingency_similarity((a, b), (c, d))


def _coded(data: TableData, *, real: Cells, made: Cells, i: int) -> tuple[Codes, Codes]:
    """The column as codes, a number by its bin among the real ones."""
    if isinstance(data.columns[i], CategoricalColumn):
        return _words(real, i), _words(made, i)
    edges = similarity.bin_edges(real[:, i])
    return similarity.binned(real[:, i], edges), similarity.binned(made[:, i], edges)


def _words(cells: Cells, i: int) -> Codes:
    return np.where(np.isnan(cells[:, i]), -1, cells[:, i]).astype(np.int64)
