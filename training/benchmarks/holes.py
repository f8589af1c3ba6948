"""The five fixed holes that inpainting is judged by, and what a filling of one is worth.

side, seed ──► holes, True where a pixel is missing
fillings, images, hole ──► cross-entropy, error, PSNR, SSIM, diversity: of the hole's pixels alone
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

from training.masks import central_square

Images = Float[np.ndarray, "n C H W"]
Fillings = Float[np.ndarray, "fillings n C H W"]
Hole = Bool[np.ndarray, "1 H W"]

MASK_SEED = 5_14
# Probabilities are kept this far from 0 and 1, so that one sure mistake does not decide a mean.
LEAST_PROBABILITY = 0.001
MOST_PSNR_DB = 60.0


def five_holes(side: int) -> Mapping[str, Hole]:
    """The centre (half as wide and high), two halves, and 50 % and 80 % of pixels at random.

    The random pixels are the same for every image, exactly as many as said, from a fixed seed.
    """
    middle = side // 2
    left, lower = np.zeros((1, side, side), bool), np.zeros((1, side, side), bool)
    left[:, :, :middle] = True
    lower[:, side - middle :] = True
    return {
        f"centre {middle}×{middle}": central_square(side=side).numpy() > 0,
        "left half": left,
        "lower half": lower,
        "50 % of pixels": _pixels(side, share=0.5),
        "80 % of pixels": _pixels(side, share=0.8),
    }


def _pixels(side: int, *, share: float) -> Hole:
    order = np.random.default_rng(MASK_SEED).permutation(side * side)
    return (order < round(share * side * side)).reshape(1, side, side)


def cross_entropy(probability: Images, images: Images, hole: Hole) -> float:
    """−x log p − (1 − x) log(1 − p) in nats a pixel: the expectation over x drawn as 0 or 1."""
    p = np.clip(probability, LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY).astype(np.float64)
    return _inside(-images * np.log(p) - (1.0 - images) * np.log1p(-p), hole)


def squared_error(fillings: Fillings, images: Images, hole: Hole) -> float:
    """Mean squared error of a filling's pixels, over all fillings."""
    return _inside(np.square(fillings - images), hole)


def psnr_db(fillings: Fillings, images: Images, hole: Hole) -> float:
    """−10 log₁₀ of an image's squared error, at most 60 dB, over all images and fillings."""
    least = 10.0 ** (-MOST_PSNR_DB / 10.0)
    inside = np.broadcast_to(hole, images.shape[1:])
    errors = np.square(fillings - images)[..., inside].mean(-1, dtype=np.float64)
    return float((-10.0 * np.log10(np.maximum(errors, least))).mean())


def diversity(fillings: Fillings, hole: Hole) -> float | None:
    """Mean squared difference of two fillings' pixels; None where there is one alone.

    A sampler of the true conditional has as much of it as it has squared error: the truth is then
    one more of its fillings.
    """
    n = len(fillings)
    if n < 2:
        return None
    # Over all pairs, Σ_{i<j} (x_i − x_j)² = n Σ x² − (Σ x)².
    spread = n * np.square(fillings).sum(0) - np.square(fillings.sum(0))
    return _inside(spread * 2.0 / (n * (n - 1)), hole)


def structural_similarity(fillings: Fillings, images: Images, hole: Hole) -> float:
    """SSIM of the whole filled images, averaged over the hole. Wang et al. (2004).

    Gaussian window of σ = 1.5 cut at 11 pixels, population moments, K = 0.01, 0.03, range 1.
    """
    return float(np.mean([_inside(_ssim_map(filled, images), hole) for filled in fillings]))


def _ssim_map(x: Images, y: Images) -> Images:
    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = _local_mean(x), _local_mean(y)
    var_x, var_y = _local_mean(x * x) - mean_x**2, _local_mean(y * y) - mean_y**2
    covariance = _local_mean(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    made: Images = likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return made


def _local_mean(x: Images) -> Images:
    mean: Images = gaussian_filter(
        x.astype(np.float64), sigma=(0, 0, 1.5, 1.5), truncate=3.5, mode="reflect"
    )
    return mean


def _inside(values: Float[np.ndarray, "..."], hole: Hole) -> float:
    """Mean over the hole's pixels, of whatever images and fillings there are."""
    return float(values[..., np.broadcast_to(hole, values.shape[-3:])].mean())
