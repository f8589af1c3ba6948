"""What fills holes: published packages as the service runs them, and two baselines.

package ──sweep | latent_step──► n fillings of every image
training images ──► their mean | the n that are nearest in the known pixels
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from service.contract import PackageError
from service.domain.fidelity import distances
from training import inpainting, package_sweeps
from training.benchmarks.holes import Fillings, Hole, Images
from training.package import Package

_FILLINGS = 2**32  # row keys of the service: image · 2³² + filling
_ROWS_AT_ONCE = 100


class Filler(Protocol):
    """One way to fill a hole.

    Attributes:
        name: how a table calls it.
        key: what its fillings depend on besides the images, as a digest or in words.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def key(self) -> str: ...  # noqa: D102

    def fill(self, images: Images, hole: Hole, *, n: int, seed: int) -> Fillings:
        """`n` fillings of each image, or one where all would be the same."""
        ...


@dataclass(frozen=True)
class PackageFiller:
    """A package that can inpaint, with the steps that a request gets when it does not ask."""

    package: Package

    @property
    def name(self) -> str:
        """The package's name and version."""
        return self.package.manifest.id

    @property
    def key(self) -> str:
        """The package's digest."""
        return self.package.manifest.digest

    def check(self, shape: tuple[int, int, int]) -> None:
        """Refuse a package that cannot fill holes in images of this shape.

        Raises:
            PackageError: says what the package is for instead.
        """
        manifest = self.package.manifest
        if not {"sweep", "latent_step"} & set(manifest.functions):
            able = ", ".join(manifest.functions)
            raise PackageError(f"{self.name} cannot inpaint: it has {able}, and no sweep")
        found = getattr(manifest.data, "shape", None)
        if found is None or tuple(found) != shape:
            raise PackageError(f"{self.name} is of data {found}, not of images {list(shape)}")

    def fill(self, images: Images, hole: Hole, *, n: int, seed: int) -> Fillings:
        """The service's fillings with this seed."""
        return np.stack([self._one(images, hole, seed=seed, filling=i) for i in range(n)])

    def _one(self, images: Images, hole: Hole, *, seed: int, filling: int) -> Images:
        defaults = self.package.manifest.defaults
        if "sweep" in self.package.manifest.functions:
            sweeps = defaults.inpaint_steps or defaults.burn_in or 0
            rows = [i * _FILLINGS + filling for i in range(len(images))]
            return package_sweeps.inpaint(
                self.package, images, hole, seed=seed, sweeps=sweeps, rows=rows
            )
        steps = defaults.inpaint_steps or 0
        mask = hole.astype(np.float32)
        return inpainting.fill(self.package, images, mask, seed=seed, steps=steps, filling=filling)


@dataclass(frozen=True)
class MeanImage:
    """The training images' mean in the hole: the best guess of who ignores what is known."""

    train: Images
    name: str = "mean image"
    key: str = "mean"

    def fill(self, images: Images, hole: Hole, *, n: int, seed: int) -> Fillings:  # noqa: ARG002
        """The same for every n and seed."""
        return np.where(hole, self.train.mean(0), images)[None].astype(np.float32)


@dataclass(frozen=True)
class NearestNeighbours:
    """In the hole, the n training images that are nearest in the known pixels, nearest first."""

    train: Images
    name: str = "nearest neighbours"
    key: str = "nearest"

    def fill(self, images: Images, hole: Hole, *, n: int, seed: int) -> Fillings:  # noqa: ARG002
        """Needs no seed."""
        seen = ~np.broadcast_to(hole, images.shape[1:]).ravel()
        theirs = self.train.reshape(len(self.train), -1)[:, seen]
        ours = images.reshape(len(images), -1)[:, seen]
        nearest = np.concatenate(
            [
                np.argsort(distances(ours[i : i + _ROWS_AT_ONCE], theirs), axis=1)[:, :n]
                for i in range(0, len(ours), _ROWS_AT_ONCE)
            ]
        )
        return np.where(hole, self.train[nearest.T], images).astype(np.float32)


def timed_fill(
    filler: Filler, images: Images, hole: Hole, *, n: int, seed: int
) -> tuple[Fillings, float]:
    """The fillings, and the CPU time of one of them in ms."""
    filler.fill(images[:1], hole, n=1, seed=seed)  # opens the graphs
    began = time.process_time()
    fillings = filler.fill(images, hole, n=n, seed=seed)
    spent_s = time.process_time() - began
    return fillings, 1000.0 * spent_s / (len(images) * len(fillings))
