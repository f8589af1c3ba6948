"""Sets of points in the plane whose modes are known, and how well other points cover them.

ring | grid ──draw(n, seed)──► points [n, 2] ──to_unit──► images [n, 2, 1, 1] in [0, 1]
points ──► nearest centre, distance in σ ──► modes captured, high-quality share, reverse KL

The sets and the figures are those of Lin et al. (2018), PacGAN, §4.1, after Srivastava et al.
(2017), VEEGAN, §4.1: eight modes on a circle of radius 1 with σ = 0.01, and a 5×5 grid 2 apart with
σ = 0.05, all equally likely; 2,500 points are judged. Real points are themselves of high quality
with probability 1 − e^(−9/2) = 98.9 %: that is the floor.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from service.domain.fidelity import class_shares, kl_to_uniform

Points = Float[np.ndarray, "n 2"]

JUDGED_POINTS: Final = 2500
# How many points a named data set has, and the seeds that are part of its definition.
TRAIN_POINTS: Final = 100_000
TEST_POINTS: Final = 10_000
SEEDS: Final = {"train": 2_018, "test": 2_019}
HIGH_QUALITY_SIGMAS: Final = 3.0


@dataclass(frozen=True)
class PlanarSet:
    """A mixture of equally likely round normals.

    Attributes:
        name: what it is called.
        centres: the modes' means.
        sigma: their standard deviation in each coordinate.
        reach: coordinates ±reach become 0 and 1; the modes lie at ±0.8 of it.
    """

    name: str
    centres: Float[np.ndarray, "modes 2"] = field(repr=False)
    sigma: float
    reach: float

    def draw(self, n: int, *, seed: int) -> tuple[Points, Int[np.ndarray, " n"]]:
        """`n` points and their modes; another `n` gives other points."""
        generator = np.random.default_rng(seed)
        modes = generator.integers(len(self.centres), size=n)
        noise = generator.standard_normal((n, 2)) * self.sigma
        return (self.centres[modes] + noise).astype(np.float32), modes

    def to_unit(self, points: Points) -> Float[np.ndarray, "n 2 1 1"]:
        """Points as images of two channels and one pixel: ±reach becomes 0 and 1."""
        unit = (points / self.reach + 1.0) / 2.0
        return unit.astype(np.float32)[:, :, None, None]

    def from_unit(self, images: Float[np.ndarray, "n ..."]) -> Points:
        """The inverse of `to_unit`, of images [n, 2, 1, 1] or rows [n, 2]."""
        points: Points = (2.0 * images.reshape(len(images), 2) - 1.0) * self.reach
        return points

    def figures(self, points: Points) -> ModeFigures:
        """How well points in the set's own coordinates cover it."""
        apart = np.linalg.norm(points[:, None, :] - self.centres[None], axis=2)
        good = apart.min(1) < HIGH_QUALITY_SIGMAS * self.sigma
        shares = class_shares(apart.argmin(1)[good], n_classes=len(self.centres))
        return ModeFigures(
            captured=int((shares > 0).sum()),
            modes=len(self.centres),
            high_quality=float(good.mean()),
            reverse_kl=kl_to_uniform(shares) if good.any() else math.log(len(self.centres)),
        )


@dataclass(frozen=True)
class ModeFigures:
    """What points cover of a set of known modes.

    Attributes:
        captured: modes with at least one point of high quality.
        modes: how many there are.
        high_quality: the share of points within 3σ of the nearest centre.
        reverse_kl: KL(modes of the points of high quality ‖ uniform), in nats; log(modes), its
            most, where no point is of high quality.
    """

    captured: int
    modes: int
    high_quality: float
    reverse_kl: float


def _ring() -> Float[np.ndarray, "8 2"]:
    angles = np.arange(8) * (2.0 * math.pi / 8)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _grid() -> Float[np.ndarray, "25 2"]:
    return np.array(list(itertools.product(range(-4, 5, 2), repeat=2)), np.float64)


PLANAR_SETS: Final = {
    "ring": PlanarSet(name="ring", centres=_ring(), sigma=0.01, reach=1.25),
    "grid": PlanarSet(name="grid", centres=_grid(), sigma=0.05, reach=5.0),
}
