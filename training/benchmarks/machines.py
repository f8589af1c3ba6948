"""Scores of small restricted Boltzmann machines, one for each class that is taken as normal.

normal images ──train_rbm──► machine ──► free energy F, reconstruction error
the same, turned ──train_rbm──► background ──┐
pixel rates of the normal images ────────────┴─► F − the background's

F is −log p(x) up to a constant, and −log p favours images with little ink. So ratios to backgrounds
are offered beside it (Ren et al. 2019): to ink alone, to pixel rates, and to a machine that has
seen the normal images turned, mirrored and stretched: it knows strokes, but not their arrangement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from training.benchmarks.anomaly_config import AnomalyConfig
from training.benchmarks.normality import OUTSIDE_THE_PROTOCOL, Normality, Rows, RowScores, flat
from training.data import Dataset
from training.rbm import Rbm, base_rate_bias
from training.rbm_training import TrainingData, train_rbm
from training.run import Run

TensorScore = Callable[[Float[Tensor, "n visible"]], Float[Tensor, " n"]]


def machine_scores(normal: Normality, config: AnomalyConfig) -> Mapping[str, RowScores]:
    """Train what is not trained yet; the scores by method.

    Raises:
        Interrupted: a person asked to stop; a checkpoint is written.
    """
    grey = torch.from_numpy(normal.rows)
    own = normal.folder / f"class-{normal.digit}"
    machine = _trained(normal.images, config, run=own / "normal", stop=normal.stop)
    copies = config.background.copies
    background = _trained(
        turned(normal.images, copies=copies, seed=config.seed),
        _for_epochs(config, max(config.epochs // copies, 1)),
        run=own / "turned",
        stop=normal.stop,
    )
    everyone = _trained(
        normal.everyone,
        _for_epochs(config, config.everyone.epochs),
        run=normal.folder / "everyone",
        stop=normal.stop,
    )
    rates = grey.mean(0)
    return {
        "free_energy": _on_rows(machine.free_energy),
        "free_energy_minus_ink": _ratio(machine, _one_rate(rates)),
        "free_energy_minus_pixels": _ratio(machine, _pixel_rates(rates)),
        "free_energy_minus_turned": _ratio(machine, background.free_energy),
        "reconstruction_error": _on_rows(lambda x: _reconstruction_error(machine, x)),
        OUTSIDE_THE_PROTOCOL: _ratio(machine, everyone.free_energy),
    }


def turned(images: Dataset, *, copies: int, seed: int) -> Dataset:
    """`copies` of each image, each under its own random affine map, as no digit is written.

    Any angle, mirrored or not, 0.8 to 1.25 times as wide and as high, up to 2 of 28 pixels aside.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(images.images).repeat(copies, 1, 1, 1)
    u = torch.rand(len(x), 6, generator=generator)
    angle = 2.0 * math.pi * u[:, 0]
    cos, sin = torch.cos(angle), torch.sin(angle)
    mirror = torch.where(u[:, 1] < 0.5, -1.0, 1.0)
    wide, high = 0.8 + 0.45 * u[:, 2], 0.8 + 0.45 * u[:, 3]
    right, down = ((2.0 * u[:, 4:] - 1.0) * (2.0 / 14.0)).unbind(1)
    maps = torch.stack(
        [cos * wide * mirror, -sin * wide, right, sin * high * mirror, cos * high, down]
    )
    grid = affine_grid(maps.T.reshape(-1, 2, 3), list(x.shape), align_corners=False)
    made = grid_sample(x, grid, align_corners=False)
    return Dataset(images=made.numpy(), labels=None, name=f"{images.name}, turned")


def _trained(images: Dataset, config: AnomalyConfig, *, run: Path, stop: Callable[[], bool]) -> Rbm:
    """A machine of these images: trained, gone on with, or only read, as far as `run` has come."""
    deciding = config.model_dump(mode="json", include={"seed", "data", "model", "train"})
    grey = torch.from_numpy(flat(images))
    opened = Run(run, resume=True, config=deciding)
    try:
        return train_rbm(
            TrainingData(images=grey, held_out=grey, shape=images.shape),
            model=config.model,
            train=config.train,
            seed=config.seed,
            run=opened,
            stop=stop,
        )
    finally:
        opened.close()


def _for_epochs(config: AnomalyConfig, epochs: int) -> AnomalyConfig:
    """The same training in another number of passes: over data of another size."""
    (phase,) = config.train.phases
    phases = (phase.model_copy(update={"epochs": epochs}),)
    return config.model_copy(update={"train": config.train.model_copy(update={"phases": phases})})


def _one_rate(rates: Float[Tensor, " visible"]) -> TensorScore:
    """−log p of independent pixels that all have the same rate, up to a constant."""
    bias = torch.logit(rates.mean())
    return lambda x: -bias * x.sum(1)


def _pixel_rates(rates: Float[Tensor, " visible"]) -> TensorScore:
    """−log p of independent pixels with a rate each, up to a constant."""
    bias = base_rate_bias(rates)
    return lambda x: -(x @ bias)


def _ratio(machine: Rbm, background: TensorScore) -> RowScores:
    return _on_rows(lambda x: machine.free_energy(x) - background(x))


def _reconstruction_error(machine: Rbm, x: Float[Tensor, "n visible"]) -> Float[Tensor, " n"]:
    """Squared error of one mean-field step up and down."""
    seen = torch.sigmoid(machine.visible_input(torch.sigmoid(machine.hidden_input(x))))
    return (seen - x).square().sum(1)


def _on_rows(score: TensorScore) -> RowScores:
    @torch.no_grad()
    def scored(rows: Rows) -> Float[np.ndarray, " n"]:
        parts = torch.split(torch.from_numpy(np.ascontiguousarray(rows)), 1000)
        found: Float[np.ndarray, " n"] = torch.cat([score(part) for part in parts]).numpy()
        return found

    return scored
