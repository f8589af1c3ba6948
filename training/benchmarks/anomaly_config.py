"""What anomaly protocol A is run with: `training/configs/anomaly-rbm.toml`.

TOML ──[smoke], --set──► AnomalyConfig
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, model_validator

from service.contract import NAME_PATTERN
from training.config import Table, checked, read_document
from training.data import DataConfig
from training.encoder import EncoderTraining
from training.gan import GanTraining
from training.gan_config import ModelTable as GanSizes
from training.rbm_config import ModelTable, RbmTrainTable


class BackgroundTable(Table):
    """`[background]`: the machine that a ratio divides by, of normal images that are turned."""

    copies: int = Field(
        2, ge=1, le=100, description="Turned copies of each image; fewer epochs make up for them."
    )


class EveryoneTable(Table):
    """`[everyone]`: the machine that has seen all classes, which is outside the protocol."""

    epochs: int = Field(4, ge=1, le=100_000, description="Passes over all classes.")


class BaselinesTable(Table):
    """`[baselines]`: methods without a generative model."""

    neighbours: int = Field(5, ge=1, description="k of kNN; the score is their mean distance.")
    trees: int = Field(300, ge=1, description="Of the isolation forest.")
    components: tuple[int, ...] = Field(
        (16, 32, 64), min_length=1, description="Of PCA; held-out training images choose one."
    )


class GanTable(Table):
    """`[gan]`: a small GAN of the normal images and its encoder, for f-AnoGAN's scores."""

    model: GanSizes = GanSizes(latent=32, width=16)
    train: GanTraining = GanTraining(
        steps=1500,
        gamma_real=0.2,
        gamma_fake=0.2,
        final_gamma=0.2,
        average=0.995,
        judge_every=250,
        save_every=250,
        precision="bfloat16",
    )
    encoder: EncoderTraining = EncoderTraining(steps=1000, save_every=250)


class AnomalyConfig(Table):
    """The whole file."""

    name: str = Field(pattern=NAME_PATTERN, description="Of the folder under runs/.")
    seed: int = Field(0, ge=0, lt=2**53)
    data: DataConfig
    alpha: float = Field(0.05, gt=0, lt=1, description="Level at which p-values are checked.")
    model: ModelTable
    train: RbmTrainTable
    background: BackgroundTable = BackgroundTable()
    everyone: EveryoneTable = EveryoneTable()
    gan: GanTable = GanTable()
    baselines: BaselinesTable = BaselinesTable()

    @model_validator(mode="after")
    def _has_one_phase(self) -> AnomalyConfig:
        if len(self.train.phases) != 1:
            raise ValueError(
                f"train.phases has {len(self.train.phases)}: give one, since backgrounds are "
                "trained for other numbers of epochs"
            )
        return self

    @property
    def epochs(self) -> int:
        """Passes over the normal images."""
        return self.train.phases[0].epochs


def load_anomaly_config(
    path: Path, overrides: Sequence[str] = (), *, smoke: bool = False
) -> AnomalyConfig:
    """Read the file; the arguments are those of `training.config.load_config`.

    Raises:
        ConfigError: the file is missing or no TOML, or a key or value is wrong.
    """
    document = read_document(path, overrides, smoke=smoke)
    return checked(document, AnomalyConfig, where=path.name)
