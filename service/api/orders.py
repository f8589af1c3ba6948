"""What an order may say, and what is said of one: pydantic at the edge, `Asked` inside.

document ──validated──► AugmentationRequest ──asked──► service.augmentation.resolve.Asked
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.bodies import Digest
from service.api.fields import MAX_TIMEOUT_MS, Seed, Sweeps
from service.augmentation.holds import Reason
from service.augmentation.order import Acceptance, Dtype, Format
from service.augmentation.resolve import Asked, TopUp

Count = Annotated[int, Field(ge=0, le=2_000_000_000)]
Counts = dict[str, Count]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TopUpRequest(_Strict):
    """What a data set has of each class, and what it is to have."""

    have: Counts = Field(description="Rows that are there, by class name or index.")
    to: Counts | Count | Literal["largest"] = Field(
        description="Rows that there are to be: by class, one number for all, or `largest`."
    )


class AcceptRequest(_Strict):
    """Which draws are kept; those that are not are drawn again, by the same rule for everybody."""

    max_p_value_rejected: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Reject what the model's own score gives this p-value, or less.",
    )
    method: str | None = Field(None, description="The model's score; default: its first.")
    judge: str | None = Field(
        None, description="A model that classifies: reject what it does not see as its label."
    )
    max_draws: int = Field(
        100, ge=1, le=10_000, description="Draws a row at most, over a chunk; then it stays short."
    )


class AugmentationRequest(_Strict):
    """A synthetic data set, made in the background."""

    model: str = Field(max_length=128, description="`name` or `name@version`.")
    n: Annotated[int, Field(ge=1, json_schema_extra=lambda s: s.update(_LIMIT))] | None = Field(
        None, description="How many rows; not needed where labels or top_up say it."
    )
    seed: Seed | None = Field(
        None, description="The same order with the same seed gives the same files; none: drawn."
    )
    labels: Counts | Literal["balanced"] | None = Field(
        None, description="Conditional models: rows by class name or index; default: balanced."
    )
    top_up: TopUpRequest | None = Field(None, description="Instead of labels: what is missing.")
    format: Format = Field("parquet", description="Of the files: one a chunk.")
    dtype: Dtype | None = Field(
        None, description="Of images in parquet, arrow and npz: float32 in [0, 1] (default), uint8."
    )
    chunk_rows: int | None = Field(None, ge=1, description="Rows a file; default: by the model.")
    truncation: float | None = Field(None, gt=0, le=1, description="GANs: ψ, 1 for none.")
    temperature: float | None = Field(None, gt=0, le=1000, description="Energy models: T = 1/β.")
    burn_in: Sweeps | None = Field(None, description="Energy models: sweeps from a random start.")
    values: Literal["mean", "sample"] = Field("mean", description="Energy models: as in sample.")
    accept: AcceptRequest = Field(AcceptRequest(), description="Which draws are kept.")
    unique: bool = Field(
        default=False, description="No two rows with the same 8-bit pixels; files are listed last."
    )
    report: bool = Field(
        default=True, description="Make a quality report once all files are there."
    )
    timeout_ms: int | None = Field(
        None, ge=1, le=MAX_TIMEOUT_MS, description="Bounds this request, not the order."
    )

    def asked(self) -> Asked:
        """The order as the service understands it."""
        top_up = self.top_up
        return Asked(
            **self.model_dump(exclude={"top_up", "accept", "timeout_ms"}),
            top_up=None if top_up is None else TopUp(have=top_up.have, to=top_up.to),
            accept=Acceptance(**self.accept.model_dump()),
        )


_LIMIT = {"x-maximum-setting": "max_order_rows"}


class Progress(_Strict):
    """How far an order is; null where it is not known."""

    rows_done: int
    rows_total: int
    rows_per_second: float | None
    eta_seconds: float | None


class Accepted(_Strict):
    """What it took to get the rows."""

    drawn: int
    rejected: int
    duplicates: int
    rate: float | None = Field(description="The share of draws that was kept.")


class OrderedFile(_Strict):
    """A file that is there and will not change."""

    name: str
    bytes: int
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    rows: int


class AugmentationSummary(_Strict):
    """An order, without its files."""

    id: str
    state: Literal["queued", "running", "on_hold", "done", "failed", "cancelled"]
    reason: Reason | None = Field(None, description="Why it is on hold; it goes on by itself.")
    error: str | None = Field(None, description="Why it is on hold, or failed, in a sentence.")
    model: str = Field(description="name@version")
    digest: Digest
    seed: int
    format: Format
    progress: Progress
    requested: dict[str, int] = Field(description="Rows by class; `all` for other models.")
    delivered: dict[str, int]
    acceptance: Accepted | None
    request: dict[str, Any] = Field(description="The order with every default filled in.")
    created_at: str
    ended_at: str | None = None
    expires_at: str | None = Field(None, description="When the order and its files are removed.")


class Augmentation(AugmentationSummary):
    """An order as it stands."""

    files: list[OrderedFile]


class AugmentationList(_Strict):
    """Orders, newest first."""

    augmentations: list[AugmentationSummary]
    next: str | None = Field(description="`cursor` of the next page; null: this is the last.")


class OrderManifest(_Strict):
    """What was asked, what was delivered, and how to check every byte of it."""

    model_config = ConfigDict(extra="allow")

    schema_version: Literal[1]
    complete: bool
    error: str | None
    request: dict[str, Any]
    model: str
    model_digest: Digest
    seed_scheme: str
    made_on: list[dict[str, str]] = Field(description="One, unless it changed on the way.")
    versions: dict[str, str]
    rows: int
    requested: dict[str, int]
    delivered: dict[str, int]
    files: list[OrderedFile]
    quality_report: dict[str, Any] | None = Field(
        description="Its state, files, figures and what stands out; null: none was ordered."
    )
