"""The latent prior, and paths through it.

(seed, rows) ──► z ~ prior ──► truncate;   points ──► slerp | lerp ──► frames
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int64

from service.domain.normals import normals
from service.domain.randomness import Stream, uniform32

Latents = Float[np.ndarray, "n latent"]
Prior = Literal["normal", "uniform"]
Method = Literal["slerp", "lerp"]

_PARALLEL = 1e-4  # radians; closer than this, sin Ω loses its digits and lerp is the same path


def draw(*, prior: Prior, size: int, seed: int, rows: Sequence[int]) -> Latents:
    """float32 [rows, size]: standard normals, or uniforms on [−1, 1)."""
    return draw_each(prior=prior, size=size, keys=[(seed, row) for row in rows])


def draw_each(*, prior: Prior, size: int, keys: Sequence[tuple[int, int]]) -> Latents:
    """float32 [keys, size]: the latent of each (seed, row)."""
    if prior == "normal":
        return normals(uniform32(keys, stream=Stream.LATENT, width=size))
    fine = uniform32(keys, stream=Stream.LATENT, width=-(-size // 2)).copy().view("<u2")[:, :size]
    return ((fine.astype(np.float32) + np.float32(0.5)) / np.float32(32768)) - np.float32(1)


def draw_classes(*, classes: int, keys: Sequence[tuple[int, int]]) -> Int64[np.ndarray, " keys"]:
    """An index in [0, classes) for each (seed, row), evenly."""
    integers = uniform32(keys, stream=Stream.LABEL, width=1)[:, 0]
    drawn: Int64[np.ndarray, " keys"] = (integers % np.uint32(classes)).astype(np.int64)
    return drawn


def truncate(z: Latents, psi: float) -> Latents:
    """ψ·z: latents drawn towards the prior's mean (Karras et al. 2019, §B). 0 < ψ ≤ 1."""
    return z if psi == 1.0 else (z * np.float32(psi)).astype(np.float32)


def lerp(
    a: Float[np.ndarray, "*shape"], b: Float[np.ndarray, "*shape"], t: float
) -> Float[np.ndarray, "*shape"]:
    """(1 − t)·a + t·b, and exactly a or b at the ends."""
    if t <= 0.0 or t >= 1.0:
        return np.array(a if t <= 0.0 else b, dtype=np.float32)
    return (np.float32(1.0 - t) * a + np.float32(t) * b).astype(np.float32)


def slerp(
    a: Float[np.ndarray, " latent"], b: Float[np.ndarray, " latent"], t: float
) -> Float[np.ndarray, " latent"]:
    """Along the great circle from a to b, the norm going linearly from ‖a‖ to ‖b‖.

    sin((1−t)Ω)/sin Ω · â + sin(tΩ)/sin Ω · b̂ (Shoemake 1985), times (1−t)‖a‖ + t‖b‖: draws of a
    high-dimensional Gaussian have nearly one length, and a path that keeps it stays where the
    generator was trained. Nearly parallel, opposite or zero ends fall back to lerp.
    """
    if t <= 0.0 or t >= 1.0:
        return lerp(a, b, t)
    left, right = a.astype(np.float64), b.astype(np.float64)
    norm_a, norm_b = float(np.linalg.norm(left)), float(np.linalg.norm(right))
    if min(norm_a, norm_b) == 0.0:
        return lerp(a, b, t)
    unit_a, unit_b = left / norm_a, right / norm_b
    omega = float(np.arccos(np.clip(unit_a @ unit_b, -1.0, 1.0)))
    if omega < _PARALLEL or omega > np.pi - _PARALLEL:
        return lerp(a, b, t)
    direction = (np.sin((1.0 - t) * omega) * unit_a + np.sin(t * omega) * unit_b) / np.sin(omega)
    path: Float[np.ndarray, " latent"] = direction * ((1.0 - t) * norm_a + t * norm_b)
    return path.astype(np.float32)


def path(
    points: Float[np.ndarray, "points latent"], *, frames: int, method: Method, loop: bool
) -> Float[np.ndarray, "frames latent"]:
    """`frames` latents along the polyline through `points`, evenly spaced, both ends included.

    With `loop` the path goes on from the last point to the first, and the first is not repeated.
    """
    corners = np.concatenate([points, points[:1]]) if loop else points
    segments = len(corners) - 1
    step = slerp if method == "slerp" else lerp
    made: list[Float[np.ndarray, " latent"]] = []
    for k in range(frames):
        position = k * segments / frames if loop else k * segments / max(frames - 1, 1)
        segment = min(int(position), segments - 1)
        made.append(step(corners[segment], corners[segment + 1], position - segment))
    return np.stack(made)


def grid(
    corners: Float[np.ndarray, "4 latent"], *, rows: int, columns: int, method: Method
) -> Float[np.ndarray, "cells latent"]:
    """[rows·columns, latent] between four corners, given row by row from the top left."""
    step = slerp if method == "slerp" else lerp
    made: list[Float[np.ndarray, " latent"]] = []
    for r in range(rows):
        down = r / max(rows - 1, 1)
        left, right = step(corners[0], corners[2], down), step(corners[1], corners[3], down)
        made.extend(step(left, right, c / max(columns - 1, 1)) for c in range(columns))
    return np.stack(made)
