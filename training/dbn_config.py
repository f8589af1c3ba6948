"""The tables of a recipe with `kind = "dbn"`: what they hold, and what is allowed.

[model], [[pretrain]], [train] and its phases, [classify], [export], [evaluate] ──► DbnConfig
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from training.classifier import ClassifyTable
from training.config import RecipeConfig
from training.dbm_config import DeepModelTable
from training.guide import GuideTable
from training.rbm_config import (
    LEAST_HOLDOUT,
    START_PATTERN,
    EvaluateTable,
    ExportTable,
    TrainTable,
)


class DbnModelTable(DeepModelTable):
    """`[model]`: the network."""

    hidden: tuple[int, ...] = Field(
        (500, 2000), min_length=2, description="Units of each hidden layer, the lowest first."
    )
    labels: bool = Field(
        default=True,
        description="Whether the top machine has label units, for conditional samples.",
    )
    start: str | None = Field(
        None,
        pattern=START_PATTERN,
        description="A published restricted machine that is the only directed layer, and whose "
        "mirror image the top machine begins as: mnist-rbm@1.",
    )


class UpDownTable(TrainTable):
    """`[train]`: how the top machine learns, and the layers under it."""

    chains: Literal["persistent"] = "persistent"
    greedy_epochs: int = Field(
        20, ge=0, description="The top machine learns alone at first, on layers that stand still."
    )
    lower_learning_rate: float = Field(
        0.002, ge=0, le=10, description="Of the directed layers, by wake and sleep; falls likewise."
    )
    monitor_draws: int = Field(5, ge=1, le=1000, description="Of h for each image of the bound.")


class DbnConfig(RecipeConfig):
    """A recipe with `kind = "dbn"`."""

    kind: Literal["dbn"]
    model: DbnModelTable = DbnModelTable()
    pretrain: tuple[TrainTable, ...] = Field(
        (),
        description="How each directed layer is pre-trained; one for each, the lowest first. None "
        "with model.start.",
    )
    train: UpDownTable
    classify: ClassifyTable | None = Field(
        None, description="Fine-tune a classifier after it; left out, there is none."
    )
    guide: GuideTable | None = Field(
        None,
        description="Learn what chains that hold a label are guided by; left out, it is the label "
        "units' own weights.",
    )
    export: ExportTable = ExportTable()
    evaluate: EvaluateTable = EvaluateTable()

    @model_validator(mode="after")
    def _fits_together(self) -> DbnConfig:
        directed = len(self.model.hidden) - 1
        if self.model.start is not None and directed != 1:
            raise ValueError(
                f"model.start={self.model.start} is one directed layer: give model.hidden two "
                f"sizes, not {len(self.model.hidden)}"
            )
        needed = self.model.start is None or bool(self.pretrain)
        if needed and len(self.pretrain) != directed:
            raise ValueError(
                f"{len(self.pretrain)} [[pretrain]] tables for {directed} directed layers: give "
                "one for each hidden layer but the last, which is the top machine's"
            )
        if self.guide is not None and not self.model.labels:
            raise ValueError(
                "[guide] guides chains that hold a label, and model.labels is false: leave one out"
            )
        if self.data.holdout < LEAST_HOLDOUT:
            raise ValueError(
                f"data.holdout={self.data.holdout} must be at least {LEAST_HOLDOUT}: scores are "
                "calibrated with held-out images"
            )
        return self

    def trained_part(self) -> dict[str, object]:
        """What decides the network's weights: a run can be resumed only with the same."""
        deciding = {"kind", "name", "seed", "data", "model", "pretrain", "train"}
        return self.model_dump(mode="json", include=deciding)
