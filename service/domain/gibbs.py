"""Diagnostics of Markov chains: has it converged, and how many independent draws is it worth.

traces [chains, draws] ──► split R-hat, effective sample size
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

Traces = Float[np.ndarray, "chains draws"]


def split_rhat(traces: Traces) -> float:
    """√(var⁺ / W) over the halves of every chain; 1 when they agree, ∞ when each is stuck apart.

    var⁺ = (n - 1)/n · W + B/n, with n draws a half, W the mean variance within halves and B/n the
    variance of their means. Gelman et al. (2013), Bayesian Data Analysis, §11.4: the classic one,
    on the values themselves. It is not the rank-normalised one of Vehtari et al. (2021): a free
    energy has a variance, and its scale is what a caller knows. One chain is judged by its halves.

    NaN with fewer than four draws, or when no chain moves and all are alike: nothing to judge by.
    """
    halves = _halves(traces)
    if halves is None:
        return math.nan
    draws = halves.shape[1]
    within = float(halves.var(axis=1, ddof=1).mean())
    between = float(halves.mean(axis=1).var(ddof=1))
    if within <= 0.0:
        return math.inf
    return math.sqrt(((draws - 1) / draws * within + between) / within)


def effective_sample_size(traces: Traces) -> float:
    """N / τ with τ = 1 + 2 Σ_{t≥1} ρ_t: how many independent draws the mean is as good as.

    ρ_t = 1 - (W - mean autocovariance at lag t) / var⁺ on the halves of every chain, summed in
    pairs ρ_2k + ρ_2k+1 while they are positive (Geyer 1992) and made to fall: Vehtari et al.
    (2021), §3.2, without rank normalisation, with biased autocovariances as in Stan. Of the last
    pair looked at, ρ_2k counts once. N / τ is at most N·log₁₀ N.

    NaN with fewer than four draws, or when no chain moves and all are alike: a chain that is stuck
    is not worth N draws.
    """
    halves = _halves(traces)
    if halves is None:
        return math.nan
    chains, draws = halves.shape
    covariance = _autocovariance(halves).mean(axis=0)
    within = float(covariance[0]) * draws / (draws - 1)
    plus = float(covariance[0]) + float(halves.mean(axis=1).var(ddof=1))
    rho = 1.0 - (within - covariance) / plus
    rho[0] = 1.0
    tau = max(_autocorrelation_time(rho), 1.0 / math.log10(chains * draws))
    return float(chains * draws / tau)


def _autocorrelation_time(rho: Float[np.ndarray, " lags"]) -> float:
    """1 + 2 Σ ρ_t by Geyer's initial monotone positive pairs."""
    looked_at = max((len(rho) - 3) // 2, 0) + 1
    pairs = rho[: 2 * looked_at].reshape(-1, 2).sum(axis=1)
    ended = np.flatnonzero(pairs <= 0.0)
    last = int(ended[0]) if len(ended) else looked_at - 1
    tail = float(rho[2 * last])
    if pairs[last] < 0.0:
        tail = max(tail, 0.0)
    return -1.0 + 2.0 * float(np.minimum.accumulate(pairs[:last]).sum()) + tail


def _halves(traces: Traces) -> Float[np.ndarray, "halves half"] | None:
    """Every chain cut in two, the middle draw of an odd number left out; None: nothing to judge."""
    half = traces.shape[1] // 2
    if half < 2:
        return None
    halves = np.concatenate([traces[:, :half], traces[:, -half:]]).astype(np.float64)
    return None if halves.min() == halves.max() else halves


def _autocovariance(x: Float[np.ndarray, "chains draws"]) -> Float[np.ndarray, "chains draws"]:
    """Biased autocovariances of each row at every lag, by the fast Fourier transform."""
    draws = x.shape[1]
    centred = x - x.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, n=2 * draws, axis=1)
    full = np.fft.irfft(spectrum * np.conj(spectrum), n=2 * draws, axis=1)
    covariance: Float[np.ndarray, "chains draws"] = full[:, :draws] / draws
    return covariance
