"""Every loss beside every other: the same network, the same images seen, several seeds.

[games] ──train_gan, once a game and seed──► the last average ──judge──► Fréchet, recall, classes

Nothing is chosen by these figures, neither a step nor a rate, so they are taken on test images. A
finished training is a file; an interrupted one goes on from its checkpoint.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from service.domain.fidelity import class_shares, frechet_distance, kl_to_uniform, manifold_figures
from training.benchmarks.inpainting import Work
from training.benchmarks.kept import kept_or_done
from training.benchmarks.losses_config import LossesConfig
from training.benchmarks.reports import Grid
from training.data import Dataset, load
from training.gan import Examples, Figures, train_gan
from training.judge import Bench, load_judge
from training.networks import Generator
from training.run import Interrupted, Run, TrainingDiverged

NEIGHBOURS = 5
MANIFOLD_IMAGES = 2000
SAMPLES_SEED = 7_777
COLUMNS = {
    "frechet": "Fréchet distance",
    "precision": "precision",
    "recall": "recall",
    "coverage": "coverage",
    "classes_kl": "KL of classes",
}
HIGHER_IS_BETTER = ("precision", "recall", "coverage")


def run_losses(config: LossesConfig, *, work: Work) -> dict[str, Any]:
    """Every game with every seed, as plain JSON values.

    Raises:
        Interrupted: a person asked to stop; what is finished is kept, and the training goes on.
        RunConflict: the folder holds results of another configuration.
    """
    train, test = load(config.data, "train"), load(config.data, "test")
    judge = load_judge(config.data.title)
    found: dict[str, list[dict[str, Any]]] = {game: [] for game in config.games}
    for seed, game in itertools.product(range(config.seeds), config.games):
        if work.stop():
            raise Interrupted(f"stopped before {game}, seed {seed}")
        made_from = {
            "seed": seed,
            "data": config.data.model_dump(mode="json", exclude_defaults=True),
            "samples": config.samples,
            "model": config.model.model_dump(mode="json", exclude_defaults=True),
            "train": config.training(game).model_dump(mode="json", exclude_defaults=True),
            "judge": judge.sha256,
        }
        trial = kept_or_done(
            work.folder / game / f"seed-{seed}.json",
            made_from=made_from,
            compute=partial(_trained, config, game, train, test, judge, seed=seed, work=work),
        )
        found[game].append(trial)
        work.on_done(f"{game}, seed {seed}", f"Fréchet distance {trial['frechet']:.3f}")
    return {
        "question": "losses of a GAN: the same network, the same images seen",
        "config": config.model_dump(mode="json"),
        "judge_sha256": judge.sha256,
        "games": found,
        "floor": _figures(train.images[: config.samples], test, judge),
    }


def _trained(
    config: LossesConfig,
    game: str,
    train: Dataset,
    test: Dataset,
    judge: Bench,
    *,
    seed: int,
    work: Work,
) -> dict[str, Any]:
    how = config.training(game)
    run = Run(work.folder / game / f"seed-{seed}", resume=True, config={"game": game, "seed": seed})
    try:
        players = train_gan(
            Examples(torch.from_numpy(train.images)),
            shape=config.model.shape(train.shape),
            config=how,
            seed=seed,
            run=run,
            judge=_unjudged,
            stop=work.stop,
        )
    except TrainingDiverged as error:
        lost = dict.fromkeys(COLUMNS, math.inf) | dict.fromkeys(HIGHER_IS_BETTER, 0.0)
        return lost | {"diverged": str(error)}
    finally:
        run.close()
    made = _drawn(players.average, config.samples)
    return _figures(made, test, judge) | {"steps": how.steps, "seconds": players.seconds}


def _unjudged(_generator: Generator, _step: int) -> Figures:
    """A collapse is what is measured: no training is given up for it, and no step is chosen."""
    return {"judge__spread": math.inf, "judge__frechet": math.inf}


@torch.no_grad()
def _drawn(generator: Generator, n: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    noise = torch.Generator().manual_seed(SAMPLES_SEED)
    z = torch.randn(n, generator.latent, generator=noise)
    return torch.cat([generator(part) for part in torch.split(z, 500)]).numpy()


def _figures(made: np.ndarray[Any, Any], test: Dataset, judge: Bench) -> dict[str, float]:
    n = min(len(made), len(test))
    seen, real = judge.look(made[:n]), judge.look(test.images[:n])
    some = min(MANIFOLD_IMAGES, n)
    k = min(NEIGHBOURS, some - 1)
    manifold = manifold_figures(real=real.features[:some], fake=seen.features[:some], k=k)
    shares = class_shares(seen.classes, n_classes=seen.probabilities.shape[1])
    return {
        "frechet": float(frechet_distance(seen.features, real.features)),
        "precision": float(manifold.precision),
        "recall": float(manifold.recall),
        "coverage": float(manifold.coverage),
        "classes_kl": float(kl_to_uniform(shares)),
    }


def losses_grid(results: Mapping[str, Any]) -> Grid:
    """A row a game: means over the seeds, ± half the range; the best of each column marked."""
    games = {game: trials for game, trials in results["games"].items() if trials}
    best = {
        key: (max if key in HIGHER_IS_BETTER else min)(_mean(t, key) for t in games.values())
        for key in COLUMNS
    }
    titles = results["config"]["games"]
    rows = [
        (
            titles[game]["title"],
            *(_cell(trials, key, best=best[key]) for key in COLUMNS),
            f"{_mean(trials, 'seconds'):.0f}",
        )
        for game, trials in games.items()
    ]
    rows.append(
        ("training images", *(_cell([results["floor"]], key, best=None) for key in COLUMNS), "")
    )
    seeds = max(len(trials) for trials in games.values())
    images = results["config"]["images"]
    title = f"losses, {images:,} images seen, mean of {seeds} seeds"
    return Grid(title=title, head=("loss", *COLUMNS.values(), "seconds"), rows=tuple(rows))


def _cell(trials: list[dict[str, float]], key: str, *, best: float | None) -> str:
    values = [trial[key] for trial in trials]
    mean = statistics.fmean(values)
    reach = (max(values) - min(values)) / 2 if len(values) > 1 and math.isfinite(mean) else 0.0
    text = f"{mean:.3f}" + (f" ± {reach:.3f}" if len(values) > 1 else "")
    return f"**{text}**" if best is not None and mean == best else text


def _mean(trials: list[dict[str, float]], key: str) -> float:
    return statistics.fmean(trial.get(key, 0.0) for trial in trials)
