"""Modes that generators of points capture: what each remedy against collapse is worth.

ring | grid ──points──► train_gan, once a method and seed ──2,500 points──► modes, quality, KL

PacGAN's protocol (Lin et al. 2018, §4.1): trials differ by their seed, and the generator is judged
as it is at the last step: none is chosen. A finished trial is a file, with its points beside it for
pictures, so that an interrupted benchmark goes on after it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from training.benchmarks.inpainting import Work
from training.benchmarks.kept import kept_or_done
from training.benchmarks.modes_config import ModesConfig
from training.data import load
from training.gan import Examples, Figures, Judgement, train_gan
from training.instruments import Instruments
from training.networks import Generator
from training.planar import JUDGED_POINTS, PLANAR_SETS, ModeFigures, PlanarSet, Points
from training.run import Interrupted, Run, TrainingDiverged

# Of the points that are judged, and of those that instruments watch: never of a training.
POINTS_SEED = 7_777
HELD_OUT = 2500


def run_modes(config: ModesConfig, *, work: Work, only_finished: bool = False) -> dict[str, Any]:
    """Every trial of every method on every set, or the finished ones, as plain JSON values.

    Raises:
        Interrupted: a person asked to stop; what is finished is kept, and the trial goes on.
        RunConflict: the folder holds results of another configuration.
    """
    found: dict[str, dict[str, list[dict[str, Any]]]] = {
        name: {method: [] for method in config.methods} for name in config.sets
    }
    # Seed by seed, so that all methods have as many trials wherever it is stopped.
    for seed in range(config.seed, config.seed + config.trials):
        for method, name in itertools.product(config.methods, config.sets):
            if work.stop():
                raise Interrupted(f"stopped before {method} on the {name}, seed {seed}")
            if only_finished and not _result(work, name, method, seed=seed).exists():
                continue
            trial = _trial(config, name, method, seed=seed, work=work)
            found[name][method].append(trial)
            work.on_done(
                f"{method} on the {name}, seed {seed}",
                f"{trial['captured']} modes, {trial['high_quality']:.1%}",
            )
    return {
        "question": "modes of ring and grid",
        "config": config.model_dump(mode="json"),
        "judged_points": JUDGED_POINTS,
        "sets": found,
        "floor": {name: asdict(_floor(PLANAR_SETS[name])) for name in config.sets},
    }


def _trial(config: ModesConfig, name: str, method: str, *, seed: int, work: Work) -> dict[str, Any]:
    path = _result(work, name, method, seed=seed)
    made_from = {
        "set": name,
        "seed": seed,
        "model": config.players(method).model_dump(mode="json", exclude_defaults=True),
        "train": config.training(method).model_dump(mode="json", exclude_defaults=True),
    }
    return kept_or_done(
        path,
        made_from=made_from,
        compute=lambda: trained(
            config, name, method, seed=seed, folder=path.with_suffix(""), work=work
        ),
    )


def _result(work: Work, name: str, method: str, *, seed: int) -> Path:
    return work.folder / name / method / f"seed-{seed}.json"


def trained(
    config: ModesConfig, name: str, method: str, *, seed: int, folder: Path, work: Work
) -> dict[str, Any]:
    """One trial: its figures, from the generator at its last step.

    A training that diverges has captured nothing; its figures say so.

    Raises:
        Interrupted: a person asked to stop; a checkpoint is written.
    """
    planar, train = PLANAR_SETS[name], config.training(method)
    data = load(name).images
    run = Run(folder, resume=True, config={"seed": seed, "set": name, "method": method})
    try:
        players = train_gan(
            Examples(as_points(data)),
            shape=config.players(method).shape(),
            config=train,
            seed=seed,
            run=run,
            judge=judgement(planar, train=data),
            stop=work.stop,
        )
    except TrainingDiverged as error:
        return asdict(planar.figures(np.full((1, 2), np.inf))) | {"diverged": str(error)}
    finally:
        run.close()
    points = drawn(players.average, planar, seed=POINTS_SEED)
    np.save(folder / "points.npy", points, allow_pickle=False)
    return asdict(planar.figures(points)) | {"seconds": round(players.seconds, 1)}


def as_points(images: Float[np.ndarray, "n 2 1 1"]) -> Float[torch.Tensor, "n 2"]:
    """Points in the square ±1, as the players see them."""
    return torch.from_numpy(2.0 * images.reshape(len(images), 2) - 1.0)


@torch.no_grad()
def drawn(generator: Generator, planar: PlanarSet, *, seed: int) -> Points:
    """As many points as are judged, in the set's own coordinates."""
    noise = torch.Generator().manual_seed(seed)
    z = torch.randn(JUDGED_POINTS, generator.latent, generator=noise)
    points: Points = generator(z).numpy() * planar.reach
    return points


def judgement(planar: PlanarSet, *, train: Float[np.ndarray, "n 2 1 1"]) -> Judgement:
    """The instruments, for the log and the early warning; they choose nothing here."""
    held_out, _ = planar.draw(HELD_OUT, seed=POINTS_SEED)
    instruments = Instruments.of(planar.name, held_out=planar.to_unit(held_out), train=train)

    def judge(generator: Generator, step: int) -> Figures:  # noqa: ARG001
        made = planar.to_unit(drawn(generator, planar, seed=POINTS_SEED + 1))
        # A collapse is what is measured: no training is given up for it.
        return instruments.read(made) | {"judge__spread": math.inf}

    return judge


def _floor(planar: PlanarSet) -> ModeFigures:
    return planar.figures(planar.draw(JUDGED_POINTS, seed=POINTS_SEED)[0])
