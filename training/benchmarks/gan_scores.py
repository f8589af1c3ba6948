"""f-AnoGAN's scores of small GANs, one for each class that is taken as normal.

normal images ──train_gan──► G, D ──train_encoder──► E
izi = ‖x − G(E(x))‖²      izi_f = izi + κ‖f(x) − f(G(E(x)))‖²      (Schlegl et al. 2019, eq. 4)

The GANs see the normal images and nothing else: not even the step to keep is chosen by anything but
pixels of normal images, for a judge would know the anomalies.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from service.domain.fidelity import frechet_distance
from training.benchmarks.anomaly_config import AnomalyConfig
from training.benchmarks.normality import Normality, Rows, RowScores
from training.data import Dataset
from training.encoder import Frozen, IziF, train_encoder
from training.eyes import PixelEye
from training.gan import Examples, Figures, Judgement, train_gan
from training.gan_export import without_batch_norm
from training.networks import Encoder, Generator, Shape
from training.players import Players
from training.run import Run

Images = Float[np.ndarray, "n c side side"]
# The sides that the networks know; images between them are framed with paper.
SIDES = (28, 32, 64)
JUDGED = 500
JUDGEMENT_SEED = 99
ROWS_AT_ONCE = 500


def gan_scores(normal: Normality, config: AnomalyConfig) -> dict[str, RowScores]:
    """Train what is not trained yet; the scores by method.

    Raises:
        Interrupted: a person asked to stop; a checkpoint is written.
    """
    images = framed(normal.images.images)
    shape = Shape(
        channels=images.shape[1],
        side=images.shape[2],
        latent=config.gan.model.latent,
        width=config.gan.model.width,
    )
    data = Examples(torch.from_numpy(images))
    players = _players(data, shape, normal, config)
    frozen = _frozen(players, shape)
    encoder = _encoder(data, shape, frozen, normal, config)
    return {
        name: _scored(_izi(frozen, encoder, kappa=kappa), normal.images)
        for name, kappa in (("izi_f", config.gan.encoder.kappa), ("izi", 0.0))
    }


def framed(images: Float[np.ndarray, "n c h w"]) -> Images:
    """Images in the middle of the least square that the networks know, zeros around them.

    Raises:
        ValueError: they are larger than 64×64.
    """
    height, width = images.shape[2:]
    sides = [side for side in SIDES if side >= max(height, width)]
    if not sides:
        raise ValueError(f"images of {height}×{width} are larger than 64×64: set data.size")
    top, left = (sides[0] - height) // 2, (sides[0] - width) // 2
    below, right = sides[0] - height - top, sides[0] - width - left
    return np.pad(images, ((0, 0), (0, 0), (top, below), (left, right)))


def _players(data: Examples, shape: Shape, normal: Normality, config: AnomalyConfig) -> Players:
    run = _run(normal, "gan", config)
    try:
        return train_gan(
            data,
            shape=shape,
            config=config.gan.train,
            seed=config.seed,
            run=run,
            judge=_judgement(data),
            stop=normal.stop,
        )
    finally:
        run.close()


def _encoder(
    data: Examples, shape: Shape, frozen: Frozen, normal: Normality, config: AnomalyConfig
) -> Encoder:
    run = _run(normal, "encoder", config)
    try:
        return train_encoder(
            data,
            frozen=frozen,
            shape=shape,
            config=config.gan.encoder,
            seed=config.seed,
            run=run,
            stop=normal.stop,
        )
    finally:
        run.close()


def _run(normal: Normality, name: str, config: AnomalyConfig) -> Run:
    """Trained, gone on with, or only read, as far as it has come."""
    deciding = config.model_dump(mode="json", include={"seed", "data"})
    gan = config.gan.model_dump(mode="json", exclude_defaults=True)
    folder = normal.folder / f"class-{normal.digit}" / name
    return Run(folder, resume=True, config=deciding | {"gan": gan})


def _judgement(data: Examples) -> Judgement:
    """Fréchet distance of pixels, averaged to 7×7, to normal training images."""
    eye = PixelEye()
    real = eye.look(data.images[:JUDGED].numpy()).features

    @torch.no_grad()
    def judge(generator: Generator, step: int) -> Figures:  # noqa: ARG001
        noise = torch.Generator().manual_seed(JUDGEMENT_SEED)
        made = generator(torch.randn(JUDGED, generator.latent, generator=noise)).numpy()
        return {
            "judge__spread": float(made.std(0).mean()),
            "judge__frechet": frechet_distance(eye.look(made).features, real),
        }

    return judge


def _frozen(players: Players, shape: Shape) -> Frozen:
    """The generator that was kept, and the discriminator."""
    players.average.load_state_dict(players.best["average"])
    players.discriminator.eval().requires_grad_(False)
    generator = without_batch_norm(players.average)
    return Frozen(generator=generator, discriminator=players.discriminator, latent=shape.latent)


def _izi(frozen: Frozen, encoder: Encoder, *, kappa: float) -> IziF:
    return IziF(
        generator=frozen.generator,
        encoder=encoder,
        discriminator=frozen.discriminator,
        kappa=kappa,
    )


def _scored(izi: IziF, like: Dataset) -> RowScores:
    @torch.no_grad()
    def scored(rows: Rows) -> Float[np.ndarray, " n"]:
        images = torch.from_numpy(framed(rows.reshape(len(rows), *like.shape)))
        parts = [izi(part)[0] for part in torch.split(images, ROWS_AT_ONCE)]
        found: Float[np.ndarray, " n"] = torch.cat(parts).numpy()
        return found

    return scored
