"""Diagnostics of Markov chains: has it converged, and how many independent draws is it worth.

traces [chains, draws] ──► split R-hat, effective sample size
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

Traces = Float[np.ndarray, "chains draws"]


def split_rhat(traces: Traces) -> float:
    """√(var⁺ / W) over the halves of every chain; 1 when they agree (Gelman et al. 2013, §11.4).

    NaN with fewer than four draws, or when nothing moves: there is then nothing to judge by.
    """
    halves = _halves(traces)
    if halves is None:
        return math.nan
    draws = halves.shape[1]
    within = float(halves.var(axis=1, ddof=1).mean())
    if within <= 0.0:
        return math.nan
    between = float(halves.mean(axis=1).var(ddof=1))
    return math.sqrt(((draws - 1) / draws * within + between) / within)


def effective_sample_size(traces: Traces) -> float:
    """N / (1 + 2 Σ ρ_t), summed by Geyer's initial monotone positive pairs.

    Vehtari et al. (2021), §3.2, on split chains and without rank normalisation. NaN as above.
    """
    halves = _halves(traces)
    if halves is None:
        return math.nan
    chains, draws = halves.shape
    covariance = _autocovariance(halves)
    within = float(covariance[:, 0].mean()) * draws / (draws - 1)
    if within <= 0.0:
        return math.nan
    plus = within * (draws - 1) / draws
    if chains > 1:
        plus += float(halves.mean(axis=1).var(ddof=1))
    rho = 1.0 - (within - covariance.mean(axis=0) * draws / (draws - 1)) / plus
    rho[0] = 1.0
    pairs = rho[: draws // 2 * 2].reshape(-1, 2).sum(axis=1)
    stop = int(np.argmax(pairs <= 0.0)) if bool((pairs <= 0.0).any()) else len(pairs)
    monotone = np.minimum.accumulate(pairs[: max(stop, 1)])
    tau = max(-1.0 + 2.0 * float(monotone.sum()), 1.0 / math.log10(chains * draws))
    return float(chains * draws / tau)


def _halves(traces: Traces) -> Float[np.ndarray, "halves half"] | None:
    """Every chain cut in two, the middle draw of an odd number left out."""
    half = traces.shape[1] // 2
    if half < 2:
        return None
    return np.concatenate([traces[:, :half], traces[:, -half:]]).astype(np.float64)


def _autocovariance(x: Float[np.ndarray, "chains draws"]) -> Float[np.ndarray, "chains draws"]:
    """Biased autocovariances of each row at every lag, by the fast Fourier transform."""
    draws = x.shape[1]
    centred = x - x.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, n=2 * draws, axis=1)
    full = np.fft.irfft(spectrum * np.conj(spectrum), n=2 * draws, axis=1)
    covariance: Float[np.ndarray, "chains draws"] = full[:, :draws] / draws
    return covariance
