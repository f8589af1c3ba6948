"""What the losses benchmark is run with: `training/configs/losses.toml`.

TOML ──[smoke], --set──► LossesConfig: one data set, one network, and games that each change a loss
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from service.contract import NAME_PATTERN
from training.config import Table, checked, merge, read_document
from training.data import DataConfig
from training.gan_config import ModelTable
from training.gan_options import GanTraining


class Game(Table):
    """`[games.NAME]`: a loss, with the remedies that it needs."""

    title: str = Field(description="As a table has it.")
    train: Mapping[str, Any] = Field({}, description="Overrides of [train].")


class LossesConfig(Table):
    """The whole file."""

    name: str = Field(pattern=NAME_PATTERN, description="Of the folder under runs/.")
    data: DataConfig
    images: int = Field(64_000, ge=2, description="Real images that each discriminator is shown.")
    seeds: int = Field(3, ge=1, le=100, description="Trainings of each game, of seeds 0, 1, …")
    samples: int = Field(5000, ge=20, description="Judged images of each generator.")
    model: ModelTable = ModelTable()
    train: GanTraining = GanTraining()
    games: Mapping[str, Game] = Field(min_length=1)

    @model_validator(mode="after")
    def _games_make_sense(self) -> LossesConfig:
        for name in self.games:
            try:
                self.training(name)
            except ValidationError as error:
                fault = error.errors(include_url=False)[0]
                where = ".".join(str(part) for part in fault["loc"])
                raise ValueError(f"games.{name}: {where} {fault['msg']}") from error
        return self

    def training(self, game: str) -> GanTraining:
        """The game's table, with as many steps as `images` last."""
        base = self.train.model_dump(exclude_unset=True)
        how = GanTraining.model_validate(merge(base, self.games[game].train))
        steps = max(self.images // (how.batch * how.n_critic), 1)
        pace = {"steps": steps, "judge_every": steps, "save_every": min(how.save_every, steps)}
        return how.model_copy(update=pace)


def load_losses_config(
    path: Path, overrides: Sequence[str] = (), *, smoke: bool = False
) -> LossesConfig:
    """Read the file; the arguments are those of `training.config.load_config`.

    Raises:
        ConfigError: the file is missing or no TOML, or a key or value is wrong.
    """
    document = read_document(path, overrides, smoke=smoke)
    return checked(document, LossesConfig, where=path.name)
