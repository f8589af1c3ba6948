"""How near generated images are to real ones: figures on an independent judge's features.

features of real, of generated ──► Fréchet distance, precision, recall, density, coverage
classes of generated ──► histogram, KL to uniform        pixels ──► duplicates

Every figure here depends on the sample's size and on the judge, so it means something only beside
the same figure for held-out real images of the same number (the floor).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


def class_shares(classes: Int[np.ndarray, " n"], *, n_classes: int) -> Float[np.ndarray, " k"]:
    """The share of each class; sums to 1."""
    return np.bincount(classes, minlength=n_classes) / max(len(classes), 1)


def kl_to_uniform(shares: Float[np.ndarray, " k"]) -> float:
    """KL(p ‖ uniform) = Σ_c p_c log(p_c · K), in nats: 0 for equal shares, log K for one class."""
    present = shares[shares > 0]
    return float((present * np.log(present * len(shares))).sum())


def frechet_distance(a: Float[np.ndarray, "a d"], b: Float[np.ndarray, "b d"]) -> float:
    """d² = ‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2(Σ_a Σ_b)^½). Dowson & Landau (1982); Heusel (2017).

    The trace of the root is the sum of the roots of the eigenvalues of Σ_a^½ Σ_b Σ_a^½.
    """
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    cov_a = np.atleast_2d(np.cov(a64, rowvar=False))
    cov_b = np.atleast_2d(np.cov(b64, rowvar=False))
    values, vectors = np.linalg.eigh(cov_a)
    root_a = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
    middle = np.linalg.eigvalsh(root_a @ cov_b @ root_a).clip(min=0.0)
    offset = np.square(a64.mean(0) - b64.mean(0)).sum()
    return float(offset + np.trace(cov_a) + np.trace(cov_b) - 2.0 * np.sqrt(middle).sum())


@dataclass(frozen=True)
class Manifold:
    """Precision and recall of two point clouds, each in [0, 1] but for density.

    Attributes:
        precision: share of generated points within some real point's k-ball.
        recall: share of real points within some generated point's k-ball.
        density: mean number of real k-balls that hold a generated point, over k; can exceed 1.
        coverage: share of real k-balls that hold a generated point.
        recalled, covered: which real points count for recall, and which balls for coverage.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    recalled: Bool[np.ndarray, " r"]
    covered: Bool[np.ndarray, " r"]


def manifold_figures(
    *, real: Float[np.ndarray, "r d"], fake: Float[np.ndarray, "f d"], k: int = 5
) -> Manifold:
    """Kynkäänniemi et al. (2019) and Naeem et al. (2020): balls reach the k-th nearest neighbour.

    Raises:
        ValueError: fewer than k + 1 points on a side.
    """
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"k={k} needs more than {k} images a side")
    across = distances(real, fake)
    in_real: Bool[np.ndarray, "r f"] = across < _radii(real, k)[:, None]
    in_fake: Bool[np.ndarray, "r f"] = across < _radii(fake, k)[None, :]
    recalled, covered = np.any(in_fake, axis=1), np.any(in_real, axis=1)
    return Manifold(
        precision=float(in_real.any(0).mean()),
        recall=float(recalled.mean()),
        density=float(in_real.sum(0).mean() / k),
        coverage=float(covered.mean()),
        recalled=recalled,
        covered=covered,
    )


def distances(a: Float[np.ndarray, "a d"], b: Float[np.ndarray, "b d"]) -> Float[np.ndarray, "a b"]:
    """Euclidean distances of every row of `a` to every row of `b`, by ‖a‖² + ‖b‖² − 2a·b."""
    squared = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None, :] - 2.0 * (a @ b.T)
    reach: Float[np.ndarray, "a b"] = np.sqrt(squared.clip(min=0.0))
    return reach


def nearest_distance(
    a: Float[np.ndarray, "a d"], b: Float[np.ndarray, "b d"], *, batch: int = 500
) -> Float[np.ndarray, " a"]:
    """For every row of `a`, the distance to the nearest row of `b`."""
    return nearest(a, b, batch=batch)[1]


def nearest(
    a: Float[np.ndarray, "a d"], b: Float[np.ndarray, "b d"], *, batch: int = 500
) -> tuple[Int[np.ndarray, " a"], Float[np.ndarray, " a"]]:
    """For every row of `a`, which row of `b` is the nearest, and how far it is."""
    rows, reach = [], []
    for i in range(0, len(a), batch):
        part = distances(a[i : i + batch], b)
        rows.append(part.argmin(1))
        reach.append(part[np.arange(len(part)), rows[-1]])
    return np.concatenate(rows), np.concatenate(reach)


def exact_duplicates(images: Float[np.ndarray, "n c h w"]) -> float:
    """The share of images that equal an earlier one once rounded to 8 bits."""
    pixels = np.rint(images * 255.0).astype(np.uint8)
    return 1.0 - len({row.tobytes() for row in pixels}) / len(pixels)


def _radii(points: Float[np.ndarray, "n d"], k: int) -> Float[np.ndarray, " n"]:
    """Each point's distance to its k-th nearest other point."""
    among = distances(points, points)
    np.fill_diagonal(among, 0.0)
    kth: Float[np.ndarray, " n"] = np.partition(among, k, axis=1)[:, k]
    return kth
