"""Quality figures of a model of tables, from its package's own graph, each beside its real floor.

generate.onnx ──rows──► column shapes, pair trends, detection, usefulness, copies
              ──rows with holes──► missing cells, beside the commonest value

The floor puts as many training rows in the samples' place. Test rows are looked at here, once
training is over, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from service.contract import CategoricalColumn, Quality, Role, TableData
from service.domain import latent
from service.domain.rows import Cells, TableCodec
from training.package import Package
from training.tabular.config import EvaluateTable
from training.tabular.likeness import likeness
from training.tabular.usefulness import MEASURES, detection_auc, measure_of, usefulness

BATCH = 2000
HIDDEN_SHARE = 0.3
FILLINGS = 45  # with 9, the commonest and the median are half noise
FILLED_ROWS = 1000


@dataclass(frozen=True)
class RowSplits:
    """Training, held-out and test rows as cells."""

    train: Cells
    held_out: Cells
    test: Cells


def sample_cells(
    package: Package,
    *,
    n: int,
    seed: int,
    cells: Cells | None = None,
    known: Bool[np.ndarray, "n columns"] | None = None,
    full: bool = False,
) -> Cells:
    """Rows 0 … n − 1 of `sample` with this seed, as the service gives them; `known` cells held."""
    data, prior = package.manifest.data, package.manifest.latent
    assert isinstance(data, TableData), "the package is of a table"
    assert prior is not None, "a generator has a latent prior"
    codec = TableCodec(data)
    held = np.zeros((n, len(data.columns)), np.bool_) if known is None else known
    given = np.full(held.shape, np.nan) if cells is None else cells
    parts = []
    for first in range(0, n, BATCH):
        at = slice(first, min(first + BATCH, n))
        rows = range(first, at.stop)
        written = package.run(
            "generate",
            z=latent.draw(prior=prior.prior, size=prior.size, seed=seed, rows=rows),
            values=codec.encode(given[at], held[at]),
            mask=held[at].astype(np.float32),
        )
        (output,) = (t.name for t in package.manifest.functions["generate"].outputs
                     if t.role is Role.DATA)  # fmt: skip
        decoded = codec.decode(written[output], full=np.full(at.stop - first, full))
        parts.append(np.where(held[at], given[at], decoded))
    return np.concatenate(parts)


def row_figures(
    package: Package, rows: RowSplits, *, table: EvaluateTable, command: str
) -> list[Quality]:
    """Every figure of a package."""
    data = package.manifest.data
    assert isinstance(data, TableData), "the package is of a table"
    # Files may be sorted: whatever takes the first rows takes any rows.
    draw = np.random.default_rng(table.seed)
    rows = RowSplits(*(draw.permutation(part) for part in (rows.train, rows.held_out, rows.test)))
    n = min(len(rows.test), table.rows)
    made = sample_cells(package, n=max(n, min(len(rows.train), table.rows)), seed=table.seed)
    floor = rows.train[:n]
    figures = [
        *_likeness(data, test=rows.test[:n], made=made[:n], floor=floor),
        _detection(data, test=rows.test[:n], made=made[:n], floor=floor, table=table),
        *_usefulness(data, rows, made=made, table=table),
        _copies(rows, made=made[:n]),
        *_fillings(package, data, rows, seed=table.seed),
    ]
    return [figure.model_copy(update={"command": command}) for figure in figures]


def _likeness(data: TableData, *, test: Cells, made: Cells, floor: Cells) -> list[Quality]:
    ours, theirs = (likeness(data, real=test, made=cells) for cells in (made, floor))
    against = f"{len(made):,} rows against {len(test):,} test rows; floor: as many training rows"
    worst = min(ours.shapes, key=lambda name: ours.shapes[name])
    return [
        Quality(
            name="column_shapes",
            value=ours.column_shapes,
            floor=theirs.column_shapes,
            protocol=f"SDMetrics' definition, mean over columns; {against}",
        ),
        Quality(
            name="column_shapes_least",
            value=ours.shapes[worst],
            floor=theirs.shapes[worst],
            protocol=f"the column that is least like: {worst}; {against}",
        ),
        Quality(
            name="pair_trends",
            value=ours.pair_trends,
            floor=theirs.pair_trends,
            protocol=f"SDMetrics' definition, mean over pairs; {against}",
        ),
    ]


def _detection(
    data: TableData, *, test: Cells, made: Cells, floor: Cells, table: EvaluateTable
) -> Quality:
    ours, theirs = (
        detection_auc(data, real=test, made=cells, trees=table.trees, seed=table.seed)
        for cells in (made, floor)
    )
    return Quality(
        name="detection_auc",
        value=ours,
        floor=theirs,
        protocol=f"{table.trees} boosted trees, three folds, tell {len(made):,} rows from "
        f"{len(test):,} test rows; 0.5 is guessing, lower is better; floor: as many training rows",
    )


def _usefulness(
    data: TableData, rows: RowSplits, *, made: Cells, table: EvaluateTable
) -> list[Quality]:
    targets = table.utility or ((data.label_column,) if data.label_column else ())
    real = rows.train[: len(made)]
    found = []
    for target in targets:
        ours, theirs = (
            usefulness(
                data, target=target, train=cells, test=rows.test, trees=table.trees, seed=table.seed
            )
            for cells in (made, real)
        )
        found.append(
            Quality(
                name=f"usefulness_{target}",
                value=ours,
                floor=theirs,
                protocol=f"{MEASURES[measure_of(data, target)]} of {table.trees} boosted trees "
                f"that learned {target} from {len(made):,} synthetic rows, on "
                f"{len(rows.test):,} test rows; floor: from {len(real):,} training rows",
            )
        )
    return found


def _copies(rows: RowSplits, *, made: Cells) -> Quality:
    seen = {row.tobytes() for row in rows.train}
    ours, theirs = (np.mean([row.tobytes() in seen for row in c]) for c in (made, rows.test))
    return Quality(
        name="copies_of_training",
        value=float(ours),
        floor=float(theirs),
        protocol=f"share of {len(made):,} rows that equal a training row in every cell; floor: of "
        f"{len(rows.test):,} test rows",
    )


def _fillings(package: Package, data: TableData, rows: RowSplits, *, seed: int) -> list[Quality]:
    """Cells of test rows are hidden and filled in; beside it, what is commonest in training."""
    test = rows.test[:FILLED_ROWS]
    draw = np.random.default_rng(seed)
    hidden = (draw.random(test.shape) < HIDDEN_SHARE) & ~np.isnan(test)
    hidden[hidden.all(axis=1), 0] = False
    # A cell that is missing where no training row had a null is a hole too, with no truth to it.
    unheard = np.isnan(test) & ~np.array([column.nullable for column in data.columns])
    many = np.repeat(~(hidden | unheard), FILLINGS, axis=0)
    filled = sample_cells(
        package,
        n=len(many),
        seed=seed,
        cells=np.repeat(test, FILLINGS, axis=0),
        known=many,
        full=True,
    ).reshape(len(test), FILLINGS, -1)
    right: list[Bool[np.ndarray, " cells"]] = []
    common: list[Bool[np.ndarray, " cells"]] = []
    errors, baseline = [], []
    for i, column in enumerate(data.columns):
        at = hidden[:, i]
        known = rows.train[~np.isnan(rows.train[:, i]), i]
        truth, guesses = test[at, i], filled[at, :, i]
        if isinstance(column, CategoricalColumn):
            right.append(_mode(guesses) == truth)
            common.append(_mode(known[None, :])[0] == truth)
        else:
            scale = float(known.std()) or 1.0
            errors.append(np.abs(np.median(guesses, axis=1) - truth) / scale)
            baseline.append(np.abs(float(np.median(known)) - truth) / scale)
    words = (
        f"{HIDDEN_SHARE:.0%} of the cells of {len(test):,} test rows hidden, {FILLINGS} fillings"
    )
    found = []
    if right:
        found.append(
            Quality(
                name="filled_words",
                value=float(np.concatenate(right).mean()),
                floor=None,
                protocol=f"share of hidden categories that the commonest of the fillings names; "
                f"{words}; always the commonest category: {np.concatenate(common).mean():.4f}",
            )
        )
    if errors:
        found.append(
            Quality(
                name="filled_numbers",
                value=float(np.concatenate(errors).mean()),
                unit="σ",
                floor=None,
                protocol=f"mean error of the median filling, in the column's standard deviations; "
                f"{words}; always the median: {np.concatenate(baseline).mean():.4f}",
            )
        )
    return found


def _mode(values: Cells) -> np.ndarray:
    """The commonest value of each row; NaN counts as −1."""
    whole = np.nan_to_num(values, nan=-1.0).astype(np.int64)
    return np.array([np.bincount(row + 1).argmax() - 1 for row in whole])
