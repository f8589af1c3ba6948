"""The numeric columns of a table as real-valued rows.

Parquet or CSV ──load_splits──► numeric columns, rows without gaps ──► train, held out, test

Columns of words have no place among Gaussian units and are left out, and so is a row in which a
number is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from training.data_files import DataError
from training.tabular.table import Table, TableConfig, load_splits

FEWEST_COLUMNS = 2


@dataclass(frozen=True)
class TableRows:
    """Rows of three splits, in the columns' own units.

    Attributes:
        names: of the columns, in order.
        train, held_out, test: float32.
    """

    names: tuple[str, ...]
    train: Float[Tensor, "n columns"]
    held_out: Float[Tensor, "m columns"]
    test: Float[Tensor, "k columns"]


def table_rows(config: TableConfig, *, seed: int) -> TableRows:
    """The rows of a table's three parts; the run's seed decides which training rows are held out.

    Raises:
        DataError: the table is not there, or has fewer than two columns of numbers.
    """
    splits = load_splits(config, seed=seed)
    columns = splits.train.columns
    names = tuple(name for name in splits.train.names if columns[name].dtype != object)
    if len(names) < FEWEST_COLUMNS:
        raise DataError(
            f"{config.title} has {len(names)} columns of numbers: Gaussian units want "
            f"{FEWEST_COLUMNS} or more"
        )
    return TableRows(
        names=names,
        train=_whole_rows(splits.train, names),
        held_out=_whole_rows(splits.held_out, names),
        test=_whole_rows(splits.test, names),
    )


def _whole_rows(table: Table, names: tuple[str, ...]) -> Float[Tensor, "rows columns"]:
    rows = np.stack([table.columns[name] for name in names], axis=1)
    return torch.from_numpy(rows[~np.isnan(rows).any(1)].astype(np.float32))
