"""The one binarisation of the test images that every likelihood uses, and a bar to wait by.

grey images ──Bernoulli draws, fixed seed──► 0/1 rows
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from training.data import Dataset, binarise

# The seed of the one binarisation of the test images that every figure uses.
BINARISATION_SEED = 28_28


def binary_rows(data: Dataset, *, device: torch.device) -> Float[Tensor, "n visible"]:
    """0/1 draws of the grey values, the same on every machine."""
    drawn = binarise(data.images, np.random.default_rng(BINARISATION_SEED))
    return torch.from_numpy(drawn.reshape(len(data), -1)).to(device)


def binarisation(data: Dataset) -> str:
    """How `binary_rows` are made, in words."""
    return (
        f"{len(data):,} test images, binarised once as Bernoulli draws of the grey values "
        f"(numpy seed {BINARISATION_SEED})"
    )


@contextmanager
def waiting(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; gives the function that tells it how far the work is."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)
