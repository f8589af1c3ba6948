"""Rows of a table ↔ what a network reads and writes, exactly and row by row.

cells float64 [n, columns] ──encode──► float32 [n, width]      [n, width] ──decode──► cells

A cell is a number, or the index of its category; NaN where it is null. A network writes a choice (a
category; a value or a mode; or null) as a block of entries, and before it, for a number with modes,
α ∈ [−1, 1]: v = m + 4σα. Decoding takes the largest entry of a block, so that no rounding of a
softmax decides a row's bytes. Mode-specific normalisation: Xu et al. (2019), CTGAN, §4.2; here a
value belongs to its most probable mode rather than to a draw, so that encoding is a function.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from service.contract import CategoricalColumn, Column, NumericColumn, TableData

Cells = Float64[np.ndarray, "n columns"]
Encoded = Float32[np.ndarray, "n width"]
Values = Float64[np.ndarray, " n"]
Plain = float | int | str | None

REACH = 4.0  # α = ±1 lies this many σ from a mode's mean


@dataclass(frozen=True)
class Block:
    """Where one column lies in an encoded row."""

    column: Column
    start: int

    @property
    def alpha(self) -> int | None:
        """The index of α, if the column has modes."""
        return self.start if self.column.width > self.column.choices else None

    @property
    def choices(self) -> slice:
        """The entries of its choice; null is the last, where the column has nulls."""
        end = self.start + self.column.width
        return slice(end - self.column.choices, end)


@dataclass(frozen=True)
class TableCodec:
    """Encodes and decodes the rows of one table."""

    data: TableData

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """One block a column, in order."""
        starts = np.cumsum([0, *(column.width for column in self.data.columns)]).tolist()
        pairs = zip(self.data.columns, starts[:-1], strict=True)
        return tuple(Block(column, start) for column, start in pairs)

    @property
    def width(self) -> int:
        """How many numbers an encoded row has."""
        return self.data.width

    def encode(self, cells: Cells, known: Bool[np.ndarray, "n columns"] | None = None) -> Encoded:
        """Rows as a network reads them; all zeros where a cell is not `known`.

        Args:
            cells: each within its column's range; NaN, where it is known, in columns with nulls.
            known: which cells there are; all, if left out.
        """
        encoded = np.zeros((len(cells), self.width), np.float32)
        for i, block in enumerate(self.blocks):
            rows = np.arange(len(cells)) if known is None else np.flatnonzero(known[:, i])
            values = cells[rows, i]
            choice = choose(block.column, values)
            encoded[rows, block.choices.start + choice] = 1.0
            if block.alpha is not None:
                encoded[rows, block.alpha] = _alpha(block.column, values, choice)
        return encoded

    def decode(self, encoded: Encoded, *, full: Bool[np.ndarray, " n"] | None = None) -> Cells:
        """What the network wrote as cells: rounded, and within each column's range.

        Args:
            encoded: α and a score for each choice, of which the largest is taken.
            full: rows in which nothing may be null; none, if left out.
        """
        cells = np.empty((len(encoded), len(self.blocks)), np.float64)
        for i, block in enumerate(self.blocks):
            scores = encoded[:, block.choices]
            choice = np.argmax(scores, axis=1)
            if full is not None and block.column.nullable and scores.shape[1] > 1:
                choice = np.where(full, np.argmax(scores[:, :-1], axis=1), choice)
            alpha = None if block.alpha is None else encoded[:, block.alpha].astype(np.float64)
            cells[:, i] = _cell(block.column, choice, alpha)
        return cells


def choose(column: Column, values: Values) -> Int64[np.ndarray, " n"]:
    """Which entry each value takes: its category, value or mode; NaN takes that of null."""
    missing = np.isnan(values)
    assert column.nullable or not missing.any(), f"column {column.name!r} has no nulls"
    filled = np.where(missing, 0.0, values)
    if isinstance(column, CategoricalColumn):
        chosen = filled.astype(np.int64)
    else:
        chosen = _value_or_mode(column, filled)
    return np.where(missing, column.choices - 1, chosen).astype(np.int64)


def _value_or_mode(column: NumericColumn, values: Values) -> Int64[np.ndarray, " n"]:
    """Its own choice, for a value that has one; else that of a mode, or of the nearest value."""
    if not column.values:
        return _most_probable_mode(column, values)
    distance = np.abs(values[:, None] - np.array(column.values))
    nearest: Int64[np.ndarray, " n"] = distance.argmin(axis=1).astype(np.int64)
    if not column.modes:
        return nearest
    mode = len(column.values) + _most_probable_mode(column, values)
    return np.where(distance.min(axis=1) == 0, nearest, mode)


def _most_probable_mode(column: NumericColumn, values: Values) -> Int64[np.ndarray, " n"]:
    """argmax_k log w_k − log σ_k − (v − m_k)²/2σ_k², among the modes that reach v, if any does."""
    mean, std, weight = _modes(column)
    z = (values[:, None] - mean) / std
    score = np.log(weight) - np.log(std) - 0.5 * z**2
    reached = np.abs(z) <= REACH
    score = np.where(reached | ~reached.any(axis=1, keepdims=True), score, -np.inf)
    best: Int64[np.ndarray, " n"] = score.argmax(axis=1).astype(np.int64)
    return best


def _alpha(
    column: Column, values: Values, choice: Int64[np.ndarray, " n"]
) -> Float32[np.ndarray, " n"]:
    """α of each value within its mode; 0 where the choice is no mode."""
    assert isinstance(column, NumericColumn), "words have no modes"
    mean, std, _ = _modes(column)
    k = choice - len(column.values)
    of_a_mode = (k >= 0) & (k < len(mean))
    k = np.where(of_a_mode, k, 0)
    placed = (np.where(of_a_mode, values, mean[k]) - mean[k]) / (REACH * std[k])
    alpha: Float32[np.ndarray, " n"] = np.clip(placed, -1.0, 1.0).astype(np.float32)
    return alpha


def _cell(column: Column, choice: Int64[np.ndarray, " n"], alpha: Values | None) -> Values:
    null = choice == (column.choices - 1 if column.nullable else -1)
    if isinstance(column, CategoricalColumn):
        codes: Values = np.where(null, np.nan, choice.astype(np.float64))
        return codes
    count = len(column.values)
    values = np.array([*column.values, np.nan])[np.minimum(choice, count)]
    if alpha is not None:
        of_modes = rounded(column, matched(column, written(column, choice, alpha)))
        values = np.where(choice < count, values, of_modes)
    return np.where(null, np.nan, values)


def written(column: NumericColumn, choice: Int64[np.ndarray, " n"], alpha: Values) -> Values:
    """m + 4σα, as the network has it; of some mode where the choice is none."""
    mean, std, _ = _modes(column)
    k = np.clip(choice - len(column.values), 0, len(mean) - 1)
    found: Values = mean[k] + REACH * std[k] * np.clip(alpha, -1.0, 1.0)
    return found


def matched(column: NumericColumn, values: Values) -> Values:
    """The values at the training rows' quantiles, if the column's marginal is matched."""
    if column.marginal is None:
        return values
    found: Values = np.interp(values, column.marginal.written, column.marginal.wanted)
    return found


def rounded(column: NumericColumn, values: Values) -> Values:
    """With the column's decimals, and within its range."""
    decimals = 0 if column.integer else column.decimals
    kept = values if decimals is None else np.round(values, decimals) + 0.0  # −0 becomes 0
    within: Values = np.clip(kept, column.minimum, column.maximum)
    return within


