"""The tables of a recipe with `kind = "gaussian-rbm"`: what they hold, and what is allowed.

[data], [patches], [model], [train] and its phases, [evaluate] ──► GaussianConfig
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from training.config import BareRecipe, Table
from training.data import DataConfig
from training.rbm_config import EvaluateTable, TrainTable
from training.tabular.table import KNOWN, TableConfig

TABLE_KEYS = {"target", "categorical", "drop", "test"}


def kind_of_data(given: object) -> str:
    """Whether `[data]` is a table or images: a table has a table's name, file or keys."""
    if not isinstance(given, dict):
        return "table" if isinstance(given, TableConfig) else "images"
    is_csv = Path(str(given.get("path") or "")).suffix == ".csv"
    return (
        "table" if is_csv or given.get("name") in KNOWN or TABLE_KEYS & given.keys() else "images"
    )


AnyData = Annotated[
    Annotated[DataConfig, Tag("images")] | Annotated[TableConfig, Tag("table")],
    Discriminator(kind_of_data),
]


class PatchTable(Table):
    """`[patches]`: what the visible units are; for columns of a table, how they are whitened."""

    side: int | None = Field(
        None, ge=2, le=64, description="Grey patches of side × side pixels; left out, whole images."
    )
    count: int = Field(100_000, ge=100, description="Patches to train on, cut at random places.")
    whiten: bool = Field(
        default=True,
        description="Whether correlations are taken out (ZCA), or each unit is standardised alone.",
    )
    floor: float = Field(
        0.01, ge=0, le=1, description="Added to the eigenvalues, as a share of their mean."
    )


class GaussianModelTable(Table):
    """`[model]`: the machine."""

    hidden: int = Field(100, ge=1, le=65536, description="Hidden units.")
    initial_scale: float = Field(
        0.05, gt=0, le=1, description="Standard deviation of the first weights."
    )
    hidden_bias: float = Field(
        0.0, ge=-20, le=20, description="First biases; well below 0 for units that are seldom on."
    )
    variance: Literal["learned", "unit"] = Field(
        "learned", description="Of the visible units given the hidden ones."
    )


class GaussianTrainTable(TrainTable):
    """`[train]`: how the machine learns."""

    learning_rate: float = Field(0.01, gt=0, le=10, description="At the start.")
    variance_rate: float = Field(
        0.1, ge=0, le=10, description="Share of it for log σ², where the variance is learned."
    )

    @model_validator(mode="after")
    def _runs_in_float32(self) -> GaussianTrainTable:
        if any(phase.chain_precision != "float32" for phase in self.phases):
            raise ValueError("chain_precision is for 0/1 units: leave it at float32")
        return self


class GaussianConfig(BareRecipe):
    """A recipe with `kind = "gaussian-rbm"`: of images, or of a table's numeric columns."""

    kind: Literal["gaussian-rbm"]
    data: AnyData
    patches: PatchTable = PatchTable()
    model: GaussianModelTable = GaussianModelTable()
    train: GaussianTrainTable
    evaluate: EvaluateTable = EvaluateTable()

    @model_validator(mode="after")
    def _has_something_to_cut(self) -> GaussianConfig:
        if isinstance(self.data, TableConfig) and self.patches.side is not None:
            raise ValueError("patches.side is for images: leave it out with the columns of a table")
        return self

    def trained_part(self) -> dict[str, object]:
        """What decides the weights: a run can be resumed only with the same."""
        deciding = {"kind", "name", "seed", "data", "patches", "model", "train"}
        return self.model_dump(mode="json", include=deciding)
