"""The operations of the service: each one function from its fields to a request.

fields ──sample, interpolate, …──► Request[Samples], Request[Frames], …

Both clients take their methods from here, so that each operation is written once. Fields that are
None are left to the server, whose defaults differ by model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Unpack

import numpy as np
from numpy.typing import ArrayLike

from service.client import answers
from service.client.pictures import ImagesLike, on_the_wire
from service.client.results import (
    Classes,
    Features,
    Fillings,
    Frames,
    Reconstructions,
    Row,
    Samples,
    Scores,
)
from service.client.wire import JSON, NPY, Options, Reply, Request, request, segment

T = TypeVar("T")

Labels = int | str | Sequence[int | str]
Point = Mapping[str, Any]


def sample(
    model: str,
    *,
    n: int | None = None,
    seed: int | None = None,
    labels: Labels | None = None,
    conditions: Row | None = None,
    latents: ArrayLike | None = None,
    truncation: float | None = None,
    temperature: float | None = None,
    burn_in: int | None = None,
    start: Literal["fresh", "pool"] | None = None,
    values: Literal["mean", "sample"] | None = None,
    diagnostics: bool = True,
    **options: Unpack[Options],
) -> Request[Samples]:
    """`n` draws from the model.

    Args:
        model: `name` or `name@version`.
        n: how many; default 1, or one a latent.
        seed: an integer in [0, 2^53); left out, the server draws one and names it.
        labels: conditional models: one class for all, or n of them; indices or names.
        conditions: models of tables: values that every row has, by column.
        latents: GANs: [n, latent], instead of a seed.
        truncation: GANs: 0 < ψ ≤ 1.
        temperature: energy models: T = 1/β, above 0.
        burn_in: energy models: sweeps from a random start.
        start: energy models: `fresh`, or `pool`, which answers at once and cannot be seeded.
        values: energy models: `mean` for probabilities, `sample` for 0/1 draws.
        diagnostics: False leaves them out, and the samples travel as binary: for large n.
        **options: `timeout_s` and `priority`.
    """
    given = {
        "n": n,
        "seed": seed,
        "labels": _listed(labels),
        "conditions": conditions,
        "latents": None if latents is None else np.asarray(latents, np.float32),
        "truncation": truncation,
        "temperature": temperature,
        "burn_in": burn_in,
        "start": start,
        "values": values,
    }
    path = _path(model, "sample")
    if not diagnostics:
        binary = answers.samples_in_binary
        return request("POST", path, binary, fields=given, accept=NPY, options=options)
    return request("POST", path, answers.samples, fields=given, options=options)


def interpolate(
    model: str,
    *,
    points: Sequence[int | Point],
    frames: int | None = None,
    method: Literal["slerp", "lerp"] | None = None,
    loop: bool | None = None,
    labels: Labels | None = None,
    grid: tuple[int, int] | None = None,
    **options: Unpack[Options],
) -> Request[Frames]:
    """A path through the latent space.

    Args:
        model: `name` or `name@version`.
        points: two or more: a seed, or `{"seed": …, "row": …}`, `{"latent": …}`, `{"image": …}`.
        frames: all together, ends included; default 16.
        method: default `slerp` for Gaussian latents, else `lerp`.
        loop: back to the first point at the end.
        labels: conditional models: the class.
        grid: [rows, columns] between four points, in place of frames.
        **options: `timeout_s` and `priority`.
    """
    given = {
        "points": [_point(point) for point in points],
        "frames": frames,
        "method": method,
        "loop": loop,
        "labels": _listed(labels),
        "grid": grid,
    }
    path = _path(model, "interpolate")
    return request("POST", path, answers.frames, fields=given, options=options)


def inpaint(
    model: str,
    images: ImagesLike | None = None,
    *,
    mask: ImagesLike | None = None,
    rows: Sequence[Row] | None = None,
    mask_convention: Literal["1=fill", "0=fill"] | None = None,
    n: int | None = None,
    seed: int | None = None,
    steps: int | None = None,
    **options: Unpack[Options],
) -> Request[Fillings]:
    """Fill what `mask` marks; known values come back bit for bit.

    Args:
        model: `name` or `name@version`.
        images: [images, C, H, W] in [0, 1], or pictures.
        mask: one for all images or one each, of 0 and 1; 1 marks what to fill.
        rows: models of tables: rows by column, where None marks a hole.
        mask_convention: `0=fill` where 0 marks what to fill.
        n: fillings an image; default 1.
        seed: an integer in [0, 2^53).
        steps: sweeps, or steps of latent optimisation.
        **options: `timeout_s` and `priority`.
    """
    given = {
        "images": None if images is None else on_the_wire(images),
        "mask": None if mask is None else on_the_wire(mask),
        "rows": rows,
        "mask_convention": mask_convention,
        "n": n,
        "seed": seed,
        "steps": steps,
    }
    path = _path(model, "inpaint")
    return request("POST", path, answers.fillings, fields=given, options=options)


def score(
    model: str,
    images: ImagesLike | None = None,
    *,
    rows: Sequence[Row] | None = None,
    explain: bool | None = None,
    alpha: float | None = None,
    method: str | None = None,
    **options: Unpack[Options],
) -> Request[Scores]:
    """How unusual each example is, and how often normal data look as unusual.

    Args:
        model: `name` or `name@version`.
        images: [n, C, H, W] in [0, 1], or pictures.
        rows: models of tables: rows by column.
        explain: also a heat map an image.
        alpha: the share of normal data to be flagged, in (0, 1); default 0.05.
        method: which of the model's scores; its page lists them.
        **options: `timeout_s` and `priority`.
    """
    more = {"explain": explain, "alpha": alpha, "method": method}
    return _of_examples(
        "score", model, images, rows=rows, read=answers.scores, options=options, more=more
    )


def encode(
    model: str,
    images: ImagesLike | None = None,
    *,
    rows: Sequence[Row] | None = None,
    **options: Unpack[Options],
) -> Request[Features]:
    """Latent or hidden features of each example; arguments as `score`."""
    return _of_examples(
        "encode", model, images, rows=rows, read=answers.features, options=options, binary=True
    )


def reconstruct(
    model: str,
    images: ImagesLike | None = None,
    *,
    rows: Sequence[Row] | None = None,
    **options: Unpack[Options],
) -> Request[Reconstructions]:
    """Each example as the model sees it; arguments as `score`."""
    read = answers.reconstructions
    return _of_examples(
        "reconstruct", model, images, rows=rows, read=read, options=options, binary=True
    )


def classify(
    model: str,
    images: ImagesLike | None = None,
    *,
    rows: Sequence[Row] | None = None,
    **options: Unpack[Options],
) -> Request[Classes]:
    """Class probabilities of each example; arguments as `score`."""
    return _of_examples("classify", model, images, rows=rows, read=answers.classes, options=options)


def _of_examples(
    operation: str,
    model: str,
    images: ImagesLike | None,
    *,
    rows: Sequence[Row] | None,
    read: Callable[[Reply], T],
    options: Options,
    more: Mapping[str, Any] | None = None,
    binary: bool = False,
) -> Request[T]:
    """A request about examples: an array goes as npy, pictures and rows as JSON.

    `binary` answers are asked for as npy, which only models of images give.
    """
    path, accept = _path(model, operation), NPY if binary and rows is None else JSON
    sent = None if images is None else on_the_wire(images)
    if isinstance(sent, np.ndarray) and rows is None:
        return request("POST", path, read, fields=more, array=sent, accept=accept, options=options)
    given = {"images": sent, "rows": rows, **(more or {})}
    return request("POST", path, read, fields=given, accept=accept, options=options)


def _path(model: str, operation: str) -> str:
    return f"/v1/models/{segment(model)}/{operation}"


def _listed(labels: Labels | None) -> object:
    """One label as it is; several as a list, whatever sequence they came in."""
    if labels is None or isinstance(labels, int | str):
        return labels
    return [label if isinstance(label, str) else int(label) for label in labels]


def _point(point: int | Point) -> dict[str, Any]:
    if isinstance(point, int):
        return {"seed": point}
    sent = dict(point)
    if "image" in sent:
        sent["image"] = on_the_wire(sent["image"])
    if "latent" in sent:
        sent["latent"] = np.asarray(sent["latent"], np.float32)
    return sent
