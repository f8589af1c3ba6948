"""The tables of a recipe with `kind = "tabular"`: what they hold, and what is allowed.

[data], [transform], [model], [train], [evaluate] ──► TabularConfig
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from service.contract import TableData
from training.config import BareRecipe, Table
from training.tabular.learning import TabularTraining
from training.tabular.networks import RowShape
from training.tabular.table import TableConfig
from training.tabular.transform import TransformTable


class ModelTable(Table):
    """`[model]`: the players' sizes."""

    latent: int = Field(64, ge=2, le=4096, description="Numbers of z that are the code.")
    hidden: int = Field(192, ge=8, le=4096, description="Units of a layer of the generator.")
    depth: int = Field(2, ge=0, le=16, description="Residual layers of the generator.")
    critic: int = Field(256, ge=8, le=4096, description="Units of a layer of the critic.")
    pack: int = Field(10, ge=1, le=100, description="Rows that the critic judges together.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Of the critic's layers.")


class EvaluateTable(Table):
    """`[evaluate]`: what the figures ask for."""

    utility: tuple[str, ...] = Field(
        (), description="Columns that a model is trained to predict; left out: the target."
    )
    rows: int = Field(20_000, ge=50, description="At most so many rows of each kind.")
    trees: int = Field(100, ge=5, description="Of the boosted models that judge usefulness.")
    seed: int = Field(1, ge=0, description="Of samples and of models.")

    def quick(self) -> EvaluateTable:
        """The same on a fifth of the rows."""
        return self.model_copy(update={"rows": max(50, self.rows // 5)})


class TabularConfig(BareRecipe):
    """A recipe with `kind = "tabular"`."""

    kind: Literal["tabular"]
    data: TableConfig
    transform: TransformTable = TransformTable()
    model: ModelTable = ModelTable()
    train: TabularTraining = TabularTraining()
    evaluate: EvaluateTable = EvaluateTable()

    @model_validator(mode="after")
    def _fills_packs(self) -> TabularConfig:
        if self.train.batch % self.model.pack:
            raise ValueError(
                f"train.batch={self.train.batch} is no multiple of model.pack={self.model.pack}"
            )
        return self

    def shape(self, data: TableData) -> RowShape:
        """The players' sizes for a table."""
        return RowShape.of(data, **self.model.model_dump())

    def trained_part(self) -> dict[str, object]:
        """What decides the players' weights: a run can be resumed only with the same."""
        deciding = {"kind", "name", "seed", "data", "transform", "model", "train"}
        return self.model_dump(mode="json", include=deciding)
