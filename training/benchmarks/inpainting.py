"""Inpainting on five fixed masks: how near to the truth, how readable, how varied, how fast.

test images ──hole──► fillers ──n fillings──► figures on the hole alone, beside the image itself
                                         └──► picture: masked, three fillings, truth

A finished (filler, mask) is kept under the run's folder, so that an interrupted benchmark goes on
after it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from training.benchmarks import holes
from training.benchmarks.fillers import Filler, timed_fill
from training.benchmarks.holes import Fillings, Hole, Images
from training.benchmarks.reports import ITSELF
from training.data import Dataset
from training.inpainting import HOLE_SHADE
from training.judge import Bench
from training.run import Interrupted, RunConflict

SHOWN_IMAGES = 4
SHOWN_FILLINGS = 3


@dataclass(frozen=True)
class Settings:
    """What a result depends on besides the filler.

    Attributes:
        images: how many of the first test images.
        fillings: of each image, n.
        seed: of the fillings.
    """

    images: int = 500
    fillings: int = 4
    seed: int = 1


@dataclass(frozen=True)
class Work:
    """Where a benchmark keeps what is done, and how it is watched."""

    folder: Path
    stop: Callable[[], bool]
    on_done: Callable[[str, str], None]


def run_masks(
    fillers: Sequence[Filler], test: Dataset, *, judge: Bench | None, settings: Settings, work: Work
) -> dict[str, Any]:
    """Every filler on every mask, as plain JSON values.

    Raises:
        Interrupted: a person asked to stop; what is finished is kept.
        RunConflict: the folder holds results of other settings.
    """
    some = test.take(slice(settings.images))
    masks: dict[str, dict[str, dict[str, float | None]]] = {}
    for mask, hole in holes.five_holes(some.shape[-1]).items():
        masks[mask] = {}
        for filler in fillers:
            if work.stop():
                raise Interrupted(f"stopped before {filler.name} on the {mask}")
            masks[mask][filler.name] = _kept_or_done(
                filler, some, mask, hole, judge=judge, settings=settings, work=work
            )
            work.on_done(filler.name, mask)
        masks[mask][ITSELF] = figures(some.images[None], some, hole, judge=judge)
    return {
        "question": "inpainting on five masks",
        "settings": asdict(settings) | {"images": len(some)},
        "data": some.name,
        "judge": None if judge is None else judge.sha256,
        "masks": masks,
    }


def figures(
    fillings: Fillings, some: Dataset, hole: Hole, *, judge: Bench | None
) -> dict[str, float | None]:
    """What these fillings of the images are worth, on the hole alone."""
    kept = None
    if judge is not None and some.labels is not None:
        kept = float(np.mean([judge.accuracy(filled, some.labels) for filled in fillings]))
    mean = fillings.mean(0)
    return {
        "cross_entropy": holes.cross_entropy(mean, some.images, hole),
        "mse": holes.squared_error(fillings, some.images, hole),
        "mse_of_mean": holes.squared_error(mean[None], some.images, hole),
        "diversity": holes.diversity(fillings, hole),
        "psnr": holes.psnr_db(fillings, some.images, hole),
        "ssim": holes.structural_similarity(fillings, some.images, hole),
        "class_kept": kept,
    }


def picture_rows(
    filler: Filler, test: Dataset, folder: Path
) -> tuple[Float[np.ndarray, "tiles C H W"], int]:
    """Tiles of a contact sheet and its columns: a row a mask, and for each of the first images the
    masked input, three fillings and the truth. None of them is chosen.
    """  # noqa: D205  (one sentence)
    images = test.images[:SHOWN_IMAGES]
    rows = []
    for mask, hole in holes.five_holes(test.shape[-1]).items():
        with np.load(_path(folder, filler, mask).with_suffix(".npz"), allow_pickle=False) as kept:
            shown: Fillings = kept["fillings"]
        hidden = np.where(hole, np.float32(HOLE_SHADE), images)
        groups = np.concatenate([hidden[None], shown, images[None]])
        rows.append(groups.transpose(1, 0, 2, 3, 4).reshape(-1, *test.shape))
    return np.concatenate(rows), len(rows[0])


def _kept_or_done(
    filler: Filler,
    some: Dataset,
    mask: str,
    hole: Hole,
    *,
    judge: Bench | None,
    settings: Settings,
    work: Work,
) -> dict[str, float | None]:
    path = _path(work.folder, filler, mask)
    made_from = asdict(settings) | {"filler": filler.key, "data": some.name}
    if path.exists():
        document: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if document["made_from"] != made_from:
            raise RunConflict(
                f"{path} comes from other settings or another package: give the same, or --fresh"
            )
        found: dict[str, float | None] = document["figures"]
        return found
    fillings, cpu_ms = timed_fill(
        filler, some.images, hole, n=settings.fillings, seed=settings.seed
    )
    found = figures(fillings, some, hole, judge=judge) | {"cpu_ms": cpu_ms}
    _keep(path, {"made_from": made_from, "figures": found}, _shown(fillings))
    return found


def _shown(fillings: Fillings) -> Images:
    """The fillings that a picture has; a baseline that has one alone shows it again."""
    first = fillings[:SHOWN_FILLINGS, :SHOWN_IMAGES]
    return np.concatenate([first, np.repeat(first[-1:], SHOWN_FILLINGS - len(first), axis=0)])


def _keep(path: Path, document: dict[str, Any], shown: Images) -> None:
    """The pictures first, so that figures are never there without them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path.with_suffix(".npz"), fillings=shown)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    temporary.rename(path)


def _path(folder: Path, filler: Filler, mask: str) -> Path:
    plain = re.sub(r"\W+", "-", mask, flags=re.ASCII).strip("-")
    return folder / filler.name.replace(" ", "-") / f"{plain}.json"