def _modes(
    column: NumericColumn,
) -> tuple[Float[np.ndarray, " modes"], Float[np.ndarray, " modes"], Float[np.ndarray, " modes"]]:
    """(means, σs, weights) of the column's modes."""
    listed = np.array([(m.mean, m.std, m.weight) for m in column.modes], np.float64)
    return listed[:, 0], listed[:, 1], listed[:, 2]


def columns_of(data: TableData, cells: Cells) -> dict[str, list[Plain]]:
    """Cells as plain values by column: int, float or str, and None for null."""
    pairs = zip(data.columns, cells.T, strict=True)
    return {column.name: _plain(column, values) for column, values in pairs}


def rows_of(data: TableData, cells: Cells) -> list[dict[str, Plain]]:
    """Cells as a list of rows, each keyed by column."""
    columns = columns_of(data, cells)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(column: Column, values: Values) -> list[Plain]:
    missing = np.isnan(values)
    filled = np.where(missing, 0.0, values)
    found: list[Plain]
    if isinstance(column, CategoricalColumn):
        found = [column.categories[k] for k in filled.astype(np.int64).tolist()]
    else:
        found = (filled.astype(np.int64) if column.integer else filled).tolist()
    for row in np.flatnonzero(missing).tolist():
        found[row] = None
    return found
