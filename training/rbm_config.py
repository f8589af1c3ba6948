"""The tables of a recipe with `kind = "rbm"`: what they hold, and what is allowed.

[model], [train] and its phases, [export], [evaluate] ──► RbmConfig

`TrainTable` is what the layers of deep networks share with it; `RbmTrainTable` is all that a
restricted machine on its own can learn by.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator

from service.contract import NAME_PATTERN
from training.config import RecipeConfig, Table
from training.rbm_chains import ChainKind
from training.rbm_learning import LearningRule

# A p-value of 0.05 needs 19 held-out scores to be possible at all.
LEAST_HOLDOUT = 20
CAME_LATER = {
    "model": ("start", "labels"),
    "train": (
        "schedule",
        "warmup",
        "sparsity_target",
        "sparsity_cost",
        "max_norm",
        "temperatures",
        "least_acceptance",
        "most_rungs",
    ),
}
START_PATTERN = NAME_PATTERN.removesuffix("$") + "@[1-9][0-9]{0,8}$"


class ModelTable(Table):
    """`[model]`: the machine."""

    hidden: int = Field(500, ge=1, le=65536, description="Hidden units.")
    initial_scale: float = Field(
        0.01, gt=0, le=1, description="Standard deviation of the first weights."
    )
    start: str | None = Field(
        None,
        pattern=START_PATTERN,
        description="A published machine whose weights are the first ones, as mnist-rbm@1.",
    )
    labels: bool = Field(
        default=False,
        description="Whether there are label units, which make it a classifier.",
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


class LearningTable(Table):
    """What every training by likelihood has, whatever its chains."""

    phases: tuple[Phase, ...] = Field(min_length=1)
    chains: ChainKind
    learning_rate: float = Field(0.05, gt=0, le=10, description="At the start.")
    final_learning_rate: float = Field(
        0.0, ge=0, le=10, description="At the end; by default the rate falls linearly."
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

    def rate(self, progress: float) -> float:
        """The learning rate when `progress` (0…1) of the images have been seen."""
        first, last = self.learning_rate, self.final_learning_rate
        return first + (last - first) * progress

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


class TrainTable(LearningTable):
    """`[train]` of a layer: CD-k or PCD-k."""

    chains: Literal["persistent", "data"] = Field(
        "persistent", description="PCD-k, or CD-k from the data."
    )


class RbmTrainTable(LearningTable):
    """`[train]`: how a restricted machine on its own learns."""

    chains: ChainKind = Field(
        "persistent",
        description="PCD-k, CD-k from the data, or PCD-k with replica exchange: over temperatures, "
        "or over the trajectory of learning.",
    )
    schedule: Literal["linear", "cosine", "exponential", "constant"] = Field(
        "linear", description="How the learning rate goes from its start to its end."
    )
    warmup: float = Field(
        0.0, ge=0, lt=1, description="Share of the training in which the rate rises from 0."
    )
    sparsity_target: float = Field(
        0.1, gt=0, lt=1, description="Mean activity that hidden units are drawn to."
    )
    sparsity_cost: float = Field(0.0, ge=0, le=1000, description="How strongly; 0 for not at all.")
    max_norm: float | None = Field(
        None, gt=0, description="Of the weights into a hidden unit; left out, any."
    )
    temperatures: int = Field(
        10, ge=2, le=1000, description="Rungs of `tempering`, from the base rates to the machine."
    )
    least_acceptance: float = Field(
        0.3, gt=0, lt=1, description="`trajectory` freezes a rung when swaps fall under it."
    )
    most_rungs: int = Field(64, ge=1, le=4096, description="Frozen rungs of `trajectory`.")

    @model_validator(mode="after")
    def _can_fall_exponentially(self) -> RbmTrainTable:
        if self.schedule == "exponential" and not self.final_learning_rate:
            raise ValueError(
                "final_learning_rate=0 is not reached exponentially: give one above 0, or "
                "schedule = 'cosine'"
            )
        return self

    def rate(self, progress: float) -> float:
        """The learning rate when `progress` (0…1) of the images have been seen."""
        if progress < self.warmup:
            return self.learning_rate * progress / self.warmup
        done = (progress - self.warmup) / (1 - self.warmup)
        first, last = self.learning_rate, self.final_learning_rate
        if self.schedule == "constant":
            return first
        if self.schedule == "exponential":
            return first * math.exp(done * math.log(last / first))
        share = (1 - math.cos(math.pi * done)) / 2 if self.schedule == "cosine" else done
        return first + (last - first) * share

    def rule(self, phase: Phase) -> LearningRule:
        """The learning rule of one phase."""
        return replace(
            super().rule(phase),
            sparsity_target=self.sparsity_target,
            sparsity_cost=self.sparsity_cost,
            max_norm=self.max_norm,
        )


class EvaluateTable(Table):
    """`[evaluate]`: how much work stands behind the figures."""

    betas: int = Field(20_000, ge=2, le=10_000_000, description="Inverse temperatures of AIS.")
    runs: int = Field(200, ge=2, le=100_000, description="AIS runs.")
    reverse_runs: int = Field(100, ge=2, le=100_000, description="Reverse AIS runs.")
    reverse_burn_in: int = Field(
        2000, ge=0, le=10_000_000, description="Sweeps from data to the reverse runs' samples."
    )
    label_samples: int = Field(
        100, ge=1, le=100_000, description="Samples a label that a judge reads, if there are any."
    )
    seed: int = Field(1, ge=0, description="Of AIS, of the anomalies and of the samples.")

    def quick(self) -> EvaluateTable:
        """The same with a twentieth of the temperatures."""
        fewer = {
            "betas": max(2, self.betas // 20),
            "reverse_burn_in": self.reverse_burn_in // 4,
            "label_samples": max(1, self.label_samples // 10),
        }
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
    train: RbmTrainTable
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
        part = self.model_dump(mode="json", include=deciding)
        # A key that came later is not named at its default, so that older runs can be resumed.
        for table, came_later in CAME_LATER.items():
            model = getattr(self, table)
            for key in came_later:
                if getattr(model, key) == type(model).model_fields[key].default:
                    del part[table][key]
        return part
