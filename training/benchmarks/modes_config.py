"""What the modes benchmark is run with: `training/configs/modes.toml`.

TOML ──[smoke], --set──► ModesConfig: sets of points, one game, and methods that each change it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from service.contract import NAME_PATTERN
from training.config import ConfigError, Table, checked, merge, read_document
from training.gan_options import GanTraining
from training.shapes import Norm, PointShape


class PlayersTable(Table):
    """`[model]`: the multilayer perceptrons that play."""

    latent: int = Field(2, ge=1, le=4096, description="Numbers in z, standard normal.")
    width: int = Field(128, ge=4, le=4096, description="Units of a hidden layer.")
    depth: int = Field(3, ge=1, le=20, description="Hidden layers.")
    choices: int = Field(
        0,
        ge=0,
        le=1000,
        description="Pieces of the output that the first latents choose among, so that the "
        "generator need not bend one surface through all modes; D has as many logits, and takes "
        "the largest. 0: none.",
    )
    sharpness: float = Field(10.0, gt=0, description="How sharply they choose.")
    waves: int = Field(
        0, ge=0, le=20, description="Frequencies of sines and cosines that D sees the points in."
    )
    generator_norm: Norm = Field("batch", description="Normalisation in G.")

    @model_validator(mode="after")
    def _has_latents_to_choose_by(self) -> PlayersTable:
        if self.choices >= max(self.latent, 1):
            raise ValueError(f"choices={self.choices} needs a larger latent than {self.latent}")
        return self

    def shape(self) -> PointShape:
        """The same for the players."""
        return PointShape(
            size=2,
            latent=self.latent,
            width=self.width,
            depth=self.depth,
            classes=self.choices,
            unlabelled=self.choices > 0,
            sharpness=self.sharpness,
            waves=self.waves,
            generator_norm=self.generator_norm,
        )


class Method(Table):
    """`[methods.NAME]`: what a method changes in `[model]` and `[train]`."""

    title: str = Field(description="As a table has it.")
    model: Mapping[str, Any] = Field({}, description="Overrides of [model].")
    train: Mapping[str, Any] = Field({}, description="Overrides of [train].")


class ModesConfig(Table):
    """The whole file."""

    name: str = Field(pattern=NAME_PATTERN, description="Of the folder under runs/.")
    sets: tuple[Literal["ring", "grid"], ...] = Field(("ring", "grid"), min_length=1)
    trials: int = Field(10, ge=1, le=1000, description="Trials of each method on each set.")
    seed: int = Field(0, ge=0, lt=2**40, description="Of the first trial; the next has the next.")
    model: PlayersTable = PlayersTable()
    train: GanTraining = GanTraining()
    methods: Mapping[str, Method] = Field(min_length=1)

    @model_validator(mode="after")
    def _methods_make_sense(self) -> ModesConfig:
        for name in self.methods:
            try:
                self.players(name)
                self.training(name)
            except ValidationError as error:
                fault = error.errors(include_url=False)[0]
                where = ".".join(str(part) for part in fault["loc"])
                raise ValueError(f"methods.{name}: {where} {fault['msg']}") from error
        return self

    def only(self, names: Sequence[str]) -> ModesConfig:
        """The same with these methods alone; all, if none is named.

        Raises:
            ConfigError: a method is not in the file.
        """
        unknown = [name for name in names if name not in self.methods]
        if unknown:
            raise ConfigError(
                f"method {unknown[0]!r} is not in the file, which has {', '.join(self.methods)}"
            )
        chosen = {name: self.methods[name] for name in names or self.methods}
        return self.model_copy(update={"methods": chosen})

    def players(self, method: str) -> PlayersTable:
        """The players of a method."""
        base = self.model.model_dump(exclude_unset=True)
        return PlayersTable.model_validate(merge(base, self.methods[method].model))

    def training(self, method: str) -> GanTraining:
        """The game of a method."""
        base = self.train.model_dump(exclude_unset=True)
        return GanTraining.model_validate(merge(base, self.methods[method].train))


def load_modes_config(
    path: Path, overrides: Sequence[str] = (), *, smoke: bool = False
) -> ModesConfig:
    """Read the file; the arguments are those of `training.config.load_config`.

    Raises:
        ConfigError: the file is missing or no TOML, or a key or value is wrong.
    """
    document = read_document(path, overrides, smoke=smoke)
    return checked(document, ModesConfig, where=path.name)
