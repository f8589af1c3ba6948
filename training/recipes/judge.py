"""The recipe of a judge: train a classifier, write its weights, publish it as a package.

[data] ──► train_judge ──► training/judges/<data>.safetensors, with its accuracy and sha256 told
training/judges/<data>.safetensors ──► graphs ──► models_store/<name>/<version>/
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
from training.judge_export import error_figure, publish_judge
from training.package import Package
from training.run import Interrupted, Run, stop_on_signals


class JudgeConfig(RecipeConfig):
    """A recipe with `kind = "judge"`."""

    kind: Literal["judge"]
    train: JudgeTraining = JudgeTraining()


def train(config: JudgeConfig, workspace: Workspace) -> Path:
    """Train from scratch, write the judge's file, and publish it.

    A smoke run writes into its own folder.

    Raises:
        ConfigError: the data has no labels, or is not 28×28 or 32×32.
        Interrupted: a signal came; there is nothing to go on from, for it takes minutes.
    """
    data = _labelled(load(config.data, "train"))
    total = _steps(config, len(data))
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
    return export(config, workspace)


def export(config: JudgeConfig, workspace: Workspace) -> Path:
    """Publish the committed weights as a package; nothing is trained.

    Raises:
        ConfigError: there are no weights, or the test images have no labels.
        ExportError: a graph disagrees with its module.
    """
    folder = workspace.run if workspace.smoke else JUDGES
    path = folder / f"{config.data.title}.safetensors"
    if not path.exists():
        raise ConfigError(f"there is no {path.name} yet: `reverie train` this recipe makes it")
    test = _labelled(load(config.data, "test"))
    bench = parse_judge(path.read_bytes())
    return publish_judge(workspace.store, config, workspace, bench, test, steps=_steps(config))


def evaluate(package: Path, config: JudgeConfig, quick: bool, device: str) -> Sequence[Quality]:  # noqa: ARG001
    """The error of a package's `classify` on test images; ONNX Runtime on the CPU."""
    opened = Package(package)
    test = _labelled(load(config.data, "test"))
    told = opened.run("classify", x=test.images)["probabilities"].argmax(1)
    command = f"reverie evaluate {opened.manifest.id}"
    return (error_figure(int((told != test.labels).sum()), len(test), command=command),)


def _steps(config: JudgeConfig, images: int | None = None) -> int:
    """Updates of a whole training."""
    n = len(load(config.data, "train")) if images is None else images
    return config.train.epochs * (n // config.train.batch)


def _labelled(data: Dataset) -> Dataset:
    if data.labels is None or data.shape[1:] not in {(28, 28), (32, 32)}:
        raise ConfigError(f"a judge wants labelled images of 28×28 or 32×32; {data.name} has none")
    return data


def _tell(content: bytes, test: Dataset) -> None:
    bench = parse_judge(content)
    if test.labels is not None:
        right = bench.accuracy(test.images, test.labels)
        Console(stderr=True).print(
            f"{right:.2%} of {len(test):,} test images right; {len(content):,} bytes, "
            f"sha256 {bench.sha256}"
        )


RECIPE = Recipe(config=JudgeConfig, train=train, export=export, evaluate=evaluate, needs_run=False)
