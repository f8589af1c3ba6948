"""Tables as what is compared: pairs of columns in codes, and rows as points.

Table ──Vocabulary of the training rows──► codes of categories
Table ──Scale──► points for distances (ranks, mismatches)      features for classifiers
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from service.errors import InvalidInput
from service.reports.rows import Table

MOST_CATEGORIES = 100  # more different texts than this are names or free text, not categories

Matrix = Float[np.ndarray, "rows features"]


@dataclass(frozen=True)
class Columns:
    """Which columns are compared, and the categories of each that holds text.

    Attributes:
        names: in the order of the real table.
        categories: column → its texts, those of both sides; numeric columns have none.
        left_out: column → why it is not compared.
    """

    names: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    left_out: dict[str, str]

    def numeric(self, name: str) -> bool:
        """Whether a column holds numbers."""
        return name not in self.categories

    def codes(self, table: Table, name: str) -> Int64[np.ndarray, " rows"]:
        """The place of each text among the column's; −1 where it is missing."""
        places = {text: i for i, text in enumerate(self.categories[name])}
        values = table.columns[name].values
        return np.array([-1 if v is None else places.get(v, -1) for v in values], np.int64)


def columns_of(synthetic: Table, parts: Sequence[Table], *, ignored: Sequence[str]) -> Columns:
    """The columns that both have.

    Raises:
        InvalidInput: a column holds numbers in one and text in the other, or none is shared.
    """
    real = parts[0]
    names, categories, left_out = [], {}, {}
    for name, column in real.columns.items():
        if name not in synthetic.columns:
            if name not in ignored:
                left_out[name] = "the synthetic rows do not have it"
            continue
        other = synthetic.columns[name]
        if _empty(other.values) or _empty(column.values):
            left_out[name] = "it is empty on one side"
            continue
        if column.numeric != other.numeric:
            raise InvalidInput(
                f"column {name!r} holds {'numbers' if column.numeric else 'text'} in the real rows "
                "and not in the synthetic ones: write it alike"
            )
        if not column.numeric:
            texts = _texts([other.values, *(part.columns[name].values for part in parts)])
            if len(texts) > MOST_CATEGORIES:
                left_out[name] = f"it has {len(texts):,} different texts, over {MOST_CATEGORIES}"
                continue
            categories[name] = texts
        names.append(name)
    if not names:
        raise InvalidInput(
            f"no column is in both tables: the real one has {', '.join(list(real.columns)[:10])}, "
            f"the synthetic one {', '.join(list(synthetic.columns)[:10])}"
        )
    return Columns(tuple(names), categories, left_out)


@dataclass(frozen=True)
class Scale:
    """Rows as points, by what the training rows say of each column's spread.

    A number is its rank among the training rows, from 0 to 1, after Gower (1971): every column
    counts alike. Two different categories are 1 apart, and so are a missing value and another.
    """

    columns: Columns
    train: Table
    skipped: tuple[str, ...] = ()

    def points(self, table: Table) -> Matrix:
        """Rows for distances."""
        parts: list[NDArray[np.float32]] = []
        for name in self._names:
            if self.columns.numeric(name):
                known = np.sort(_known(self.train.columns[name].values))
                values = table.columns[name].values
                rank = np.searchsorted(known, values, side="left") + np.searchsorted(
                    known, values, side="right"
                )
                part = (rank / (2.0 * max(len(known), 1)))[:, None]
                missing = np.isnan(values)[:, None]
                part = np.where(missing, 0.5, part)
                parts += [part.astype(np.float32), missing.astype(np.float32)]
            else:
                parts.append(self._one_hot(table, name) * np.float32(np.sqrt(0.5)))
        return np.concatenate(parts, axis=1)

    def features(self, table: Table) -> Matrix:
        """Rows for classifiers: numbers as they are, missing ones at the training rows' mean."""
        parts: list[NDArray[np.float32]] = []
        for name in self._names:
            if self.columns.numeric(name):
                values = table.columns[name].values
                mean = _known(self.train.columns[name].values).mean()
                parts.append(np.where(np.isnan(values), mean, values)[:, None].astype(np.float32))
                if np.isnan(self.train.columns[name].values).any():
                    parts.append(np.isnan(values)[:, None].astype(np.float32))
            else:
                parts.append(self._one_hot(table, name))
        return np.concatenate(parts, axis=1)

    @property
    def _names(self) -> list[str]:
        return [name for name in self.columns.names if name not in self.skipped]

    def _one_hot(self, table: Table, name: str) -> NDArray[np.float32]:
        """A column a category, and one for what is missing."""
        size = len(self.columns.categories[name]) + 1
        one_hot: NDArray[np.float32] = np.eye(size, dtype=np.float32)[
            self.columns.codes(table, name)
        ]
        return one_hot


def keys(table: Table, columns: Columns) -> list[bytes]:
    """One key a row, equal when all values are."""
    parts = [
        table.columns[name].values + 0.0  # −0 is 0
        if columns.numeric(name)
        else columns.codes(table, name).astype(np.float64)
        for name in columns.names
    ]
    return [row.tobytes() for row in np.ascontiguousarray(np.stack(parts, axis=1))]


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[~np.isnan(values)]


def _empty(values: NDArray[np.float64] | NDArray[np.object_]) -> bool:
    if values.dtype.kind == "f":
        return bool(np.isnan(values.astype(np.float64)).all())
    return all(v is None for v in values)


def _texts(sides: Sequence[NDArray[np.object_]]) -> tuple[str, ...]:
    return tuple(sorted({v for side in sides for v in side if v is not None}))
