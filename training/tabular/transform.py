"""How each column is written for a network, learned from training rows alone.

Table ──fit──► TableData (modes, values, categories)    Table, TableData ──► cells ──TableCodec──► x

Numbers get the modes of a variational Gaussian mixture, as in CTGAN (Xu et al. 2019, §4.2). A
number that comes again and again has a choice of its own, and so has each where there are only a
few; missing values are a choice too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture

from service.contract import CategoricalColumn, Mode, NumericColumn, TableData
from service.domain.rows import REACH, Cells, choose
from training.config import Table as ConfigTable
from training.data_files import DataError
from training.tabular.table import Table

FITTED_ROWS = 20_000
MAX_DECIMALS = 8


class TransformTable(ConfigTable):
    """`[transform]`: how numbers are written."""

    modes: int = Field(10, ge=1, le=64, description="Gaussians of a column's mixture, at most.")
    least_weight: float = Field(0.005, gt=0, lt=0.5, description="Of a mode that is kept.")
    few: int = Field(
        12, ge=0, le=256, description="Columns of at most so many numbers have a choice for each."
    )
    often: float = Field(
        0.05, gt=0, le=1, description="Numbers in so large a share of rows have a choice each."
    )
    match_marginals: bool = Field(
        default=True,
        description="After training, map what the network writes to the training rows' quantiles.",
    )


def fit_columns(
    table: Table, *, config: TransformTable, target: str | None, seed: int
) -> TableData:
    """The contract of a table, from its training rows.

    Raises:
        DataError: `target` is no column of words.
    """
    if target is not None and table.columns[target].dtype != object:
        raise DataError(
            f"target {target!r} holds numbers: name it in data.categorical if they are classes"
        )
    columns = [
        _categorical(name, values)
        if values.dtype == object
        else _numeric(name, values, integer=name in table.integer, config=config, seed=seed)
        for name, values in table.columns.items()
    ]
    return TableData(columns=tuple(columns), label_column=target)


def cells_of(table: Table, data: TableData) -> Cells:
    """The table as the codec reads it; a word that training rows lack becomes a null."""
    cells = np.empty((len(table), len(data.columns)), np.float64)
    for i, column in enumerate(data.columns):
        values = table.columns[column.name]
        if isinstance(column, CategoricalColumn):
            index = {word: float(k) for k, word in enumerate(column.categories)}
            cells[:, i] = [index.get(word, np.nan) for word in values]
        else:
            cells[:, i] = values
    return cells


def table_of(cells: Cells, data: TableData) -> Table:
    """Cells as a table again."""
    columns: dict[str, NDArray[np.generic]] = {}
    for column, values in zip(data.columns, cells.T, strict=True):
        if isinstance(column, CategoricalColumn):
            words = np.array([*column.categories, None], object)
            columns[column.name] = words[np.where(np.isnan(values), -1, values).astype(np.int64)]
        else:
            columns[column.name] = values.copy()
    whole = (c.name for c in data.columns if isinstance(c, NumericColumn) and c.integer)
    return Table(columns, frozenset(whole))


def _categorical(name: str, values: NDArray[np.generic]) -> CategoricalColumn:
    words = [word for word in values if word is not None]
    if not words:
        raise DataError(f"column {name!r} holds nothing: leave it out with data.drop")
    return CategoricalColumn(
        name=name, categories=tuple(sorted(set(words))), nullable=len(words) < len(values)
    )


def _numeric(
    name: str, values: NDArray[np.float64], *, integer: bool, config: TransformTable, seed: int
) -> NumericColumn:
    known = values[~np.isnan(values)]
    different, counts = np.unique(known, return_counts=True)
    few = len(different) <= config.few
    own = different if few else different[counts >= config.often * len(values)]
    others = known[~np.isin(known, own)]
    column = NumericColumn(
        name=name,
        integer=integer,
        decimals=None if integer else _decimals(different),
        minimum=float(different[0]),
        maximum=float(different[-1]),
        nullable=len(known) < len(values),
        values=tuple(own.tolist()),
        modes=_modes(others, config=config, seed=seed) if len(others) else (),
    )
    return column.model_copy(update={"modes": _widened(column, others)}) if len(others) else column


def _modes(known: NDArray[np.float64], *, config: TransformTable, seed: int) -> tuple[Mode, ...]:
    """The modes of a variational mixture with a sparse prior on its weights."""
    rows = np.random.default_rng(seed).permutation(len(known))[:FITTED_ROWS]
    centre, scale = float(known.mean()), float(known.std()) or 1.0
    mixture = BayesianGaussianMixture(
        n_components=min(config.modes, len(np.unique(known[rows]))),
        weight_concentration_prior_type="dirichlet_process",
        weight_concentration_prior=1e-3,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # A mixture that has not settled is still a good place to cut a column.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit((known[rows, None] - centre) / scale)
    weights = np.asarray(mixture.weights_)
    means = centre + scale * np.asarray(mixture.means_)[:, 0]
    stds = scale * np.sqrt(np.asarray(mixture.covariances_)[:, 0, 0])
    kept = np.flatnonzero(weights >= min(config.least_weight, float(weights.max())))
    total = float(weights[kept].sum())
    ordered: Iterable[int] = kept[np.argsort(means[kept])].tolist()
    return tuple(
        Mode(mean=float(means[k]), std=float(stds[k]), weight=float(weights[k]) / total)
        for k in ordered
    )


def _widened(column: NumericColumn, known: NDArray[np.float64]) -> tuple[Mode, ...]:
    """The modes, each wide enough that α says every training value that is its own."""
    chosen = choose(column, known)
    modes = []
    for k, mode in enumerate(column.modes):
        own = known[chosen == len(column.values) + k]
        farthest = float(np.abs(own - mode.mean).max()) if len(own) else 0.0
        modes.append(mode.model_copy(update={"std": max(mode.std, farthest / REACH * (1 + 1e-6))}))
    return tuple(modes)


def _decimals(different: NDArray[np.float64]) -> int | None:
    """How many digits after the point say every value; None for more than eight."""
    for digits in range(MAX_DECIMALS + 1):
        if np.allclose(np.round(different, digits), different, rtol=0, atol=1e-9):
            return digits
    return None
