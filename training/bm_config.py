"""The tables of a recipe with `kind = "bm"`: what they hold, and what is allowed.

[model], [[rivals]], [train] and its phases, [export], [evaluate] ──► BmConfig
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from training.bm_connections import HiddenLinks, Links, VisibleLinks, connections
from training.bm_learning import LearningRule
from training.config import RecipeConfig, Table
from training.dbm import MeanField
from training.rbm_config import LEAST_HOLDOUT, EvaluateTable, ExportTable, Phase, TrainTable


class BmModelTable(Table):
    """`[model]`: the machine. Every visible unit is connected with every hidden one."""

    hidden: int = Field(16, ge=1, le=4096, description="Hidden units.")
    visible_links: VisibleLinks = Field(
        "all", description="Between pixels: all, the eight neighbours, or none."
    )
    hidden_links: HiddenLinks = Field("all", description="Between hidden units: all or none.")
    initial_scale: float = Field(
        0.01, gt=0, le=1, description="Standard deviation of the first weights."
    )

    def links(self, shape: tuple[int, int, int]) -> Links:
        """Which units are connected, for images of shape [C, H, W]."""
        return connections(
            shape,
            hidden=self.hidden,
            visible_links=self.visible_links,
            hidden_links=self.hidden_links,
        )


class Rival(BmModelTable):
    """`[[rivals]]`: a machine that learns in the same run, to compare with."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,31}$", description="What figures and files call it."
    )


class BmTrainTable(TrainTable):
    """`[train]`: how the machine, and its rivals, learn."""

    chains: Literal["persistent"] = "persistent"
    offsets: Literal["data", "none"] = Field(
        "data", description="What the centring offsets follow: the posterior of the data."
    )
    scan: Literal["blocks", "units", "random"] = Field(
        "blocks", description="Colour blocks, their units one by one, or in a random order."
    )
    gradient: Literal["sampled", "exact"] = Field(
        "sampled", description="exact enumerates both phases: 20 units at most."
    )
    posterior: Literal["mean-field", "gibbs"] = Field(
        "mean-field", description="Of hidden units given data, where these are connected."
    )
    posterior_sweeps: int = Field(5, ge=1, le=10_000, description="Clamped sweeps of `gibbs`.")
    mean_field_updates: int = Field(15, ge=1, le=1000, description="Most rounds of mean-field.")
    mean_field_tolerance: float = Field(
        1e-3, ge=0, lt=1, description="A round that moves no probability further is the last."
    )
    mean_field_damping: float = Field(
        0.5, ge=0, lt=1, description="Share of the old probabilities that a round keeps."
    )

    @model_validator(mode="after")
    def _runs_in_float32(self) -> BmTrainTable:
        if any(phase.chain_precision != "float32" for phase in self.phases):
            raise ValueError("chain_precision of a Boltzmann machine is float32: leave it out")
        return self

    def bm_rule(self, phase: Phase) -> LearningRule:
        """The learning rule of one phase."""
        return LearningRule(
            sweeps=phase.sweeps,
            scan=self.scan,
            gradient=self.gradient,
            posterior=self.posterior,
            posterior_sweeps=self.posterior_sweeps,
            mean_field=MeanField(
                updates=self.mean_field_updates,
                tolerance=self.mean_field_tolerance,
                damping=self.mean_field_damping,
            ),
            offset_rate=self.offset_rate if self.offsets == "data" else None,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            ema_decay=self.ema_decay,
        )


class BmExportTable(ExportTable):
    """`[export]`: as an RBM's, and how far an exported mean-field goes."""

    mean_field_updates: int = Field(
        20, ge=1, le=200, description="Rounds in the graphs of encode and score, always all."
    )

    @property
    def posterior(self) -> MeanField:
        """The mean-field of the exported graphs."""
        return MeanField(updates=self.mean_field_updates, tolerance=0.0, damping=0.5)


class BmEvaluateTable(EvaluateTable):
    """`[evaluate]`: as an RBM's, and how p(v) is found where hidden units are connected."""

    evidence_runs: int = Field(20, ge=1, le=10_000, description="AIS runs of each test image.")
    evidence_betas: int = Field(
        100, ge=2, le=1_000_000, description="From its mean-field to its posterior."
    )

    def quick(self) -> BmEvaluateTable:
        """The same with a twentieth of the temperatures."""
        return BmEvaluateTable.model_validate(super().quick().model_dump())


class BmConfig(RecipeConfig):
    """A recipe with `kind = "bm"`."""

    kind: Literal["bm"]
    model: BmModelTable = BmModelTable()
    rivals: tuple[Rival, ...] = Field((), description="Trained before it, by the same table.")
    train: BmTrainTable
    export: BmExportTable = BmExportTable()
    evaluate: BmEvaluateTable = BmEvaluateTable()

    @model_validator(mode="after")
    def _fits_together(self) -> BmConfig:
        names = [rival.name for rival in self.rivals]
        if len(set(names)) < len(names):
            raise ValueError(f"two rivals have one name: {', '.join(names)}")
        if self.data.holdout < LEAST_HOLDOUT:
            raise ValueError(
                f"data.holdout={self.data.holdout} must be at least {LEAST_HOLDOUT}: scores are "
                "calibrated with held-out images"
            )
        return self

    def trained_part(self) -> dict[str, object]:
        """What decides the machines' weights: a run can be resumed only with the same."""
        deciding = {"kind", "name", "seed", "data", "model", "rivals", "train"}
        return self.model_dump(mode="json", include=deciding)
