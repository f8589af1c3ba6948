"""What the packages of all Boltzmann machines have in common: weights, a score, pictures.

tensors ──► weights.safetensors        score graph, held-out images ──► calibration
draft package ──chains──► preview.png, inpainting.png
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from service.contract import WEIGHTS_FILE, Role
from training.anomaly import scores_of
from training.data import Dataset
from training.data_files import DataError
from training.export import session
from training.package import Function, Package, Score
from training.package_sweeps import inpaint, sample
from training.quantised import common_shift
from training.rbm_config import ExportTable
from training.sheets import png_bytes, sheet

SHEET_SIDE = 10
INPAINTED_DIGITS = 8
FILLINGS = 5
# How a hole is shown in a sheet: neither ink nor paper.
HOLE_SHADE = 0.35
# A tensor of integers in weights.safetensors has its step beside it, under its name and this.
STEP = ".step"


def weights_file(named: Mapping[str, Tensor], *, steps: Mapping[str, float] | None = None) -> bytes:
    """The bytes of weights.safetensors, of which `read_tensors` makes the same numbers again.

    Args:
        named: the tensors; float16 where that holds a tensor's numbers exactly.
        steps: of tensors that are whole multiples of a float32 step: kept as integers of the
            fewest bits, with their step as `<name>.step`.
    """
    kept: dict[str, Tensor] = {}
    for name, tensor in named.items():
        step = (steps or {}).get(name)
        kept |= {name: _narrowest(tensor)} if step is None else _whole(name, tensor, step)
    return save_safetensors(kept)


def read_tensors(package: Package) -> dict[str, Tensor]:
    """What is in a package's weights.safetensors, as float32: integers times their steps."""
    return tensors_of(load_safetensors(package.read(WEIGHTS_FILE)))


def tensors_of(kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The numbers that a file's tensors stand for."""
    steps = {n.removesuffix(STEP): t for n, t in kept.items() if n.endswith(STEP)}
    plain = {name: t.float() for name, t in kept.items() if not name.endswith(STEP)}
    return {name: t * steps[name] if name in steps else t for name, t in plain.items()}


def _whole(name: str, tensor: Tensor, step: float) -> dict[str, Tensor]:
    """Integers and their step; common factors of two are the step's."""
    unit = np.float32(step)
    integers = np.rint(tensor.detach().cpu().numpy() / unit).astype(np.int64)
    shift = common_shift(integers) or 0
    unit, integers = np.float32(unit * 2**shift), integers >> shift
    narrow = next(
        dtype for dtype in (np.int8, np.int16, np.int32)
        if np.abs(integers).max(initial=0) <= np.iinfo(dtype).max
    )  # fmt: skip
    found = {name: torch.from_numpy(integers.astype(narrow)), name + STEP: torch.tensor(unit)}
    again = tensors_of(found)[name]
    assert torch.equal(again, tensor.detach().cpu()), f"{name} is no multiple of {step}"
    return found


def _narrowest(tensor: Tensor) -> Tensor:
    kept = tensor.detach().cpu().contiguous()
    half = kept.half()
    fits = kept.is_floating_point() and torch.equal(half.to(kept.dtype), kept)
    return half if fits else kept


def calibrated_score(
    function: Function, *, method: str, held_out: Dataset, data: str = "x"
) -> Score:
    """The score, calibrated by the graph that will be served; `data` is its images' name."""
    running = session(function.graph)
    scores = scores_of(
        lambda images: running.run([method], {data: images})[0], held_out.images, batch=500
    )
    return Score(
        method=method,
        function="score",
        output=method,
        heatmap="heatmap",
        calibration=scores,
        held_out=f"{len(held_out):,} images of the training set, never trained on",
    )


def label_names(images: Dataset) -> tuple[str, ...]:
    """The classes of a data set, in order: "0", "1", … up to the largest label.

    Raises:
        DataError: it has no labels.
    """
    if images.labels is None:
        raise DataError(
            f"{images.name} has no labels to learn: leave [classify] or model.labels out"
        )
    return tuple(str(label) for label in range(int(images.labels.max()) + 1))


def blank_preview(held_out: Dataset) -> bytes:
    """An image of the training set, until there are samples to show."""
    return png_bytes(sheet(held_out.images[:1], columns=1))


def samples_png(
    draft: Package, *, burn_in: int, seed: int, labels: int = 0, scale: int = 2
) -> bytes:
    """Fresh samples; of a conditional package one column for each of its `labels`."""
    columns = labels or SHEET_SIDE
    n = SHEET_SIDE * columns
    fixed = {Role.LABEL: np.arange(n) % columns} if labels else {}
    (fresh,) = sample(draft, n=n, seed=seed, sweeps=[burn_in], fixed=fixed)
    return png_bytes(sheet(fresh, columns=columns, scale=scale))


def chain_pictures(
    draft: Package, held_out: Dataset, *, export: ExportTable, seed: int, scale: int = 2
) -> dict[str, bytes]:
    """preview.png: fresh samples; inpainting.png: held-out images, holes, and fillings."""
    filled = inpainting_rows(draft, held_out, sweeps=export.inpaint_steps, seed=seed)
    return {
        "preview.png": samples_png(draft, burn_in=export.burn_in, seed=seed, scale=scale),
        "inpainting.png": png_bytes(sheet(filled, columns=2 + FILLINGS, scale=scale)),
    }


def inpainting_rows(
    package: Package, images: Dataset, *, sweeps: int, seed: int
) -> Float[np.ndarray, "n C H W"]:
    """For each of the first images: itself, itself with the hole in grey, and its fillings."""
    originals = images.images[:INPAINTED_DIGITS]
    hole = central_hole(images.shape)
    fillings = inpaint(package, originals.repeat(FILLINGS, 0), hole, seed=seed, sweeps=sweeps)
    rows = []
    for i, original in enumerate(originals):
        own = fillings[i * FILLINGS : (i + 1) * FILLINGS]
        rows.append(np.stack([original, np.where(hole, HOLE_SHADE, original), *own]))
    return np.concatenate(rows).astype(np.float32)


def central_hole(shape: tuple[int, int, int]) -> Bool[np.ndarray, "C H W"]:
    """The central half in both directions: 14×14 of 28×28."""
    hole = np.zeros(shape, bool)
    _, height, width = shape
    hole[:, height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    return hole
