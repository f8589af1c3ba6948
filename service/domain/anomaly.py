"""Scores → conformal p-values and thresholds.

held-out scores (sorted) ──► p(x) = (1 + #{s_i ≥ s(x)}) / (n + 1) ──► anomalous where p ≤ α

Split conformal prediction (Vovk, Gammerman and Shafer 2005, ch. 4): if x is exchangeable with the
held-out examples, P(p ≤ α) ≤ α, whatever the score is.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float


def conformal_p_values(
    scores: Float[np.ndarray, " n"], *, calibration: Float[np.ndarray, " held_out"]
) -> Float[np.ndarray, " n"]:
    """p in (0, 1], float64; NaN scores get the smallest. `calibration` is in rising order."""
    held_out = len(calibration)
    at_least = held_out - np.searchsorted(calibration, scores, side="left")
    p = (1.0 + at_least) / (held_out + 1.0)
    return np.where(np.isnan(scores), 1.0 / (held_out + 1.0), p)


def threshold(*, calibration: Float[np.ndarray, " held_out"], alpha: float) -> float:
    """The score above which p ≤ α: the ⌈(1 − α)(n + 1)⌉-th smallest held-out score.

    Infinite when α < 1/(n + 1): with so few held-out examples no score can be that unusual.
    """
    held_out = len(calibration)
    rank = held_out + 1 - math.floor(alpha * (held_out + 1) + 1e-9)
    return math.inf if rank > held_out else float(calibration[max(rank, 1) - 1])
