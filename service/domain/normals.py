"""Standard normals from integers, by correctly rounded operations alone.

32-bit integer ──upper half──► a piece of Φ⁻¹ ──lower half──► a place on it
               └─in a tail───► Φ⁻¹ itself

Numpy does not promise that its own normals stay as they are, and its `log` differs in the last bit
between processors. These are the same bytes on every machine.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float, UInt32

PIECES = 2**16
# In this many pieces at either end, Φ⁻¹ bends too much for a chord. One number in 8,192 is there.
TAIL = 4


def normals(integers: UInt32[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """float32 Φ⁻¹((k + ½)/2³²) of uniform integers k, to within 0.002 of a standard deviation.

    Φ⁻¹ is replaced by its chords over 2¹⁶ equal pieces of (0, 1), each as likely as it should be,
    and is itself in the outermost four at each end; the largest number is 6.3. Two look-ups cost a
    sixth of the two rational functions where there are 64 numbers to draw.
    """
    halves = integers.astype("<u4", copy=False).view("<u2").reshape(*integers.shape, 2)
    fraction, piece = halves[..., 0], halves[..., 1]
    lower, width = _chords()
    z = fraction.astype(np.float32)
    z += np.float32(0.5)
    z *= width.take(piece)
    z += lower.take(piece)
    tail = (piece - np.uint16(TAIL)) >= PIECES - 2 * TAIL  # of 16 bits: what is below 0 is large
    if tail.any():
        p = (integers[tail] + 0.5) * 2.0**-32
        z[tail] = _tail_quantile(p, p - 0.5)
    normal: Float[np.ndarray, "*shape"] = z
    return normal


@cache
def _chords() -> tuple[Float[np.ndarray, " pieces"], Float[np.ndarray, " pieces"]]:
    """Where each piece begins, and its 2⁻¹⁶th; both float32. The tails' are never used."""
    nodes = np.zeros(PIECES + 1)
    inner = np.arange(TAIL, PIECES - TAIL + 1)
    nodes[inner] = quantile(inner / PIECES)
    return nodes[:-1].astype(np.float32), (np.diff(nodes) / PIECES).astype(np.float32)


def quantile(p: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Φ⁻¹(p) in float64, for 0 < p < 1: Wichura (1988), algorithm AS 241, PPND16.

    Two rational functions: one for |p − ½| ≤ 0.425, one in r = √(−log p) for the tails.
    """
    q = p - 0.5
    z = q * _ratio(0.180625 - q * q, _CENTRAL)
    tail = np.abs(q) > 0.425
    if tail.any():
        z[tail] = _tail_quantile(p[tail], q[tail])
    found: Float[np.ndarray, " n"] = z
    return found


def _tail_quantile(
    p: Float[np.ndarray, " tail"], q: Float[np.ndarray, " tail"]
) -> Float[np.ndarray, " tail"]:
    """Φ⁻¹(p) where |q| = |p − ½| > 0.425, by the nearer end; another ratio far out, from r = 5."""
    r = np.sqrt(-log(np.minimum(p, 1.0 - p)))
    far = r > 5.0
    if not far.any():
        z = _ratio(r - 1.6, _TAIL)
    else:
        z = _ratio(np.where(far, 1.6, r - 1.6), _TAIL)
        z = np.where(far, _ratio(np.where(far, r - 5.0, 0.0), _FAR), z)
    signed: Float[np.ndarray, " tail"] = np.copysign(z, q)
    return signed


def log(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """log x for 0 < x < 1, from x = m·2ᵉ and log m = 2·artanh((m − 1)/(m + 1)), m in [√½, √2).

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
