"""Make the pictures of docs/mode-collapse.md anew: `python docs/collapse.py`.

runs/modes/<set>/<method>/seed-N/{points.npy, metrics.jsonl} ──► docs/images/modes-*.png
runs/stacked-mnist/samples ──► docs/images/stacked-samples.png

It draws what `reverie benchmark modes` and `stacked` left. No trial is chosen: the first is drawn.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from training.benchmarks.modes_config import ModesConfig, load_modes_config
from training.planar import PLANAR_SETS
from training.turns import series

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs/images"
WATCHED = {
    "judge__modes": "modes captured",
    "judge__high_quality": "high quality",
    "judge__recall": "recall",
    "judge__coverage": "coverage",
    "judge__reverse_kl": "reverse KL (nats)",
    "accuracy__pairs": "D right about pairs",
}
PER_ROW = 4


def scatter(ax: Axes, name: str, points: np.ndarray, *, title: str) -> None:
    """Points of one generator over the modes of its set."""
    planar = PLANAR_SETS[name]
    found = planar.figures(points)
    ax.scatter(*planar.centres.T, s=60, facecolors="none", edgecolors="tab:red", linewidths=0.6)
    ax.scatter(*points.T, s=1, color="black", alpha=0.3)
    ax.set(xlim=(-planar.reach, planar.reach), ylim=(-planar.reach, planar.reach), aspect="equal")
    ax.set(xticks=[], yticks=[])
    share = f"{found.captured} of {found.modes}, {found.high_quality:.0%}"
    ax.set_title(f"{title}\n{share}", fontsize=8)


def draw_points(config: ModesConfig, name: str, runs: Path) -> None:
    """Every method that has finished its first trial, and real points."""
    folder = runs / config.name / name
    there = [m for m in config.methods if (folder / m / first(config) / "points.npy").exists()]
    rows = -(-(len(there) + 1) // PER_ROW)
    figure, axes = plt.subplots(rows, PER_ROW, figsize=(2.0 * PER_ROW, 2.3 * rows), squeeze=False)
    for ax in axes.ravel():
        ax.axis("off")
    for ax, method in zip(axes.ravel(), there, strict=False):
        ax.axis("on")
        points = np.load(folder / method / first(config) / "points.npy", allow_pickle=False)
        scatter(ax, name, points, title=config.methods[method].title)
    real = axes.ravel()[len(there)]
    real.axis("on")
    scatter(real, name, PLANAR_SETS[name].draw(2500, seed=0)[0], title="real points")
    save(figure, f"modes-{name}.png")


def draw_instruments(config: ModesConfig, name: str, methods: Sequence[str], runs: Path) -> None:
    """The instruments of some methods' first trials, by step."""
    figure, axes = plt.subplots(2, 3, figsize=(9, 4.2), sharex=True)
    for method in methods:
        log = runs / config.name / name / method / first(config) / "metrics.jsonl"
        if not log.exists():
            continue
        lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
        for ax, (figure_name, title) in zip(axes.ravel(), WATCHED.items(), strict=True):
            values = series(lines, figure_name)
            ax.plot(*zip(*values, strict=True), label=config.methods[method].title, linewidth=1)
            ax.set_title(title, fontsize=8)
            ax.tick_params(labelsize=7)
    axes[0, 0].legend(fontsize=7, frameon=False)
    for ax in axes[1]:
        ax.set_xlabel("step", fontsize=8)
    save(figure, f"modes-{name}-instruments.png")


def keep_stacked(runs: Path) -> None:
    """The last sheet of `reverie benchmark stacked`: samples of fixed codes, none chosen."""
    sheets = sorted((runs / "stacked-mnist" / "samples").glob("samples-*.png"))
    if sheets:
        shutil.copyfile(sheets[-1], IMAGES / "stacked-samples.png")


def first(config: ModesConfig) -> str:
    """The folder of the first trial."""
    return f"seed-{config.seed}"


def save(figure: plt.Figure, name: str) -> None:
    """A small PNG."""
    figure.tight_layout()
    figure.savefig(IMAGES / name, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--config", type=Path, default=ROOT / "training/configs/modes.toml")
    words.add_argument("--runs", type=Path, default=ROOT / "runs")
    given = words.parse_args()
    checked = load_modes_config(given.config)
    for planar_set in checked.sets:
        draw_points(checked, planar_set, given.runs)
        draw_instruments(checked, planar_set, ("gan", "r3gan"), given.runs)
    keep_stacked(given.runs)
