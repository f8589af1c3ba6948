"""The classifiers that reports train: scikit-learn's, imported when a report needs them.

rows, classes ──► fitted ──► classes of other rows         real or synthetic? ──► held-out scores

They are means to an end: fixed beforehand, seeded, on one thread, never tuned on the data.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, cast

import numpy as np
from jaxtyping import Float

COMPONENTS = 50  # principal components of images that a classifier is given
TREES = 100
FOLDS = 3

Matrix = Float[np.ndarray, "rows features"]
Kind = Literal["images", "table"]
HOW: dict[Kind, str] = {
    "images": f"{COMPONENTS} principal components, and a support vector machine with an RBF kernel",
    "table": f"a random forest of {TREES} trees",
}


class LearnersMissing(Exception):
    """scikit-learn is not installed."""


class Classifier(Protocol):
    """A scikit-learn classifier."""

    def fit(self, x: Any, y: Any) -> Any: ...  # noqa: ANN401, D102

    def predict(self, x: Any) -> Any: ...  # noqa: ANN401, D102


def classes_of(
    x: Matrix, y: np.ndarray[Any, Any], other: Matrix, *, kind: Kind
) -> np.ndarray[Any, Any]:
    """Train on `x` with classes `y`, and tell the classes of `other`.

    With one class to learn from, that class is told everywhere.

    Raises:
        LearnersMissing: scikit-learn is not installed.
    """
    if len(np.unique(y)) < 2:
        return np.full(len(other), y[0])
    classifier = _svm(len(x), x.shape[1]) if kind == "images" else _forest()
    told: np.ndarray[Any, Any] = classifier.fit(x, y).predict(other)
    return told


def detection_scores(real: Matrix, synthetic: Matrix) -> tuple[Matrix, Matrix]:
    """P(synthetic) of every row, by a logistic regression that has not seen the row.

    Three stratified folds, as SDMetrics' LogisticDetection has it; its RobustScaler leaves a column
    unscaled that is mostly one value, so features are standardised instead.

    Returns the scores of the real rows and of the synthetic ones.

    Raises:
        LearnersMissing: scikit-learn is not installed.
    """
    _check()
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.model_selection import StratifiedKFold, cross_val_predict  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    x = np.concatenate([real, synthetic]).astype(np.float64)
    y = np.repeat([0, 1], [len(real), len(synthetic)])
    told = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        x,
        y,
        cv=StratifiedKFold(FOLDS, shuffle=True, random_state=0),
        method="predict_proba",
    )[:, 1]
    return told[: len(real)], told[len(real) :]


def _svm(rows: int, features: int) -> Classifier:
    _check()
    from sklearn.decomposition import PCA  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.svm import SVC  # noqa: PLC0415

    components = min(COMPONENTS, features, rows)
    pca = PCA(components, svd_solver="covariance_eigh", random_state=0)
    return cast(Classifier, make_pipeline(pca, SVC(C=10.0, random_state=0)))


def _forest() -> Classifier:
    _check()
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    return cast(Classifier, RandomForestClassifier(TREES, random_state=0, n_jobs=1))


def _check() -> None:
    try:
        import sklearn  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise LearnersMissing(
            "scikit-learn is not installed: pip install 'reverie[report]'"
        ) from error
