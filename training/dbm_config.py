"""The tables of a recipe with `kind = "dbm"`: what they hold, and what is allowed.

[model], [[pretrain]], [train] and its phases, [export], [evaluate] ──► DbmConfig
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from training.classifier import ClassifyTable
from training.config import RecipeConfig, Table
from training.dbm import MeanField
from training.dbm_learning import LearningRule as DbmRule
from training.rbm_config import (
    LEAST_HOLDOUT,
    START_PATTERN,
    EvaluateTable,
    ExportTable,
    Phase,
    TrainTable,
)


class DeepModelTable(Table):
    """`[model]`: the machine."""

    hidden: tuple[int, ...] = Field(
        (500, 1000), min_length=2, description="Units of each hidden layer, the lowest first."
    )
    initial_scale: float = Field(
        0.01, gt=0, le=1, description="Standard deviation of the first weights."
    )

    @model_validator(mode="after")
    def _has_units(self) -> DeepModelTable:
        if not all(1 <= units <= 65536 for units in self.hidden):
            raise ValueError(f"hidden={list(self.hidden)} must lie in 1…65536 each")
        return self


class DbmModelTable(DeepModelTable):
    """`[model]` of a machine that may begin as a restricted one."""

    start: str | None = Field(
        None,
        pattern=START_PATTERN,
        description="A published restricted machine that is the first layer, with those above it "
        "near 0, in place of [[pretrain]]: mnist-rbm@1.",
    )


class JointTable(TrainTable):
    """`[train]`: how all layers learn together."""

    chains: Literal["persistent"] = "persistent"
    offsets: Literal["data", "none"] = Field(
        "data", description="What the centring offsets follow: the mean-field of the data."
    )
    learning_rate: float = Field(0.02, gt=0, le=10, description="At the start.")
    mean_field_updates: int = Field(
        25, ge=1, le=10_000, description="Most rounds of mean-field an update."
    )
    mean_field_tolerance: float = Field(
        1e-3, ge=0, lt=1, description="A round that moves no probability further is the last."
    )
    mean_field_damping: float = Field(
        0.0, ge=0, lt=1, description="Share of the old probabilities that a round keeps."
    )
    posterior_sweeps: int = Field(
        0,
        ge=0,
        le=1000,
        description="Gibbs sweeps of the hidden layers from mean-field, with the data held; 0 "
        "learns from mean-field itself: the bound, in place of the likelihood.",
    )
    upper_share: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="Rate of the layers above the first, a share of the rate; more than 1 where "
        "they are new and the first is not.",
    )

    def joint_rule(self, phase: Phase) -> DbmRule:
        """The learning rule of one phase."""
        return DbmRule(
            sweeps=phase.sweeps,
            mean_field=MeanField(
                updates=self.mean_field_updates,
                tolerance=self.mean_field_tolerance,
                damping=self.mean_field_damping,
            ),
            posterior_sweeps=self.posterior_sweeps,
            offset_rate=self.offset_rate if self.offsets == "data" else None,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            ema_decay=self.ema_decay,
            precision=phase.chain_precision,
            upper_share=self.upper_share,
        )


class DbmExportTable(ExportTable):
    """`[export]`: as an RBM's, and how far an exported mean-field goes."""

    mean_field_updates: int = Field(
        25, ge=1, le=200, description="Rounds in the graphs of encode and score, always all."
    )


class DbmConfig(RecipeConfig):
    """A recipe with `kind = "dbm"`."""

    kind: Literal["dbm"]
    model: DbmModelTable = DbmModelTable()
    pretrain: tuple[TrainTable, ...] = Field(
        (),
        description="How each layer is pre-trained; one for each, the lowest first. None with "
        "model.start.",
    )
    train: JointTable
    classify: ClassifyTable | None = Field(
        None, description="Fine-tune a classifier after it; left out, there is none."
    )
    export: DbmExportTable = DbmExportTable()
    evaluate: EvaluateTable = EvaluateTable()

    @model_validator(mode="after")
    def _fits_together(self) -> DbmConfig:
        needed = self.model.start is None or bool(self.pretrain)
        if needed and len(self.pretrain) != len(self.model.hidden):
            raise ValueError(
                f"{len(self.pretrain)} [[pretrain]] tables for {len(self.model.hidden)} hidden "
                "layers: give one for each, or model.start and none"
            )
        if self.data.holdout < LEAST_HOLDOUT:
            raise ValueError(
                f"data.holdout={self.data.holdout} must be at least {LEAST_HOLDOUT}: scores are "
                "calibrated with held-out images"
            )
        return self

    def trained_part(self) -> dict[str, object]:
        """What decides the machine's weights: a run can be resumed only with the same."""
        deciding = {"kind", "name", "seed", "data", "model", "pretrain", "train"}
        part = self.model_dump(mode="json", include=deciding)
        # Keys that came later are not named at their defaults, so that older runs can be resumed.
        if self.model.start is None:
            del part["model"]["start"]
        for key, default in (("upper_share", 1.0), ("posterior_sweeps", 0)):
            if getattr(self.train, key) == default:
                del part["train"][key]
        return part
