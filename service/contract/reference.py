"""Real examples that travel with a package, beside which its orders are reported on.

reference.npz ──► {train, held_out, test}_images uint8 [n, C, H, W], {…}_labels as text
reference.parquet ──► rows of a table with its columns: training, then held-out, then test rows

They are not part of a model's digest: they decide no answer, and a published package can get them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

REFERENCE_FILE = "reference.npz"
TABLE_REFERENCE_FILE = "reference.parquet"


class Reference(BaseModel):
    """Which real examples lie in the package, and what the generator has seen of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")] = REFERENCE_FILE
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    train: int = Field(ge=1, description="Rows that the generator was trained on.")
    held_out: int = Field(ge=1, description="Rows that it has not seen.")
    test: int = Field(ge=1, description="Further rows that it has not seen.")
    population: int = Field(ge=1, description="All rows that it was trained on.")
    data: str = Field(description="What they are, in words.")
    judge: str | None = Field(
        None, description="Name of the model whose features and classes reports use."
    )
