"""Interpolate: a path between points of the latent space, decoded frame by frame.

points ──► latents ──slerp | lerp──► frames' latents ──generate | decode──► frames

A GAN's latent is z. An energy model's is its hidden units: the last state of a seeded chain, or the
mean-field probabilities of an image; in between lie probabilities.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from service.contract import Role
from service.domain import latent
from service.domain.arrays import Arrays
from service.domain.feeding import ByRole, feed
from service.errors import InvalidInput, MissingCapability
from service.operations.chain import run_chains
from service.operations.context import Context
from service.operations.sampling import draw_labels, draw_latents, free_chains, latent_of
from service.queries import ImagePoint, Interpolate, Interpolated, LatentPoint, Point, SeedPoint

MAX_ROW = 2**32


async def interpolate(context: Context, query: Interpolate) -> Interpolated:
    """The frames, ends included, and the latents they were made from."""
    context.require("interpolate")
    _check(context, query)
    points = np.stack(
        await asyncio.gather(*(_latent(context, p, i) for i, p in enumerate(query.points)))
    )
    gaussian = context.manifest.latent is not None and context.manifest.latent.prior == "normal"
    method = query.method or ("slerp" if gaussian else "lerp")
    if query.grid is None:
        path = latent.path(points, frames=query.frames, method=method, loop=query.loop)
    else:
        rows, columns = query.grid
        path = latent.grid(points, rows=rows, columns=columns, method=method)
    return Interpolated(frames=await _decode(context, path, query.labels), latents=path)


def _check(context: Context, query: Interpolate) -> None:
    frames = query.frames if query.grid is None else query.grid[0] * query.grid[1]
    limit = min(context.settings.max_frames, context.settings.max_rows)
    pointer = "/frames" if query.grid is None else "/grid"
    if not 2 <= frames <= limit:
        raise InvalidInput(f"{frames} frames are not between 2 and {limit}", pointer=pointer)
    if query.grid is not None and len(query.points) != 4:
        raise InvalidInput(
            f"a grid needs 4 points, its corners, not {len(query.points)}", pointer="/points"
        )
    if query.grid is not None and query.loop:
        raise InvalidInput("a grid has no loop: leave loop out", pointer="/loop")
    if not 2 <= len(query.points) <= frames:
        raise InvalidInput(
            f"{len(query.points)} points need at least 2 points and as many frames as points",
            pointer="/points",
        )


async def _latent(context: Context, point: Point, index: int) -> Float[np.ndarray, " latent"]:
    pointer = f"/points/{index}"
    if isinstance(point, SeedPoint):
        if not 0 <= point.row < MAX_ROW:
            raise InvalidInput(f"row={point.row} is not below {MAX_ROW}", pointer=f"{pointer}/row")
        return await _latent_of_seed(context, point)
    if isinstance(point, ImagePoint):
        context.check_images(point.image[None], f"{pointer}/image")
        if "encode" not in context.manifest.functions:
            raise MissingCapability(
                f"{context.model.id} cannot encode images: give points by seed or latent",
                pointer=f"{pointer}/image",
            )
        x = context.to_network(point.image[None])
        features = await context.map_role("encode", {Role.DATA: x}, Role.HIDDEN)
        return flat(features[0])
    return _given(context, point, f"{pointer}/latent")


async def _latent_of_seed(context: Context, point: SeedPoint) -> Float[np.ndarray, " latent"]:
    rows = range(point.row, point.row + 1)
    if "generate" in context.manifest.functions:
        return flat(draw_latents(context, seed=point.seed, rows=rows))
    outcome = await run_chains(context, free_chains(context, seed=point.seed, rows=rows))
    return flat((await _features_of_chains(context, outcome.state))[0])


async def _features_of_chains(context: Context, state: Arrays) -> NDArray[Any]:
    """What `decode` takes of the states: the only one, or what `features` makes of several."""
    if "features" not in context.manifest.functions:
        (only,) = state.values()
        return only
    spec = context.spec("features")
    hidden = spec.output(Role.HIDDEN)
    assert hidden is not None, "features are hidden units"
    outputs = await context.model.maps["features"].submit(feed(spec, {}, state), context.call)
    return outputs[hidden.name]


def _given(context: Context, point: LatentPoint, pointer: str) -> Float[np.ndarray, " latent"]:
    size = _latent_size(context)
    if point.latent.shape != (size,):
        raise InvalidInput(
            f"a latent of shape {list(point.latent.shape)} must have {size} numbers",
            pointer=pointer,
        )
    return flat(point.latent)


def flat(array: NDArray[Any]) -> Float[np.ndarray, " latent"]:
    """Its numbers as one float32 row."""
    row: Float[np.ndarray, " latent"] = array.astype(np.float32).reshape(-1)
    return row


def _latent_size(context: Context) -> int:
    if "generate" in context.manifest.functions:
        return latent_of(context).size
    hidden = context.spec("decode").input(Role.HIDDEN)
    assert hidden is not None, "decode takes hidden features"
    return int(np.prod(hidden.row_shape))


async def _decode(
    context: Context, path: Float[np.ndarray, "frames latent"], labels: tuple[int, ...] | None
) -> Float[np.ndarray, "frames channels height width"]:
    if "generate" not in context.manifest.functions:
        if labels is not None:
            raise InvalidInput(f"{context.model.id} has no labels: leave them out",
                               pointer="/labels")  # fmt: skip
        x = await context.map_role("decode", {Role.HIDDEN: path}, Role.DATA)
        return context.to_data_space(x)
    psi = context.manifest.defaults.truncation or 1.0
    inputs: ByRole = {Role.LATENT: latent.truncate(path, psi)}
    if context.spec("generate").input(Role.LABEL) is not None and labels is None:
        labels = (0,)
    drawn = draw_labels(context, labels, function="generate", seed=0, rows=range(len(path)))
    if drawn is not None:
        inputs[Role.LABEL] = drawn
    return context.to_data_space(await context.map_role("generate", inputs, Role.DATA))
