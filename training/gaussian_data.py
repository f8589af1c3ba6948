"""Images as real-valued rows: grey patches, whitened.

images [n, C, H, W] ──cut──► rows [m, side²] ──(x - mean) @ forward──► v: mean 0, covariance ≈ I
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from training.data import Dataset
from training.data_files import DataError
from training.gaussian_config import PatchTable


@dataclass(frozen=True)
class Whitening:
    """A linear map to standardised units, and back.

    Attributes:
        mean: of the rows.
        forward: v = (x - mean) @ forward.
        back: x = mean + v @ back.
    """

    mean: Float[Tensor, " units"]
    forward: Float[Tensor, "units units"]
    back: Float[Tensor, "units units"]

    @classmethod
    def of(
        cls, rows: Float[Tensor, "n units"], table: PatchTable, *, scaled: bool = False
    ) -> Whitening:
        """ZCA, C^-½ with a floor under the eigenvalues; or the standard deviations alone.

        `scaled` divides each unit by its standard deviation first, so that C holds correlations:
        for units that are measured in different things.
        """
        x = rows.double()
        scale = x.std(0, correction=0).clamp_min(1e-12) if scaled else torch.ones_like(x[0])
        centred = (x - x.mean(0)) / scale
        covariance = centred.T @ centred / len(x)
        if not table.whiten:
            covariance = torch.diag(covariance.diagonal())
        values, vectors = torch.linalg.eigh(covariance)
        values = (values + table.floor * values.mean()).clamp_min(1e-12)

        def power(exponent: float) -> Tensor:
            raised: Tensor = vectors @ torch.diag(values**exponent) @ vectors.T
            return raised

        return cls(
            mean=x.mean(0).float(),
            forward=(power(-0.5) / scale[:, None]).float(),
            back=(power(0.5) * scale).float(),
        )

    def __call__(self, rows: Float[Tensor, "n units"]) -> Float[Tensor, "n units"]:
        """Standardised units."""
        return (rows - self.mean) @ self.forward

    def to(self, device: torch.device | str) -> Whitening:
        """The same map on another device."""
        return Whitening(
            mean=self.mean.to(device), forward=self.forward.to(device), back=self.back.to(device)
        )

    def undone(self, v: Float[Tensor, "n units"]) -> Float[Tensor, "n units"]:
        """Grey values, or a table's numbers, again."""
        return self.mean + v @ self.back


def cut(data: Dataset, table: PatchTable, *, count: int, seed: int) -> Float[Tensor, "m units"]:
    """Rows of grey values: random patches, or every image whole.

    Raises:
        DataError: a patch is larger than the images.
    """
    grey = data.images.mean(1)
    if table.side is None:
        return torch.from_numpy(grey.reshape(len(grey), -1))
    side, (height, width) = table.side, grey.shape[1:]
    if side > min(height, width):
        raise DataError(f"patches.side={side} exceeds the images' {height}×{width} pixels")
    rng = np.random.default_rng(seed)
    which = rng.integers(0, len(grey), count)
    y = rng.integers(0, height - side + 1, count)
    x = rng.integers(0, width - side + 1, count)
    steps = np.arange(side)
    image, row, column = (at[:, None, None] for at in (which, y, x))
    patches = grey[image, row + steps[:, None], column + steps]
    return torch.from_numpy(patches.reshape(count, -1).astype(np.float32))


def shape_of(data: Dataset, table: PatchTable) -> tuple[int, int, int]:
    """[1, H, W] of one row."""
    _, height, width = data.shape
    return (1, height, width) if table.side is None else (1, table.side, table.side)
