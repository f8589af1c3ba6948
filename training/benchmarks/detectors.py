"""Methods that learn what is normal from normal images alone, and score how strange others are.

normal rows ──learn──► {method: rows ──► scores}                    (higher is more anomalous)

Each family offers one or more variants; held-out training images choose which one is published.
kNN: Ramaswamy et al. (2000); isolation forest: Liu et al. (2008); PCA: Shyu et al. (2003).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from training.benchmarks.anomaly_config import AnomalyConfig
from training.benchmarks.gan_scores import gan_scores
from training.benchmarks.machines import machine_scores, turned
from training.benchmarks.normality import Normality, Rows, RowScores, flat


def nearest_neighbours(normal: Normality, config: AnomalyConfig) -> Mapping[str, RowScores]:
    """Mean Euclidean distance, in pixels, to the k nearest normal training images."""
    k = min(config.baselines.neighbours, len(normal.images))
    return {f"knn_{k}": _mean_distance(normal.rows, k)}


def nearest_neighbours_ratio(normal: Normality, config: AnomalyConfig) -> Mapping[str, RowScores]:
    """The same distance less that to the k nearest turned images: what a background is worth."""
    k = min(config.baselines.neighbours, len(normal.images))
    near, far = _mean_distance(normal.rows, k), _mean_distance(_turned_rows(normal, config), k)
    return {f"knn_{k}_minus_turned": lambda rows: near(rows) - far(rows)}


def _mean_distance(rows: Rows, k: int) -> RowScores:
    index = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(rows)
    return lambda others: index.kneighbors(others)[0].mean(1)


def isolation_forest(normal: Normality, config: AnomalyConfig) -> Mapping[str, RowScores]:
    """How few random cuts isolate an image, in trees of 256 normal images each."""
    forest = IsolationForest(n_estimators=config.baselines.trees, random_state=config.seed)
    forest.fit(normal.rows)
    return {"isolation_forest": lambda rows: -forest.score_samples(rows)}


def principal_components(normal: Normality, config: AnomalyConfig) -> Mapping[str, RowScores]:
    """Squared error of the reconstruction from the first m principal components, by m."""
    residuals = _residuals(normal.rows, config)
    return {f"pca_{m}": residual for m, residual in residuals.items()}


def principal_components_ratio(normal: Normality, config: AnomalyConfig) -> Mapping[str, RowScores]:
    """The same error less that of as many components of turned images."""
    own, turns = (_residuals(rows, config) for rows in (normal.rows, _turned_rows(normal, config)))
    return {f"pca_{m}_minus_turned": _difference(own[m], turns[m]) for m in own if m in turns}


def _residuals(rows: Rows, config: AnomalyConfig) -> Mapping[int, RowScores]:
    most = min(max(config.baselines.components), *rows.shape)
    pca = PCA(n_components=most, svd_solver="randomized", random_state=config.seed).fit(rows)
    return {m: _residual(pca, m) for m in config.baselines.components if m <= most}


def _residual(pca: PCA, m: int) -> RowScores:
    def score(rows: Rows) -> Float[np.ndarray, " n"]:
        centred = rows - pca.mean_
        kept = centred @ pca.components_[:m].T
        error: Float[np.ndarray, " n"] = np.square(centred).sum(1) - np.square(kept).sum(1)
        return error

    return score


def _difference(a: RowScores, b: RowScores) -> RowScores:
    return lambda rows: a(rows) - b(rows)


def _turned_rows(normal: Normality, config: AnomalyConfig) -> Rows:
    return flat(turned(normal.images, copies=config.background.copies, seed=config.seed))


# Family → what makes its scores from (normality, config). A further family is one more line here,
# and one more column of the table.
FAMILIES: Mapping[str, Callable[[Normality, AnomalyConfig], Mapping[str, RowScores]]] = {
    "RBM": machine_scores,
    "GAN": gan_scores,
    "kNN": nearest_neighbours,
    "PCA": principal_components,
    "isolation forest": isolation_forest,
    "kNN ratio": nearest_neighbours_ratio,
    "PCA ratio": principal_components_ratio,
}
