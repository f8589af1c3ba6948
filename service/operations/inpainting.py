"""Inpaint: sampling with the known values held.

energy:  clamp known units ──sweeps──► readout ──► put the known values back
GAN:     mask-aware start ──latent steps──► generate ──► put the known values back
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from service.contract import Role
from service.domain.feeding import ByRole
from service.domain.randomness import draw_seed
from service.errors import InvalidInput
from service.model import CHAIN
from service.operations.chain import Chains, read_out, run_chains
from service.operations.context import Context
from service.queries import Inpaint, Inpainted

FILLINGS = 2**32  # row keys: image · 2³² + filling, so that neither count matters to the other
_ON = 0.5  # a known grey value clamps a 0/1 unit by whether it reaches this


async def inpaint(context: Context, query: Inpaint) -> Inpainted:
    """`n` fillings for each image; known values come back bit for bit."""
    context.require("inpaint")
    context.check_images(query.images)
    context.check_rows(len(query.images) * query.n, "/n")
    hole = _holes(context, query)
    seed = draw_seed() if query.seed is None else query.seed
    count = len(query.images)
    repeated = np.repeat(query.images, query.n, axis=0)
    holes = np.repeat(hole, query.n, axis=0)
    rows = [image * FILLINGS + filling for image in range(count) for filling in range(query.n)]
    chains = _chains(context, query, repeated, holes, seed=seed, rows=rows)
    outcome = await run_chains(context, chains)
    filled = context.to_data_space(await read_out(context, chains, outcome.state))
    samples = np.where(holes, filled, repeated)
    return Inpainted(
        samples=samples.reshape(count, query.n, *context.image.shape),
        seed=seed,
        hole_fraction=float(hole.mean()),
    )


def _chains(
    context: Context,
    query: Inpaint,
    images: Float[np.ndarray, "rows channels height width"],
    holes: np.ndarray,
    *,
    seed: int,
    rows: list[int],
) -> Chains:
    defaults = context.manifest.defaults
    if CHAIN in context.manifest.functions:
        step, length = CHAIN, defaults.inpaint_steps or defaults.burn_in or 0
        fixed: ByRole = {
            Role.CLAMP_MASK: (~holes).astype(np.uint8),
            Role.CLAMP_VALUES: ((images >= _ON) & ~holes).astype(np.uint8),
            Role.BETA: np.ones((len(rows), 1), np.float32),
        }
    else:
        step, length = "latent_step", defaults.inpaint_steps or 0
        known = np.where(holes, np.float32(0), images)
        mask = holes[:, :1].astype(np.float32)
        fixed = {Role.DATA: context.to_network(known), Role.MASK: mask}
    sweeps = length if query.steps is None else query.steps
    context.check_sweeps(sweeps, "/steps")
    return Chains(step=step, seed=seed, rows=rows, sweeps=sweeps, fixed=fixed)


def _holes(context: Context, query: Inpaint) -> np.ndarray:
    """bool [images, C, H, W]: True where a value is to be filled in."""
    channels, height, width = context.image.shape
    mask = query.mask
    if mask.shape[1:] != (height, width):
        raise InvalidInput(
            f"a mask of {list(mask.shape[1:])} does not fit images of {[height, width]}",
            pointer="/mask",
        )
    if len(mask) not in {1, len(query.images)}:
        raise InvalidInput(
            f"{len(mask)} masks for {len(query.images)} images: give one for all, or one each",
            pointer="/mask",
        )
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise InvalidInput("a mask holds 0 and 1 alone", pointer="/mask")
    for i, one in enumerate(mask):
        pointer = "/mask" if len(mask) == 1 else f"/mask/{i}"
        if not one.any():
            raise InvalidInput(
                "the mask has no hole: mark with 1 what to fill, or set mask_convention",
                pointer=pointer,
            )
        if one.all():
            raise InvalidInput(
                "the mask is nothing but a hole: use sample, or mark known values with 0",
                pointer=pointer,
            )
    shape = (len(query.images), channels, height, width)
    return np.broadcast_to(mask.astype(bool)[:, None], shape)
