"""Images bent a little about their middle, which stays where it is: for readers of what is left.

x ──turn, stretch, slant──smooth field──► x'

MNIST's digits stand with their centre of mass in the middle of the frame, so that where the rest of
a digit lies says what a hole hides of it. A linear map about the middle keeps that; a shift, as
`judge.shake` has, would not.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from training.resample import resample

TURN = math.radians(10.0)
STRETCH = 0.08
SLANT = 0.12
NODES = 6
# Of the field at its nodes, in half sides: half a pixel of 28.
FIELD = 0.035


def bent(
    images: Float[Tensor, "n c side side"], *, generator: torch.Generator
) -> Float[Tensor, "n c side side"]:
    """x'(p) = x(Ap + d(p)), each image with its own A and d; p = 0 is the middle.

    A turns by up to 10°, stretches each axis by up to 8 % and slants by up to 0.12, all uniform;
    d is cubic between 6×6 nodes of normals (Simard et al. 2003, §2, with a field of few numbers).
    """
    n = len(images)
    u = torch.rand(n, 4, generator=generator) * 2.0 - 1.0
    nodes = torch.randn(n, 2, NODES, NODES, generator=generator) * FIELD
    turn, slant = TURN * u[:, 0], SLANT * u[:, 3]
    across, down = 1.0 + STRETCH * u[:, 1], 1.0 + STRETCH * u[:, 2]
    cos, sin, zero = torch.cos(turn), torch.sin(turn), torch.zeros(n)
    rows = [cos * across, slant - sin * down, zero, sin * across, cos * down, zero]
    linear = torch.stack(rows, dim=1).view(n, 2, 3)
    return resample(images, linear, displacements=nodes)
