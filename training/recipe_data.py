"""What every recipe of a Boltzmann machine begins with: images, a run, a machine to begin upon.

[data] ──► (what is trained on, what is held out) ──► rows;  model.start ──► a published machine
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from training.config import RecipeConfig, Workspace
from training.data import Dataset, load, split_holdout
from training.package import Package
from training.rbm import Rbm
from training.rbm_evaluation import read_weights
from training.rbm_training import TrainingData
from training.run import Run, stop_on_signals


def splits(config: RecipeConfig) -> tuple[Dataset, Dataset]:
    """(what is trained on, what is held out)."""
    return split_holdout(load(config.data, "train"), config.data.holdout, config.seed)


def training_set(config: RecipeConfig) -> Dataset:
    """What is trained on."""
    return splits(config)[0]


def rows(data: Dataset, device: str) -> Float[Tensor, "n pixels"]:
    """Grey values, an image a row."""
    return torch.from_numpy(data.images.reshape(len(data), -1)).to(device)


def training_data(seen: Dataset, held_out: Dataset, device: str) -> TrainingData:
    """Grey values of what is trained on, and of what is held out."""
    return TrainingData(
        images=rows(seen, device), held_out=rows(held_out, device), shape=seen.shape
    )


@contextmanager
def opened_run(
    workspace: Workspace, trained_part: dict[str, object]
) -> Iterator[tuple[Run, Callable[[], bool]]]:
    """The workspace's run, closed at the end, and what tells whether somebody asked it to stop.

    Raises:
        RunConflict: it is not the run of this `trained_part` of a recipe.
    """
    run = Run(workspace.run, resume=workspace.resume, config=trained_part)
    try:
        with stop_on_signals() as stop:
            yield run, stop
    finally:
        run.close()


def published(start: str, workspace: Workspace) -> Rbm:
    """The restricted machine that `model.start` names, `name@version`.

    Raises:
        PackageError: it is not in the store, or is damaged.
    """
    name, _, version = start.partition("@")
    return read_weights(Package(workspace.store / name / version)).to(workspace.device)
