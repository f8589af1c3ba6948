"""Machines that a recipe has trained in a moment, as the service serves them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from service.engine import Engine
from service.queries import Call
from tests.training.test_training_cli import call, places
from training.package import Package

# Tables that recipes of digits share; [evaluate] ends a recipe, so that its kind may add keys.
DATA = """
[data]
name = "digits"
limit = 300
holdout = 100
"""
LAYER = """
[[pretrain]]
phases = [{ epochs = 1, batch = 20, chains = 20, sweeps = 1 }]
"""
EVALUATE = """
[evaluate]
betas = 50
runs = 20
reverse_runs = 10
reverse_burn_in = 5
"""


def train_all(folder: Path, recipes: Mapping[str, str]) -> Path:
    """Train each recipe under `folder`, from <name>.toml; packages are in `folder`/store."""
    for name, text in recipes.items():
        (folder / f"{name}.toml").write_text(text)
        call("train", str(folder / f"{name}.toml"), *places(folder), "--threads", "1")
    return folder


def package_of(folder: Path, name: str) -> Package:
    """What `train_all` has published."""
    return Package(folder / "store" / name / "1")


async def ask(engine: Engine, model: str, query: Any) -> Any:
    """The engine's answer."""
    return await engine.run(engine.registry.get(model), query, Call.lasting(30))


def digits(n: int = 3) -> Float[np.ndarray, "n 1 8 8"]:
    """Images of noise, of the digits' shape."""
    return np.random.default_rng(0).random((n, 1, 8, 8), dtype=np.float32)


def export_of_stage(folder: Path, elsewhere: Path, name: str, *, stage: str) -> str:
    """What `reverie export` says, in failing, of a run whose newest checkpoint is of `stage`."""
    run = folder / "runs" / name
    newest = max((run / "checkpoints").glob("step-*.pt"))
    copied = elsewhere / name
    (copied / "checkpoints").mkdir(parents=True)
    state = torch.load(newest, weights_only=True)
    torch.save(state | {"stage": stage}, copied / "checkpoints" / newest.name)
    (copied / "recipe.json").write_text((run / "recipe.json").read_text())
    return call("export", str(folder / f"{name}.toml"), "--runs", str(elsewhere), code=2)
