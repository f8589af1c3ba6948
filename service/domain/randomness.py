"""Noise as a function of (seed, row, stream, step): counter-based, so that order cannot matter.

(seed, row) ──► Philox-4×64 key;  (step, stream) ──► its counter
            ──► 16-bit integers | standard logistics | standard normals

Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") has no state besides
key and counter: row 7's noise at sweep 300 is the same whoever asks, in whatever batch. Integers
are the generator's raw output; normals come from them by correctly rounded operations alone
(+ − × ÷ √), so that every machine gives the same bytes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import cache

import numpy as np
from jaxtyping import Float, UInt16, UInt64
from numpy.random import Philox

SEED_LIMIT = 2**53
_WORDS_A_BLOCK = 4  # Philox-4×64 gives four 64-bit words for each counter value
HALVES_A_WORD = 4  # and each word four 16-bit integers


class Stream(IntEnum):
    """Independent noise for one (seed, row): each purpose has its own."""

    LATENT = 0
    START = 1
    SWEEP = 2
    READOUT = 3
    LABEL = 4


def draw_seed() -> int:
    """A fresh seed in [0, 2^53), for requests that bring none."""
    return secrets.randbelow(SEED_LIMIT)


class RowNoise:
    """One row's stream of noise, read step by step from any step on."""

    def __init__(self, *, seed: int, row: int, stream: Stream, width: int, step: int = 0) -> None:
        """Begin at `step` of the stream that gives `width` 16-bit integers a step."""
        words = -(-width // HALVES_A_WORD)
        self._blocks_a_step = -(-words // _WORDS_A_BLOCK)
        self._width = width
        key = np.array([seed, row], dtype=np.uint64)
        counter = np.array([step * self._blocks_a_step, 0, 0, stream], dtype=np.uint64)
        self._philox = Philox(key=key, counter=counter)

    def take(self, steps: int) -> UInt16[np.ndarray, "steps width"]:
        """Uniform integers in [0, 65535] for the next `steps` steps.

        A call costs as much by itself as 200 integers do: take several steps at a time.
        """
        words = self._blocks_a_step * _WORDS_A_BLOCK
        raw = self._philox.random_raw(steps * words)
        halves = raw.astype("<u8", copy=False).view("<u2").reshape(steps, words * HALVES_A_WORD)
        return halves[:, : self._width]


def uniform16(
    *, seed: int, rows: Sequence[int], stream: Stream, width: int, step: int = 0
) -> UInt16[np.ndarray, "rows width"]:
    """One step of 16-bit integers for each row of `rows`."""
    noise = np.empty((len(rows), width), dtype=np.uint16)
    for i, row in enumerate(rows):
        noise[i] = RowNoise(seed=seed, row=row, stream=stream, width=width, step=step).take(1)[0]
    return noise


def logistic(integers: UInt16[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Standard logistic noise, float32: logit((u + ½)/2¹⁶) of uniform integers u.

    A unit of a Boltzmann machine is on where this is less than its log-odds, which is to say that
    (u + ½)/2¹⁶ < σ(log-odds): a probability finer than 2⁻¹⁶ is rounded.
    """
    noise: Float[np.ndarray, "*shape"] = np.take(_logistic_table(), integers)
    return noise


@cache
def _logistic_table() -> Float[np.ndarray, " levels"]:
    p = (np.arange(2**16) + 0.5) * 2.0**-16
    lower = _log(p[: 2**15]) - _log1m(p[: 2**15])
    table: Float[np.ndarray, " levels"] = np.concatenate([lower, -lower[::-1]]).astype(np.float32)
    return table


def standard_normal(
    *, seed: int, rows: Sequence[int], stream: Stream, width: int
) -> Float[np.ndarray, "rows width"]:
    """float32 standard normals, `width` for each row of `rows`."""
    return normal_from_words(raw_words([(seed, row) for row in rows], stream=stream, width=width))


def raw_words(
    keys: Iterable[tuple[int, int]], *, stream: Stream, width: int
) -> UInt64[np.ndarray, "keys width"]:
    """The first `width` 64-bit words of the stream of each (seed, row) of `keys`.

    One generator is set to each key in turn: a new one would cost more than its words do.
    """
    philox = Philox(key=0)
    state = philox.state
    counter = np.array([0, 0, 0, stream], np.uint64)
    state["buffer_pos"] = _WORDS_A_BLOCK  # nothing is buffered
    words = []
    for key in keys:
        state["state"] = {"counter": counter, "key": np.array(key, np.uint64)}
        philox.state = state
        words.append(philox.random_raw(width))
    drawn: UInt64[np.ndarray, "keys width"] = np.array(words, np.uint64).reshape(-1, width)
    return drawn


def normal_from_words(words: UInt64[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Φ⁻¹((k + ½)/2⁵²) as float32, with k the upper 52 bits: Wichura (1988), algorithm AS 241.

    Two rational functions: one for |p − ½| ≤ 0.425, one in r = √(−log p) for the tails.
    """
    p = ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    q = p - 0.5
    r = 0.180625 - q * q
    central = q * _ratio(r, _CENTRAL)
    tail = np.abs(q) > 0.425
    if tail.any():
        central[tail] = _tail_normals(p[tail], q[tail])
    normal: Float[np.ndarray, "*shape"] = central.astype(np.float32)
    return normal


def _tail_normals(
    p: Float[np.ndarray, " tail"], q: Float[np.ndarray, " tail"]
) -> Float[np.ndarray, " tail"]:
    """Φ⁻¹(p) where |q| = |p − ½| > 0.425, by the nearer end; another ratio far out, from r = 5."""
    r = np.sqrt(-_log(np.minimum(p, 1.0 - p)))
    far = r > 5.0
    if not far.any():
        z = _ratio(r - 1.6, _TAIL)
    else:
        z = _ratio(np.where(far, 1.6, r - 1.6), _TAIL)
        z = np.where(far, _ratio(np.where(far, r - 5.0, 0.0), _FAR), z)
    signed: Float[np.ndarray, " tail"] = np.copysign(z, q)
    return signed


def _log(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """log x for 0 < x ≤ ½, from x = m·2ᵉ and log m = 2·artanh((m − 1)/(m + 1)), m in [√½, √2).

    Not numpy's: its last bit depends on the vector unit that the processor has.
    """
    m, e = np.frexp(x)
    low = m < 0.7071067811865476
    m = np.where(low, m * 2.0, m)
    e = e - low
    s = (m - 1.0) / (m + 1.0)
    square = s * s
    series = np.full_like(square, 1.0 / 23.0)
    for odd in range(21, 0, -2):
        series *= square
        series += 1.0 / odd
    logarithm: Float[np.ndarray, " n"] = e * 0.6931471805599453 + 2.0 * s * series
    return logarithm


def _log1m(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """log(1 − x) for 0 < x ≤ ½."""
    return _log((1.0 - x) * 0.5) + 0.6931471805599453


def _ratio(
    r: Float[np.ndarray, "*shape"], polynomials: Float[np.ndarray, "degree 2 1"]
) -> Float[np.ndarray, "*shape"]:
    """Horner's rule on numerator and denominator side by side; highest powers first."""
    flat = r.reshape(-1)
    both = np.empty((2, flat.size))
    both[:] = polynomials[0]
    for coefficients in polynomials[1:]:
        both *= flat
        both += coefficients
    ratio: Float[np.ndarray, "*shape"] = (both[0] / both[1]).reshape(r.shape)
    return ratio


def _polynomials(
    numerator: tuple[float, ...], denominator: tuple[float, ...]
) -> Float[np.ndarray, "degree 2 1"]:
    """From coefficients with the constant term first to what `_ratio` takes."""
    both = np.array([numerator[::-1], denominator[::-1]], np.float64)
    found: Float[np.ndarray, "degree 2 1"] = both.T[:, :, np.newaxis]
    return np.ascontiguousarray(found)


# Wichura's PPND16 coefficients, constant term first.
_CENTRAL = _polynomials(
    (
        3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
        1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
        3.3430575583588128105e4, 2.5090809287301226727e3,
    ),
    (
        1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
        2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
        5.2264952788528545610e3,
    ),
)  # fmt: skip
_TAIL = _polynomials(
    (
        1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
        3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
        2.27238449892691845833e-2, 7.74545014278341407640e-4,
    ),
    (
        1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
        1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
        1.05075007164441684324e-9,
    ),
)  # fmt: skip
_FAR = _polynomials(
    (
        6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
        2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
        2.71155556874348757815e-5, 2.01033439929228813265e-7,
    ),
    (
        1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
        7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
        2.04426310338993978564e-15,
    ),
)  # fmt: skip
