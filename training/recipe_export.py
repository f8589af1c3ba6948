"""How every recipe of a Boltzmann machine ends: its export is checked, measured, then published.

newest checkpoint ──► machine ──publish──► draft package ──parity──► figures ──publish──► package
package ──► figures, again
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.console import Console

from service.contract import PackageError, Quality
from training.bm_config import BmConfig
from training.config import Workspace
from training.data import Dataset, load
from training.dbm_config import DbmConfig
from training.dbn_config import DbnConfig
from training.package import Package
from training.rbm_config import RbmConfig
from training.rbm_evaluation import EvaluationData
from training.recipe_data import training_set
from training.run import newest_checkpoint

M = TypeVar("M")
FLOAT_WEIGHTS = "averaged float32 weights, before rounding"
BoltzmannConfig = RbmConfig | BmConfig | DbmConfig | DbnConfig
# What a family gives, of one machine:
Publish = Callable[..., Path]  # (store, *, figures, draft=None)
PackageFigures = Callable[..., list[Quality]]  # (package, data, *, table, device, command)
FloatFigures = Callable[..., Sequence[Quality]]  # (data, *, command)


@dataclass(frozen=True)
class Finished(Generic[M]):
    """The averaged machine of a training, and what it took."""

    machine: M
    steps: int
    seconds: float


def finished(
    workspace: Workspace, restore: Callable[[dict[str, Any]], M | None], *, whole: str
) -> Finished[M]:
    """What the newest checkpoint holds.

    Args:
        workspace: whose run it is.
        restore: the machine of a checkpoint, None of one from before it began.
        whole: what this kind calls its machine.

    Raises:
        PackageError: there is no checkpoint of it.
    """
    checkpoint = newest_checkpoint(workspace.run)
    machine = None if checkpoint is None else restore(checkpoint)
    if checkpoint is None or machine is None:
        raise PackageError(
            f"{workspace.run} has no checkpoint of {whole} to export: train on with --resume"
        )
    return Finished(machine, int(checkpoint["step"]), float(checkpoint["seconds"]))


def publish_measured(
    config: BoltzmannConfig,
    workspace: Workspace,
    seen: Dataset,
    *,
    publish: Publish,
    check: Callable[[Package], None],
    figures: PackageFigures,
    float_figures: FloatFigures,
    place: int,
) -> Path:
    """Check and measure a draft, then publish; returns the package's folder.

    Args:
        config: the recipe.
        workspace: where it works.
        seen: the images that were trained on.
        publish: writes the package, with its pictures where a draft can draw them.
        check: raises PackageError where the draft's graphs disagree with the machine.
        figures: of a package.
        float_figures: of the weights before rounding.
        place: how many of the draft's figures stand before those.
    """
    console = Console(stderr=True)
    console.print("exporting a draft")
    draft = Package(publish(workspace.run / "draft", figures=()))
    check(draft)
    console.print("evaluating the exported weights")
    data = EvaluationData(train=seen, test=load(config.data, "test"))
    measured = figures(
        draft,
        data,
        table=config.evaluate,
        device=workspace.device,
        command=f"reverie evaluate {config.name}@{config.version}",
    )
    measured[place:place] = float_figures(data, command=f"reverie export {workspace.run}")
    return publish(workspace.store, figures=measured, draft=draft)


def evaluation(
    figures: PackageFigures,
) -> Callable[[Path, BoltzmannConfig, bool, str], Sequence[Quality]]:
    """A recipe's `evaluate`: a package's figures again, from its files."""

    def evaluate(
        package: Path, config: BoltzmannConfig, quick: bool, device: str
    ) -> Sequence[Quality]:
        opened = Package(package)
        table = config.evaluate.quick() if quick else config.evaluate
        command = f"reverie evaluate {opened.manifest.id}" + (" --quick" if quick else "")
        data = EvaluationData(train=training_set(config), test=load(config.data, "test"))
        return figures(opened, data, table=table, device=device, command=command)

    return evaluate
