"""How well a score tells two kinds apart: the area under the ROC curve, with its interval.

scores of positives, of negatives ──► AUC, DeLong's standard error, the curve's points
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Auc:
    """P(positive scores above negative) + ½ P(equal), in [0, 1]; 0.5 is guessing."""

    value: float
    low: float
    high: float


def auc(*, positive: Float[np.ndarray, " p"], negative: Float[np.ndarray, " n"]) -> Auc:
    """The AUC with its 95 % interval, from the placements of each score among the other kind.

    DeLong, DeLong and Clarke-Pearson (1988): var = var(V₁₀)/p + var(V₀₁)/n, V the placements.

    Raises:
        ValueError: fewer than two scores of a kind.
    """
    if min(len(positive), len(negative)) < 2:
        raise ValueError("an AUC with an interval needs two scores or more of each kind")
    above = _placements(positive, negative)
    below = 1.0 - _placements(negative, positive)
    error = float(np.sqrt(above.var(ddof=1) / len(positive) + below.var(ddof=1) / len(negative)))
    value = float(above.mean())
    return Auc(value, max(value - Z_95 * error, 0.0), min(value + Z_95 * error, 1.0))


def roc_points(
    *, positive: Float[np.ndarray, " p"], negative: Float[np.ndarray, " n"], points: int = 101
) -> tuple[list[float], list[float]]:
    """(share of negatives, share of positives) above falling thresholds, from (0, 0) to (1, 1)."""
    thresholds = np.unique(np.concatenate([positive, negative]))[::-1]
    if len(thresholds) > points:
        thresholds = thresholds[np.linspace(0, len(thresholds) - 1, points).astype(np.int64)]
    curves = [
        [0.0, *((side[None, :] >= thresholds[:, None]).mean(1)).tolist(), 1.0]
        for side in (negative, positive)
    ]
    return curves[0], curves[1]


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share, after Wilson (1927); (0, 1) of nothing."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = hits / n, Z_95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    reach = Z_95 * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if hits == 0 else max(float(middle - reach), 0.0)
    return low, 1.0 if hits == n else min(float(middle + reach), 1.0)


def mean_interval(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """The 95 % interval of a mean, by its standard error; the mean itself of one value."""
    mean = float(values.mean())
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return mean - Z_95 * error, mean + Z_95 * error


def _placements(
    these: Float[np.ndarray, " t"], others: Float[np.ndarray, " o"]
) -> Float[np.ndarray, " t"]:
    """For each score, the share of the others that lie below it; ties count half."""
    rising = np.sort(others)
    left = np.searchsorted(rising, these, side="left")
    right = np.searchsorted(rising, these, side="right")
    return (left + right) / (2.0 * len(others))
