"""How near the columns of a synthetic table are to those of a real one, by SDMetrics' definitions.

number column ──► KSComplement             category column ──► TVComplement
two numbers ──► CorrelationSimilarity      else ──► ContingencySimilarity (numbers in ten bins)

Each is in [0, 1], 1 for equal. Source: the SDMetrics library, docs.sdv.dev/sdmetrics.
A number column is float64 with NaN where a value is missing, a category column has codes from 0 up
with −1 where it is missing; codes mean the same in both tables.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

BINS = 10
Numbers = Float[np.ndarray, " rows"]
Codes = Int[np.ndarray, " rows"]


def ks_complement(
    real: Float[np.ndarray, " r"], synthetic: Float[np.ndarray, " s"]
) -> float | None:
    """1 − sup_x |F_real(x) − F_synthetic(x)|, missing values left out; None without any value."""
    a, b = np.sort(real[~np.isnan(real)]), np.sort(synthetic[~np.isnan(synthetic)])
    if not len(a) or not len(b):
        return None
    at = np.concatenate([a, b])
    gap = np.searchsorted(a, at, side="right") / len(a) - np.searchsorted(
        b, at, side="right"
    ) / len(b)
    return float(1.0 - np.abs(gap).max())


def tv_complement(real: Int[np.ndarray, " r"], synthetic: Int[np.ndarray, " s"]) -> float | None:
    """1 − ½ Σ_c |p_real(c) − p_synthetic(c)|, missing values left out; None without any value."""
    a, b = real[real >= 0], synthetic[synthetic >= 0]
    if not len(a) or not len(b):
        return None
    size = int(max(a.max(), b.max())) + 1
    shares = [np.bincount(side, minlength=size) / len(side) for side in (a, b)]
    return float(1.0 - 0.5 * np.abs(shares[0] - shares[1]).sum())


def correlation(x: Numbers, y: Numbers) -> float | None:
    """Pearson's, over rows that have both values; None where one of them never varies."""
    both = ~(np.isnan(x) | np.isnan(y))
    a, b = x[both], y[both]
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def correlation_similarity(real: float | None, synthetic: float | None) -> float | None:
    """1 − |ρ_real − ρ_synthetic| / 2; None where one of them is not defined."""
    if real is None or synthetic is None:
        return None
    return 1.0 - abs(real - synthetic) / 2.0


def contingency_similarity(
    real: tuple[Int[np.ndarray, " r"], Int[np.ndarray, " r"]],
    synthetic: tuple[Int[np.ndarray, " s"], Int[np.ndarray, " s"]],
) -> float:
    """1 − ½ Σ_{a,b} |p_real(a, b) − p_synthetic(a, b)|; a missing value is a category too."""
    width = int(max(real[1].max(), synthetic[1].max())) + 2
    pairs = [(a + 1) * width + (b + 1) for a, b in (real, synthetic)]
    size = int(max(p.max() for p in pairs)) + 1
    shares = [np.bincount(p, minlength=size) / len(p) for p in pairs]
    return float(1.0 - 0.5 * np.abs(shares[0] - shares[1]).sum())


def bin_edges(real: Numbers) -> Float[np.ndarray, " edges"]:
    """Ten equal bins over the real values, the outer ones open."""
    known = real[~np.isnan(real)]
    edges = np.histogram_bin_edges(known if len(known) else np.zeros(1), bins=BINS)
    edges[0], edges[-1] = -np.inf, np.inf
    return edges.astype(np.float64)


def binned(values: Numbers, edges: Float[np.ndarray, " edges"]) -> Codes:
    """The bin of each value, from 0; −1 where it is missing."""
    codes = np.digitize(values, edges) - 1
    found: Codes = np.where(np.isnan(values), -1, np.minimum(codes, len(edges) - 2))
    return found.astype(np.int64)
