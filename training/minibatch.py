"""Layers that let a discriminator see other rows than the one it judges, against mode collapse.

[n, f, b, b] ──MinibatchDeviation──► [n, 1]      [n, f] ──MinibatchDiscrimination──► [n, kernels]

A generator that makes one image for all codes is given away by a batch of them. Real and generated
rows are shown in batches of their own.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

KERNEL_WIDTH = 5
TINY = 1e-8


class MinibatchDeviation(nn.Module):
    """The standard deviation of each feature over the batch, averaged to one number.

    Karras et al. (2018), §3; every row is given the same number.
    """

    def forward(self, features: Float[Tensor, "n ..."]) -> Float[Tensor, "n 1"]:
        """[n, 1], all rows equal; 0 where all rows are the same."""
        variance = features.flatten(1).var(0, unbiased=False)
        deviation = (variance + TINY).sqrt().mean()
        return deviation.expand(len(features), 1)


class MinibatchDiscrimination(nn.Module):
    """How near the other rows are: o(x_i)_b = Σ_{j≠i} exp(−‖M_i,b − M_j,b‖₁), M_i = f(x_i)·T.

    Salimans et al. (2016), §3.2. T: [features, kernels, 5].
    """

    def __init__(self, features: int, kernels: int) -> None:
        super().__init__()
        self.kernels = kernels
        self.project = nn.Linear(features, kernels * KERNEL_WIDTH, bias=False)

    def forward(self, features: Float[Tensor, "n f"]) -> Float[Tensor, "n kernels"]:
        """[n, kernels], each between 0 and n − 1."""
        m = self.project(features).view(-1, self.kernels, KERNEL_WIDTH)
        apart = (m.unsqueeze(0) - m.unsqueeze(1)).abs().sum(3)
        near: Tensor = torch.exp(-apart).sum(1) - 1.0  # without the row itself
        return near
