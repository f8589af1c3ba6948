"""Rows of tables as clients write and read them.

{"column": value | null, …} ──► cells, which of them are known      cells ──► JSON rows | CSV
{"column": value, …} ──► conditions

A value that a column cannot hold is refused, with a pointer at it; nothing is clipped or guessed.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from service.api.sentences import pointer_to
from service.contract import CategoricalColumn, Column, NumericColumn, TableData
from service.domain.rows import Plain, columns_of, rows_of
from service.errors import FieldError, InvalidInput

MAX_ERRORS = 20
SHOWN_CHARACTERS = 40
# Beside a table's own columns, where several fillings of a row are listed one below the other.
OF_ROW, OF_FILLING = "_row", "_filling"


def read_rows(
    value: object, *, table: TableData, limit: int
) -> tuple[Float[np.ndarray, "n columns"], Bool[np.ndarray, "n columns"]]:
    """(cells, which of them are known): each row has every column, null where it is unknown.

    Raises:
        InvalidInput: not a list of rows, too many, or a value that its column cannot hold.
    """
    rows = [value] if isinstance(value, dict) else value
    if not isinstance(rows, list) or not rows:
        raise InvalidInput(
            'rows is not a list of rows; send [{"column": value, …}, …]', pointer="/rows"
        )
    if len(rows) > limit:
        raise InvalidInput(
            f"{len(rows)} rows exceed {limit}; send them in several requests", pointer="/rows"
        )
    cells = np.full((len(rows), len(table.columns)), np.nan)
    wrong: list[FieldError] = []
    for i, row in enumerate(rows):
        wrong += _read_row(row, table=table, into=cells[i], where=["rows", i])
        if len(wrong) >= MAX_ERRORS:
            break
    if wrong:
        raise InvalidInput.of(tuple(wrong[:MAX_ERRORS]))
    return cells, ~np.isnan(cells)


def read_conditions(value: object, *, table: TableData) -> tuple[tuple[int, float], ...]:
    """(column, cell) of each condition; null asks for rows in which the value is missing.

    Raises:
        InvalidInput: no such column, or a value that it cannot hold.
    """
    if not isinstance(value, dict):
        raise InvalidInput(
            'conditions is not an object; send {"column": value, …}', pointer="/conditions"
        )
    found: dict[int, float] = {}
    wrong: list[FieldError] = []
    for name, given in value.items():
        pointer = pointer_to(["conditions", name])
        column = table.column(name)
        if column is None:
            wrong.append(_unknown(name, table, pointer))
            continue
        cell = _cell(column, given)
        if isinstance(cell, str):
            wrong.append(FieldError(pointer=pointer, detail=cell))
        else:
            found[table.columns.index(column)] = cell
    if wrong:
        raise InvalidInput.of(tuple(wrong[:MAX_ERRORS]))
    return tuple(sorted(found.items()))


def json_rows(table: TableData, cells: NDArray[Any]) -> list[Any]:
    """Rows keyed by column; of several fillings a row, a list of lists."""
    rows = rows_of(table, cells.reshape(-1, cells.shape[-1]))
    if cells.ndim == 2:
        return rows
    each = cells.shape[1]
    return [rows[at : at + each] for at in range(0, len(rows), each)]


def csv_rows(table: TableData, cells: NDArray[Any]) -> bytes:
    """A header, then a line a row; nothing stands where a value is null."""
    columns = named_columns(table, cells)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue().encode()


def named_columns(table: TableData, cells: NDArray[Any]) -> Mapping[str, list[Plain]]:
    """Values by column; where rows have several fillings, first which row and filling it is."""
    found = columns_of(table, cells.reshape(-1, cells.shape[-1]))
    if cells.ndim == 2:
        return found
    row, filling = np.divmod(np.arange(cells.shape[0] * cells.shape[1]), cells.shape[1])
    return {OF_ROW: row.tolist(), OF_FILLING: filling.tolist(), **found}


def column_page(column: Column) -> dict[str, Any]:
    """What a client needs to know of a column."""
    if isinstance(column, CategoricalColumn):
        of_its_kind: dict[str, Any] = {"categories": column.categories}
    else:
        of_its_kind = {
            "integer": column.integer,
            "decimals": 0 if column.integer else column.decimals,
            "minimum": int(column.minimum) if column.integer else column.minimum,
            "maximum": int(column.maximum) if column.integer else column.maximum,
        }
    return {"name": column.name, "kind": column.kind, **of_its_kind, "nullable": column.nullable}


def _read_row(
    row: object, *, table: TableData, into: NDArray[np.float64], where: list[int | str]
) -> list[FieldError]:
    """Write a row's cells; what is wrong with it."""
    if not isinstance(row, dict):
        return [FieldError(pointer=pointer_to(where), detail="a row is an object keyed by column")]
    wrong = []
    for i, column in enumerate(table.columns):
        pointer = pointer_to([*where, column.name])
        if column.name not in row:
            detail = f"column {column.name!r} is missing; write null to have it filled in"
            wrong.append(FieldError(pointer=pointer, detail=detail))
            continue
        given = row[column.name]
        cell = math.nan if given is None else _cell(column, given)
        if isinstance(cell, str):
            wrong.append(FieldError(pointer=pointer, detail=cell))
        else:
            into[i] = cell
    known = {column.name for column in table.columns}
    unknown = [name for name in row if name not in known]
    return wrong + [_unknown(name, table, pointer_to([*where, name])) for name in unknown[:1]]


def _cell(column: Column, value: object) -> float | str:
    """The cell that a value makes, or what is wrong with it."""
    if value is None:
        return math.nan if column.nullable else f"column {column.name!r} is never null"
    if isinstance(column, CategoricalColumn):
        return _category(column, value)
    return _number(column, value)


def _category(column: CategoricalColumn, value: object) -> float | str:
    if value not in column.categories:
        return (
            f"{str(value)[:SHOWN_CHARACTERS]!r} is no category of {column.name!r}; they are "
            f"{', '.join(column.categories[:MAX_ERRORS])}"
        )
    return float(column.categories.index(str(value)))


def _number(column: NumericColumn, value: object) -> float | str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return f"{column.name}={str(value)[:SHOWN_CHARACTERS]} is not a number"
    if not column.minimum <= value <= column.maximum:
        return (
            f"{column.name}={value:g} is not between {column.minimum:g} and {column.maximum:g}, "
            "as all the training rows are"
        )
    if column.integer and value != int(value):
        return f"{column.name}={value:g} is not a whole number"
    return float(value)


def _unknown(name: str, table: TableData, pointer: str) -> FieldError:
    names = ", ".join(column.name for column in table.columns[:MAX_ERRORS])
    shown = name[:SHOWN_CHARACTERS]
    return FieldError(pointer=pointer, detail=f"{shown!r} is no column; the columns are {names}")
