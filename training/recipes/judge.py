"""The recipe of a judge: train a classifier, test it once, write its weights.

[data] ──► train_judge ──► training/judges/<data>.safetensors, with its accuracy and sha256 told
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console

from service.contract import Quality
from training.config import ConfigError, Recipe, RecipeConfig, Workspace
from training.data import Dataset, load
from training.judge import JUDGES, JudgeTraining, dump_judge, parse_judge, train_judge
from training.run import Interrupted, Run, stop_on_signals


class JudgeConfig(RecipeConfig):
    """A recipe with `kind = "judge"`."""

    kind: Literal["judge"]
    train: JudgeTraining = JudgeTraining()


def train(config: JudgeConfig, workspace: Workspace) -> Path:
    """Train from scratch and write the judge's file; a smoke run writes into its own folder.

    Raises:
        ConfigError: the data has no labels, or is not 28×28 in grey.
        Interrupted: a signal came; there is nothing to go on from, for it takes minutes.
    """
    data = _labelled(load(config.data, "train"))
    total = config.train.epochs * (len(data) // config.train.batch)
    run = Run(workspace.run, resume=workspace.resume, config=config.model_dump(mode="json"))
    try:
        with stop_on_signals() as stop, run.progress("judge", total=total) as line:

            def on_step(step: int, loss: float) -> None:
                line.advance(images=config.train.batch, loss=loss)
                if step % 50 == 0:
                    run.record(step, judge__loss=loss)
                if stop():
                    raise Interrupted(f"stopped at step {step:,} of {total:,}")

            judge = train_judge(
                torch.from_numpy(data.images),
                torch.from_numpy(data.labels),
                how=config.train,
                seed=config.seed,
                on_step=on_step,
            )
    finally:
        run.close()
    content = dump_judge(judge)
    folder = workspace.run if workspace.smoke else JUDGES
    path = folder / f"{config.data.title}.safetensors"
    path.write_bytes(content)
    _tell(content, load(config.data, "test"))
    return path


def export(config: JudgeConfig, workspace: Workspace) -> Path:  # noqa: ARG001
    """A judge is no package: there is nothing to export.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(f"{config.name} is a judge: `reverie train` writes its file, no package")


def evaluate(package: Path, config: JudgeConfig, quick: bool, device: str) -> Sequence[Quality]:  # noqa: ARG001
    """A judge is no package, and has no figures of one.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(f"{config.name} is a judge: `reverie train` tells its accuracy")


def _labelled(data: Dataset) -> Dataset:
    if data.labels is None or data.shape != (1, 28, 28):
        raise ConfigError(f"a judge wants labelled images of 1×28×28, and {data.name} has none")
    return data


def _tell(content: bytes, test: Dataset) -> None:
    bench = parse_judge(content)
    if test.labels is not None:
        right = bench.accuracy(test.images, test.labels)
        Console(stderr=True).print(
            f"{right:.2%} of {len(test):,} test images right; {len(content):,} bytes, "
            f"sha256 {bench.sha256}"
        )


RECIPE = Recipe(config=JudgeConfig, train=train, export=export, evaluate=evaluate)
