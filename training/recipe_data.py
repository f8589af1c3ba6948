"""What every recipe of a Boltzmann machine begins with: its images, and a machine to begin upon.

[data] ──► (what is trained on, what is held out) ──► rows;  model.start ──► a published machine
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from training.config import RecipeConfig, Workspace
from training.data import Dataset, load, split_holdout
from training.package import Package
from training.rbm import Rbm
from training.rbm_evaluation import read_weights


def splits(config: RecipeConfig) -> tuple[Dataset, Dataset]:
    """(what is trained on, what is held out)."""
    return split_holdout(load(config.data, "train"), config.data.holdout, config.seed)


def rows(data: Dataset, device: str) -> Float[Tensor, "n pixels"]:
    """Grey values, an image a row."""
    return torch.from_numpy(data.images.reshape(len(data), -1)).to(device)


def published(start: str, workspace: Workspace) -> Rbm:
    """The restricted machine that `model.start` names, `name@version`.

    Raises:
        PackageError: it is not in the store, or is damaged.
    """
    name, _, version = start.partition("@")
    return read_weights(Package(workspace.store / name / version)).to(workspace.device)
