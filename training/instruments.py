"""The instruments of a GAN's training: figures of its samples, taken at every judgement.

samples, held-out images ──eye────► Fréchet distance, precision, recall, density, coverage
                                └─► classes seen, KL to uniform, the least class's share
samples, training images ──pixels─► near-duplicates, near-copies of training images
points ───────────────────────────► modes captured, high-quality share, reverse KL

They are read on held-out training images, never on test images, and on fewer of them than the
figures of a card: they are for watching. `training/turns.py` says when they turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from jaxtyping import Float

from service.domain.fidelity import (
    class_shares,
    distances,
    frechet_distance,
    kl_to_uniform,
    manifold_figures,
    nearest,
    nearest_distance,
)
from training.eyes import Eye, PlanarEye, Sight, eye_for

Images = Float[np.ndarray, "n c h w"]
Figures = dict[str, float]

# Enough to see a turn, few enough to take a fraction of a second.
MANIFOLD_IMAGES: Final = 1000
COPIES_AMONG: Final = 10_000
COPIES_JUDGED: Final = 500
# What the nearest 1 % of held-out images are to training images is near.
NEAR_QUANTILE: Final = 0.01
# Rounding makes equal rows this far apart at most: the root of a difference of squares in float64.
SAME: Final = 1e-5


@dataclass(frozen=True)
class Instruments:
    """Instruments that are set by real images, and read samples.

    Attributes:
        eye: how images are looked at.
        real: what the eye sees in the held-out images.
        memory: pixels of training images, for near-copies.
        near_copy: a distance to the nearest of them that 1 % of held-out images fall below.
        near_twin: a distance to the nearest other that 1 % of held-out images fall below.
    """

    eye: Eye
    real: Sight = field(repr=False)
    memory: Float[np.ndarray, "m pixels"] = field(repr=False)
    near_copy: float
    near_twin: float

    @classmethod
    def of(cls, data: str, *, held_out: Images, train: Images) -> Instruments:
        """Instruments for the data set of this name.

        Raises:
            ValueError: fewer than 10 held-out images, or no training images.
        """
        if len(held_out) < 10 or not len(train):
            raise ValueError(
                f"{len(held_out)} held-out and {len(train)} training images are too few to judge "
                "by: raise data.holdout, or data.limit"
            )
        channels, height, width = held_out.shape[1:]
        eye = eye_for(data, (channels, height, width))
        memory, some = _rows(train[:COPIES_AMONG]), _rows(held_out[:COPIES_JUDGED])
        return cls(
            eye=eye,
            real=eye.look(held_out),
            memory=memory,
            near_copy=float(np.quantile(nearest_distance(some, memory), NEAR_QUANTILE)),
            near_twin=float(np.quantile(nearest_other_distance(some), NEAR_QUANTILE)),
        )

    def read(self, made: Images, seen: Sight | None = None) -> Figures:
        """Figures of samples in [0, 1]; `seen` is what the eye saw in them, if it has looked."""
        seen = self.eye.look(made) if seen is None else seen
        return {
            "judge__spread": float(made.std(0).mean()),
            "judge__frechet": frechet_distance(seen.features, self.real.features),
            **self._manifold(seen),
            **self._classes(seen),
            **self._copies(made),
            **self._modes(made),
        }

    def beside_nearest(self, made: Images) -> Images:
        """Samples, then as many training images: the nearest to each, by pixels."""
        rows, _ = nearest(_rows(made), self.memory)
        return np.concatenate([made, self.memory[rows].reshape(made.shape)])

    def _manifold(self, seen: Sight) -> Figures:
        n = min(MANIFOLD_IMAGES, len(seen.features), len(self.real.features))
        real, fake = self.real.features[:n], seen.features[:n]
        found = manifold_figures(real=real, fake=fake, k=min(5, n - 1))
        return {
            "judge__precision": found.precision,
            "judge__recall": found.recall,
            "judge__density": found.density,
            "judge__coverage": found.coverage,
        }

    def _classes(self, seen: Sight) -> Figures:
        if seen.classes is None:
            return {}
        shares = class_shares(seen.classes, n_classes=self.eye.n_classes)
        return {
            "judge__classes": float((shares > 0).sum()),
            "judge__kl_to_uniform": kl_to_uniform(shares),
            "judge__least_class": float(shares.min()),
        }

    def _copies(self, made: Images) -> Figures:
        if isinstance(self.eye, PlanarEye):
            return {}  # points of a dense mode are near each other by right
        some = _rows(made[:COPIES_JUDGED])
        return {
            "judge__near_duplicates": near_duplicates(some, within=self.near_twin),
            "judge__near_copies": float(
                (nearest_distance(some, self.memory) < self.near_copy).mean()
            ),
        }

    def _modes(self, made: Images) -> Figures:
        if not isinstance(self.eye, PlanarEye):
            return {}
        found = self.eye.planar.figures(self.eye.planar.from_unit(made))
        return {
            "judge__modes": float(found.captured),
            "judge__high_quality": found.high_quality,
            "judge__reverse_kl": found.reverse_kl,
        }


def nearest_other_distance(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """For every row, the distance to the nearest other row; inf for a single one."""
    among = distances(rows.astype(np.float64), rows.astype(np.float64))
    np.fill_diagonal(among, np.inf)
    least: Float[np.ndarray, " n"] = among.min(1)
    return least


def near_duplicates(rows: Float[np.ndarray, "n d"], *, within: float) -> float:
    """The share of rows that have another row nearer than `within`, or an equal one."""
    return float((nearest_other_distance(rows) < max(within, SAME)).mean())


def _rows(images: Images) -> Float[np.ndarray, "n pixels"]:
    return images.reshape(len(images), -1)
