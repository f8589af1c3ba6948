"""Tables from files: numbers and words, with missing values.

name or path ──► read ──► Table (an array a column) ──► split ──► train, held out, test
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.data_files import DataError
from training.data_sources import SHARED, cache_folder

KNOWN = ("diamonds", "credit")
# Seed of the test split: part of the data's definition, never of a run.
TEST_SPLIT_SEED = 20_240_301


class TableConfig(BaseModel):
    """The `[data]` table of a recipe for tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["diamonds", "credit"] | None = Field(
        None, description="A table that the project knows."
    )
    path: Path | None = Field(None, description="A .parquet or .csv file of your own.")
    target: str | None = Field(
        None, description="The categorical column that requests may ask for by `labels`."
    )
    categorical: tuple[str, ...] = Field(
        (), description="Numeric columns whose numbers are only names, such as postcodes."
    )
    drop: tuple[str, ...] = Field((), description="Columns to leave out, such as row numbers.")
    test: float = Field(0.2, gt=0, lt=1, description="Share of rows never trained on.")
    holdout: float = Field(
        0.1, gt=0, lt=1, description="Share of the others that chooses the step to keep."
    )
    limit: int | None = Field(None, ge=50, description="Use only so many rows.")

    @model_validator(mode="after")
    def _is_one_source(self) -> TableConfig:
        if (self.name is None) == (self.path is None):
            raise ValueError("data wants either 'name' or 'path', and one of them only")
        return self

    @property
    def title(self) -> str:
        """What the table is called in a card."""
        return self.name or (self.path.stem if self.path else "table")


@dataclass(frozen=True)
class Table:
    """Named columns of equal length.

    Attributes:
        columns: numbers as float64 with NaN for what is missing, words as objects with None.
        integer: names of the numeric columns that hold whole numbers.
    """

    columns: Mapping[str, NDArray[Any]]
    integer: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(self.columns)

    def take(self, rows: NDArray[np.int64]) -> Table:
        """Some rows."""
        return Table({name: values[rows] for name, values in self.columns.items()}, self.integer)


@dataclass(frozen=True)
class Splits:
    """Disjoint parts of one table."""

    train: Table
    held_out: Table
    test: Table


def load_splits(config: TableConfig, *, seed: int) -> Splits:
    """The table in three parts: test rows by the data's own seed, held-out rows by the run's.

    Raises:
        DataError: the file is not there or no table, or a column is not in it, or too few rows.
    """
    table = load_table(config)
    n = len(table)
    order = np.random.default_rng(TEST_SPLIT_SEED).permutation(n)
    if config.limit is not None:
        order = order[: config.limit]
    n_test = int(len(order) * config.test)
    rest = np.sort(order[n_test:])
    mixed = np.random.default_rng(seed).permutation(rest)
    n_held = int(len(rest) * config.holdout)
    if min(n_test, n_held, len(rest) - n_held) < 10:
        raise DataError(
            f"{config.title} has {len(order)} rows: too few to train on and to judge by"
        )
    return Splits(
        train=table.take(np.sort(mixed[n_held:])),
        held_out=table.take(np.sort(mixed[:n_held])),
        test=table.take(np.sort(order[:n_test])),
    )


def load_table(config: TableConfig) -> Table:
    """Every row of the table.

    Raises:
        DataError: the file is not there or no table, or a column is not in it.
    """
    path = config.path or _known_path(config.name or "")
    table = _columns(_read(path), as_words=frozenset(config.categorical))
    for name in (*config.categorical, *config.drop, *([config.target] if config.target else [])):
        if name not in table.columns:
            raise DataError(f"{path.name} has no column {name!r}; it has {', '.join(table.names)}")
    kept = {name: values for name, values in table.columns.items() if name not in config.drop}
    return Table(kept, table.integer & kept.keys())


def _known_path(name: str) -> Path:
    shared = SHARED / "tables" / f"{name}.parquet"
    cached = cache_folder() / "tables" / f"{name}.parquet"
    for path in (shared, cached):
        if path.exists():
            return path
    raise DataError(f"the table {name!r} is not here: put {name}.parquet into {cached.parent}")


def _read(path: Path) -> pa.Table:
    if not path.exists():
        raise DataError(f"{path} does not exist: give a .parquet or a .csv file")
    try:
        if path.suffix == ".parquet":
            return pa.parquet.read_table(path)
        if path.suffix == ".csv":
            words = pa.csv.ConvertOptions(strings_can_be_null=True)
            return pa.csv.read_csv(path, convert_options=words)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from error
    raise DataError(f"{path} is neither a .parquet nor a .csv file")


def _columns(table: pa.Table, *, as_words: frozenset[str]) -> Table:
    if not table.num_rows or not table.num_columns:
        raise DataError("the table is empty")
    columns: dict[str, NDArray[Any]] = {}
    integer = set()
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if name in as_words or not _is_number(kind):
            columns[name] = _words(column)
            continue
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
        if np.isinf(values).any():
            raise DataError(f"column {name!r} holds infinite numbers")
        columns[name] = values
        known = values[~np.isnan(values)]
        if pa.types.is_integer(kind):
            integer.add(name)
        if not len(known):
            raise DataError(f"column {name!r} holds nothing: leave it out with data.drop")
    return Table(columns, frozenset(integer))


def _is_number(kind: pa.DataType) -> bool:
    decides = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(is_kind(kind) for is_kind in decides)


def _words(column: pa.ChunkedArray) -> NDArray[Any]:
    values = [None if v is None or v != v else str(v) for v in column.to_pylist()]  # noqa: PLR0124
    found = np.empty(len(values), object)
    found[:] = values
    return found
