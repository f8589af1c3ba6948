"""Trainings of a moment: a few images of noise, runs that are stopped on the way, their logs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from training.rbm_config import Phase, TrainTable
from training.rbm_training import TrainingData
from training.run import Run

# Of a layer: 3 + 3 updates.
LAYER = TrainTable(phases=(Phase(epochs=2, batch=20, chains=6, sweeps=1),), monitor_every=1)
# Of a whole network: 3 + 3 + 2 updates.
PHASES = (
    Phase(epochs=2, batch=20, chains=8, sweeps=2),
    Phase(epochs=1, batch=25, chains=12, sweeps=1, chain_precision="bfloat16"),
)


def tiny_data() -> TrainingData:
    """50 images of 3×4 pixels, the first ten of them held out as well."""
    images = torch.rand(50, 12, generator=torch.Generator().manual_seed(0))
    return TrainingData(images=images, held_out=images[:10], shape=(1, 3, 4))


@contextmanager
def stopping_run(
    directory: Path, *, resume: bool, stop_after: int | None, config: dict[str, Any] | None = None
) -> Iterator[tuple[Run, Callable[[], bool]]]:
    """A run, and the `stop` that asks its training to end after so many steps; None: never."""
    run = Run(directory, resume=resume, config=config or {})
    asked = iter(range(1, 10**9))
    try:
        yield run, lambda: next(asked) == stop_after
    finally:
        run.close()


def logged(directory: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics."""
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
