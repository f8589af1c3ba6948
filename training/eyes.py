"""How samples are looked at while a generator learns: their features, and their classes if any.

images          ──judge of the data────► 64 features, its classes
stacked digits  ──judge, each channel──► 192 features, 1,000 classes
points          ──nearness to modes────► a feature and a class for each mode
anything else   ──pixels, averaged─────► 7×7 for each channel, no classes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.nn.functional import adaptive_avg_pool2d

from training.judge import JUDGES, Bench, load_judge
from training.planar import PLANAR_SETS, PlanarSet

Images = Float[np.ndarray, "n c h w"]
# A mode is seen from about this many of its standard deviations away.
SEEN_FROM_SIGMAS = 3.0


@dataclass(frozen=True)
class Sight:
    """What an eye sees in a set of images.

    Attributes:
        features: what Fréchet distance, precision and recall are computed on.
        classes: the class of each image, or None where there are no classes.
    """

    features: Float[np.ndarray, "n d"]
    classes: Int[np.ndarray, " n"] | None


class Eye(Protocol):
    """A way of looking at images.

    Attributes:
        n_classes: how many classes it tells apart; 0 for none.
    """

    @property
    def n_classes(self) -> int: ...  # noqa: D102

    def look(self, images: Images) -> Sight:
        """Features and classes of images in [0, 1]."""
        ...


@dataclass(frozen=True)
class JudgeEye:
    """The committed judge of the data set."""

    bench: Bench

    @property
    def n_classes(self) -> int:
        """The judge's own."""
        return int(self.bench.judge.head.out_features)

    def look(self, images: Images) -> Sight:
        """The judge's features and likeliest classes."""
        verdict = self.bench.look(images)
        return Sight(features=verdict.features, classes=verdict.classes)


@dataclass(frozen=True)
class StackedEye:
    """The judge of single digits on each of three channels. Lin et al. (2018), PacGAN, §4.2."""

    bench: Bench
    n_classes: int = 1000

    def look(self, images: Images) -> Sight:
        """The features of the channels side by side, and the number that the digits write."""
        seen = [self.bench.look(images[:, c : c + 1]) for c in range(3)]
        numbers = 100 * seen[0].classes + 10 * seen[1].classes + seen[2].classes
        return Sight(features=np.concatenate([v.features for v in seen], axis=1), classes=numbers)


@dataclass(frozen=True)
class PlanarEye:
    """Nearness to each mode, exp(−d²/2(3σ)²): a far point has features of zeros."""

    planar: PlanarSet

    @property
    def n_classes(self) -> int:
        """The set's modes."""
        return len(self.planar.centres)

    def look(self, images: Images) -> Sight:
        """A feature for each mode; the class is the nearest mode, however far."""
        points = self.planar.from_unit(images)
        apart = np.linalg.norm(points[:, None, :] - self.planar.centres[None], axis=2)
        scaled = apart / (SEEN_FROM_SIGMAS * self.planar.sigma)
        features = np.exp(-0.5 * np.square(scaled)).astype(np.float32)
        return Sight(features=features, classes=apart.argmin(1))


@dataclass(frozen=True)
class PixelEye:
    """Pixels averaged to 7×7: for images that no judge knows."""

    n_classes: int = 0

    def look(self, images: Images) -> Sight:
        """49 features a channel."""
        small = adaptive_avg_pool2d(torch.from_numpy(images), 7)
        return Sight(features=small.flatten(1).numpy(), classes=None)


def eye_for(data: str, shape: tuple[int, int, int]) -> Eye:
    """The eye for a data set by name and shape [C, H, W]; MNIST's judge reads all 28×28 in grey."""
    if data in PLANAR_SETS:
        return PlanarEye(PLANAR_SETS[data])
    if data == "stacked-mnist":
        return StackedEye(load_judge("mnist"))
    if (JUDGES / f"{data}.safetensors").exists():
        return JudgeEye(load_judge(data))
    return JudgeEye(load_judge("mnist")) if shape == (1, 28, 28) else PixelEye()
