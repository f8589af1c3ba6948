"""Tables in a manifest: what a column holds, and how a network writes one cell of it.

column ──► [α] + choices      α ∈ [−1, 1] places a number within its mode; a choice is one-hot

Mode-specific normalisation, Xu et al. (2019), "Modeling Tabular Data using Conditional GAN", §4.2,
with a choice of its own for a number that comes again and again, such as a debt of 0.
`service/domain/rows.py` carries it out, both ways.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_COLUMNS = 1024
MAX_CHOICES = 4096

ColumnName = Annotated[str, Field(min_length=1, max_length=256)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Mode(_Frozen):
    """One Gaussian of a number's mixture: values within 4σ of its mean are written as α."""

    mean: float
    std: float = Field(gt=0)
    weight: float = Field(gt=0, le=1)


class Marginal(_Frozen):
    """Piecewise-linear map from quantiles of what the network writes to those of training rows."""

    written: tuple[float, ...] = Field(min_length=2)
    wanted: tuple[float, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _rises(self) -> Marginal:
        pairs = zip(self.written, self.written[1:], strict=False)
        wanted = zip(self.wanted, self.wanted[1:], strict=False)
        if len(self.written) != len(self.wanted) or not all(a < b for a, b in pairs):
            raise ValueError("'written' must rise, and 'wanted' have a value for each of it")
        if not all(a <= b for a, b in wanted):
            raise ValueError("'wanted' must not fall")
        return self


class NumericColumn(_Frozen):
    """Numbers: some `values` that have a choice of their own, and modes for all others."""

    kind: Literal["numeric"] = "numeric"
    name: ColumnName
    integer: bool = Field(default=False, description="Whole numbers, int64; else float64.")
    decimals: int | None = Field(
        None, ge=0, le=15, description="Digits after the point; None: as they come."
    )
    minimum: float
    maximum: float
    nullable: bool = False
    modes: tuple[Mode, ...] = Field((), max_length=64)
    values: tuple[float, ...] = Field((), max_length=MAX_CHOICES)
    marginal: Marginal | None = None

    @model_validator(mode="after")
    def _can_be_written(self) -> NumericColumn:
        if not self.modes and not self.values:
            raise ValueError(f"column {self.name!r} has neither 'modes' nor 'values'")
        if not self.minimum <= self.maximum:
            raise ValueError(f"column {self.name!r}: minimum {self.minimum} > {self.maximum}")
        if self.integer and self.decimals not in {0, None}:
            raise ValueError(f"column {self.name!r} is integer and has decimals")
        if not all(self.minimum <= value <= self.maximum for value in self.values):
            raise ValueError(f"column {self.name!r} has values outside its range")
        return self

    @property
    def choices(self) -> int:
        """How many one-hot entries a cell has: values, then modes, then one for null."""
        return len(self.modes) + len(self.values) + self.nullable

    @property
    def width(self) -> int:
        """How many numbers the network writes for one cell."""
        return self.choices + bool(self.modes)


class CategoricalColumn(_Frozen):
    """One of a few strings."""

    kind: Literal["categorical"] = "categorical"
    name: ColumnName
    categories: tuple[str, ...] = Field(min_length=1, max_length=MAX_CHOICES)
    nullable: bool = False

    @model_validator(mode="after")
    def _differ(self) -> CategoricalColumn:
        if len(set(self.categories)) != len(self.categories):
            raise ValueError(f"column {self.name!r} names a category twice")
        return self

    @property
    def choices(self) -> int:
        """How many one-hot entries a cell has: the categories, and one for null."""
        return len(self.categories) + self.nullable

    @property
    def width(self) -> int:
        """How many numbers the network writes for one cell."""
        return self.choices


Column = Annotated[NumericColumn | CategoricalColumn, Field(discriminator="kind")]


class TableData(_Frozen):
    """Rows with named columns."""

    kind: Literal["table"] = "table"
    columns: tuple[Column, ...] = Field(min_length=1, max_length=MAX_COLUMNS)
    label_column: str | None = Field(
        None, description="The categorical column that `labels` in requests speak of."
    )

    @model_validator(mode="after")
    def _names_agree(self) -> TableData:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError("two columns have the same name")
        named = self.column(self.label_column) if self.label_column is not None else None
        if self.label_column is not None and not isinstance(named, CategoricalColumn):
            raise ValueError(f"label_column {self.label_column!r} is no categorical column")
        return self

    def column(self, name: str) -> NumericColumn | CategoricalColumn | None:
        """The column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def width(self) -> int:
        """How many numbers the network writes for one row."""
        return sum(column.width for column in self.columns)
