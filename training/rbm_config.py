"""The tables of a recipe with `kind = "rbm"`: what they hold, and what is allowed.

[model], [train] and its phases, [export], [evaluate] ──► RbmConfig
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from training.config import RecipeConfig, Table
from training.rbm_learning import LearningRule

# A p-value of 0.05 needs 19 held-out scores to be possible at all.
LEAST_HOLDOUT = 20


class ModelTable(Table):
    """`[model]`: the machine."""

    hidden: int = Field(500, ge=1, le=65536, description="Hidden units.")
    initial_scale: float = Field(
        0.01, gt=0, le=1, description="Standard deviation of the first weights."
    )


class Phase(Table):
    """`[[train.phases]]`: epochs that share a batch size and a number of chains."""

    epochs: int = Field(ge=1, le=100_000)
    batch: int = Field(100, ge=1, le=65536, description="Images an update.")
    chains: int = Field(100, ge=1, le=65536, description="Persistent chains (PCD).")
    sweeps: int = Field(5, ge=1, le=1000, description="Gibbs sweeps k between updates.")
    chain_precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16 halves the cost of the chains' products."
    )


class TrainTable(Table):
    """`[train]`: how the machine learns."""

    phases: tuple[Phase, ...] = Field(min_length=1)
    chains: Literal["persistent", "data"] = Field(
        "persistent", description="PCD-k, or CD-k from the data."
    )
    learning_rate: float = Field(0.05, gt=0, le=10, description="At the start.")
    final_learning_rate: float = Field(
        0.0, ge=0, le=10, description="At the end; the rate falls linearly with images seen."
    )
    offsets: Literal["data", "average", "none"] = Field(
        "data", description="What the centring offsets follow; 'average' is the enhanced gradient."
    )
    offset_rate: float = Field(0.01, gt=0, le=1, description="Newest batch's share in them.")
    momentum: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0, le=1, description="L2 on the weights.")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="Of the averaged, exported weights.")
    monitor_every: int = Field(5, ge=1, description="Epochs between quick AIS runs and sheets.")
    monitor_betas: int = Field(1000, ge=2, le=100_000, description="Of the quick AIS.")
    checkpoint_minutes: float = Field(3.0, ge=0, le=1440, description="Between checkpoints.")

    def rule(self, phase: Phase) -> LearningRule:
        """The learning rule of one phase."""
        return LearningRule(
            sweeps=phase.sweeps,
            chains=self.chains,
            offsets=self.offsets,
            offset_rate=self.offset_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            ema_decay=self.ema_decay,
            chain_precision=phase.chain_precision,
        )


class EvaluateTable(Table):
    """`[evaluate]`: how much work stands behind the figures."""

    betas: int = Field(20_000, ge=2, le=10_000_000, description="Inverse temperatures of AIS.")
    runs: int = Field(200, ge=2, le=100_000, description="AIS runs.")
    reverse_runs: int = Field(100, ge=2, le=100_000, description="Reverse AIS runs.")
    reverse_burn_in: int = Field(
        2000, ge=0, le=10_000_000, description="Sweeps from data to the reverse runs' samples."
    )
    seed: int = Field(1, ge=0, description="Of AIS and of the anomalies.")

    def quick(self) -> EvaluateTable:
        """The same with a twentieth of the temperatures."""
        fewer = {"betas": max(2, self.betas // 20), "reverse_burn_in": self.reverse_burn_in // 4}
        return self.model_copy(update=fewer)


class ExportTable(Table):
    """`[export]`: how the machine is packed, and what a request gets when it does not ask."""

    bits: Literal[8, 16] = Field(
        8, description="Of a weight. 16 is two products instead of one; 8 if AIS sees no loss."
    )
    burn_in: int = Field(1000, ge=0, le=10_000, description="Sweeps of a fresh chain.")
    inpaint_steps: int = Field(300, ge=1, le=10_000, description="Clamped sweeps of a filling.")


class RbmConfig(RecipeConfig):
    """A recipe with `kind = "rbm"`."""

    kind: Literal["rbm"]
    model: ModelTable = ModelTable()
    train: TrainTable
    export: ExportTable = ExportTable()
    evaluate: EvaluateTable = EvaluateTable()

    @model_validator(mode="after")
    def _holds_something_out(self) -> RbmConfig:
        if self.data.holdout < LEAST_HOLDOUT:
            raise ValueError(
                f"data.holdout={self.data.holdout} must be at least {LEAST_HOLDOUT}: scores are "
                "calibrated with held-out images"
            )
        return self

    def trained_part(self) -> dict[str, object]:
        """What decides the weights: a run can be resumed only with the same."""
        deciding = {"kind", "name", "seed", "data", "model", "train"}
        return self.model_dump(mode="json", include=deciding)
