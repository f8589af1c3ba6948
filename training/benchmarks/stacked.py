"""Stacked digits: how many of 1,000 modes a GAN makes, against the images it has seen.

three digits as channels ──train_gan──► checkpoints of the average ──26,000 samples──► judge of each
channel ──► modes seen, KL(modes of samples ‖ uniform)

PacGAN's protocol (Lin et al. 2018, §4.2; Metz et al. 2017): a mode is seen if one sample is read as
its three digits. Real test images, as many, are the floor of the divergence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field

from service.contract import NAME_PATTERN
from service.domain.fidelity import class_shares, kl_to_uniform
from training.benchmarks.inpainting import Work
from training.config import Table, checked, read_document
from training.data import DataConfig, Dataset, load, split_holdout
from training.eyes import StackedEye, eye_for
from training.gan import Examples, Figures, Judgement, train_gan
from training.gan_options import GanTraining
from training.instruments import Instruments
from training.networks import Generator, Shape
from training.run import Run
from training.sheets import png_bytes, sheet
from training.turns import series

JUDGED_SAMPLES = 26_000
WATCHED_SAMPLES = 2000
SAMPLES_SEED = 26_000
MODES = 1000


class PlayersTable(Table):
    """`[model]`: the convolutional players' sizes."""

    latent: int = Field(64, ge=2, le=4096, description="Numbers in z, standard normal.")
    width: int = Field(32, ge=4, le=512, description="Channels at half the resolution.")


class StackedConfig(Table):
    """The whole file: `training/configs/stacked-mnist.toml`."""

    name: str = Field(pattern=NAME_PATTERN, description="Of the folder under runs/.")
    seed: int = Field(0, ge=0, lt=2**53)
    data: DataConfig = DataConfig(name="stacked-mnist", holdout=5000)
    samples: int = Field(JUDGED_SAMPLES, ge=1000, description="That modes are counted among.")
    model: PlayersTable = PlayersTable()
    train: GanTraining = GanTraining()


def load_stacked_config(
    path: Path, overrides: Sequence[str] = (), *, smoke: bool = False
) -> StackedConfig:
    """Read the file; the arguments are those of `training.config.load_config`.

    Raises:
        ConfigError: the file is missing or no TOML, or a key or value is wrong.
    """
    document = read_document(path, overrides, smoke=smoke)
    return checked(document, StackedConfig, where=path.name)


def run_stacked(config: StackedConfig, *, work: Work) -> dict[str, Any]:
    """Train, or go on, and count modes at every judgement, as plain JSON values.

    Raises:
        Interrupted: a person asked to stop; a checkpoint is written.
    """
    eye = eye_for("stacked-mnist", (3, 28, 28))
    assert isinstance(eye, StackedEye)
    train, held_out = split_holdout(load(config.data), config.data.holdout, config.seed)
    instruments = Instruments.of(
        "stacked-mnist", held_out=held_out.images[:WATCHED_SAMPLES], train=train.images
    )
    run = Run(
        work.folder, resume=True, config=config.model_dump(mode="json", exclude_defaults=True)
    )
    try:
        players = train_gan(
            Examples(torch.from_numpy(train.images)),
            shape=Shape(channels=3, latent=config.model.latent, width=config.model.width),
            config=config.train,
            seed=config.seed,
            run=run,
            judge=_judgement(config, instruments, run=run),
            stop=work.stop,
        )
    finally:
        run.close()
    test = load(config.data, "test")
    return {
        "question": "modes of stacked digits",
        "config": config.model_dump(mode="json"),
        "samples": config.samples,
        "judge": eye.bench.sha256,
        "training_seconds": round(players.seconds, 1),
        "figures": against_images_seen(work.folder / "metrics.jsonl", batch=config.train.batch),
        "floor": floor(eye, test, n=config.samples, seed=config.seed),
    }


def _judgement(config: StackedConfig, instruments: Instruments, *, run: Run) -> Judgement:
    """Instruments on the first samples, modes among all of them, and a sheet."""

    def judge(generator: Generator, step: int) -> Figures:
        made = drawn(generator, n=config.samples)
        numbers = instruments.eye.look(made).classes
        assert numbers is not None, "stacked digits are read as numbers"
        captured, divergence = modes_seen(numbers)
        shown = sheet(made[:100], columns=10)
        run.sheet("samples", png_bytes(shown), shown, step)
        figures = instruments.read(made[:WATCHED_SAMPLES])
        return figures | {"stacked__modes": float(captured), "stacked__reverse_kl": divergence}

    return judge


@torch.no_grad()
def drawn(generator: Generator, *, n: int, batch: int = 500) -> Float[np.ndarray, "n 3 28 28"]:
    """The same codes at every judgement."""
    noise = torch.Generator().manual_seed(SAMPLES_SEED)
    device = next(generator.parameters()).device
    codes = torch.randn(n, generator.latent, generator=noise)
    parts = [generator(z.to(device)).cpu() for z in torch.split(codes, batch)]
    made: Float[np.ndarray, "n 3 28 28"] = torch.cat(parts).numpy()
    return made


def modes_seen(numbers: Int[np.ndarray, " n"]) -> tuple[int, float]:
    """How many of the thousand numbers there are, and KL(their shares ‖ uniform) in nats."""
    shares = class_shares(numbers, n_classes=MODES)
    return int((shares > 0).sum()), kl_to_uniform(shares)


def against_images_seen(log: Path, *, batch: int) -> list[dict[str, float]]:
    """What a run's log says of modes, by the real images that were shown until then."""
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    modes, divergences = (
        dict(series(lines, name)) for name in ("stacked__modes", "stacked__reverse_kl")
    )
    return [
        {"images_seen": step * batch, "captured": int(modes[step]), "reverse_kl": divergences[step]}
        for step in sorted(modes)
    ]


def floor(eye: StackedEye, test: Dataset, *, n: int, seed: int) -> dict[str, float]:
    """The same of real test images: each channel's digits drawn anew, for there are 10,000 only."""
    generator = np.random.default_rng(seed)
    digits = [
        eye.bench.look(test.images[:, c : c + 1]).classes[generator.integers(len(test), size=n)]
        for c in range(3)
    ]
    captured, divergence = modes_seen(100 * digits[0] + 10 * digits[1] + digits[2])
    return {"captured": captured, "reverse_kl": divergence}
