"""What may be learned from synthetic rows, and whether a judge tells them from real ones.

synthetic ──train──► boosted trees ──test on real──► AUC, accuracy or R²     (real → real beside it)
real, synthetic ──three folds──► boosted trees ──► detection AUC; 0.5 is guessing

The models are scikit-learn's histogram gradient boosting, which reads missing values as they are.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from service.contract import CategoricalColumn, TableData
from service.domain.rows import Cells
from training.data_files import DataError

FOLDS = 3
MEASURES = {"auc": "ROC AUC", "accuracy": "accuracy", "r2": "R²"}


def measure_of(data: TableData, target: str) -> str:
    """How predictions of a column are judged: two classes by AUC, more by accuracy, numbers by R².

    Raises:
        DataError: there is no such column.
    """
    column = data.column(target)
    if column is None:
        names = ", ".join(c.name for c in data.columns)
        raise DataError(f"evaluate.utility names {target!r}, which is no column: {names}")
    if not isinstance(column, CategoricalColumn):
        return "r2"
    return "auc" if len(column.categories) == 2 else "accuracy"


def usefulness(
    data: TableData, *, target: str, train: Cells, test: Cells, trees: int, seed: int
) -> float:
    """How well a model that learned from `train` predicts a column of `test`, in `measure_of`."""
    measure = measure_of(data, target)
    at = [column.name for column in data.columns].index(target)
    (x, y), (other, truth) = (_without(cells, at) for cells in (train, test))
    options = {
        "max_iter": trees,
        "categorical_features": [
            isinstance(c, CategoricalColumn) for i, c in enumerate(data.columns) if i != at
        ],
        "random_state": seed,
        "early_stopping": False,
    }
    if measure == "r2":
        regressor = HistGradientBoostingRegressor(**options).fit(x, y)
        return float(r2_score(truth, regressor.predict(other)))
    if len(np.unique(y)) < 2:
        return 0.5 if measure == "auc" else float((truth == y[0]).mean())
    classifier = HistGradientBoostingClassifier(**options).fit(x, y.astype(np.int64))
    if measure == "auc":
        return float(roc_auc_score(truth, classifier.predict_proba(other)[:, 1]))
    return float(accuracy_score(truth, classifier.predict(other)))


def detection_auc(data: TableData, *, real: Cells, made: Cells, trees: int, seed: int) -> float:
    """AUC of a judge that has not seen a row when it says whether the row is real."""
    cells = np.concatenate([real, made])
    origin: Int[np.ndarray, " n"] = np.repeat([0, 1], [len(real), len(made)])
    judge = HistGradientBoostingClassifier(
        max_iter=trees,
        categorical_features=[isinstance(c, CategoricalColumn) for c in data.columns],
        random_state=seed,
        early_stopping=False,
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    told = cross_val_predict(judge, cells, origin, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(origin, told))


def _without(
    cells: Cells, column: int
) -> tuple[Float[np.ndarray, "n others"], Float[np.ndarray, " n"]]:
    """(the other columns, this one), of rows in which it is known."""
    there = cells[~np.isnan(cells[:, column])]
    return np.delete(there, column, axis=1), there[:, column]
