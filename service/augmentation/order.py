"""What is ordered: everything that decides the bytes, frozen, and nothing else.

Order ──document──► JSON ──fingerprint──► the same order, wherever and however it is run
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Format = Literal["parquet", "arrow", "npz", "csv", "webdataset", "imagefolder"]
Dtype = Literal["float32", "uint8"]
ALL = "all"  # the key of `requested` and `delivered` where a model knows no labels


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """Which draws are kept; with nothing set, all of them.

    A draw is rejected when its anomaly p-value, by the model's own score, is at most
    `max_p_value_rejected`, or when `judge`, another model, sees another class than the one ordered.
    """

    max_p_value_rejected: float | None = None
    method: str | None = None
    judge: str | None = None
    judge_digest: str | None = None
    max_draws: int = 100

    @property
    def any(self) -> bool:
        """Whether there is a rule at all."""
        return self.max_p_value_rejected is not None or self.judge is not None


@dataclass(frozen=True, kw_only=True)
class Reporting:
    """What the order's quality report is made with; it decides no row.

    `reference` is the sha256 of the real images in the model's package.
    """

    reference: str | None = None
    judge: str | None = None
    judge_digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Order:
    """`n` rows of one model, in chunks of `chunk_rows`; `counts` has a number for each label."""

    model: str
    digest: str
    n: int
    seed: int
    format: Format
    dtype: Dtype
    chunk_rows: int
    labels: tuple[str, ...] | None = None
    counts: tuple[int, ...] | None = None
    truncation: float | None = None
    temperature: float | None = None
    burn_in: int | None = None
    values: Literal["mean", "sample"] = "mean"
    accept: Acceptance = field(default_factory=Acceptance)
    unique: bool = False
    report: Reporting | None = None

    @property
    def chunks(self) -> int:
        """How many chunks the order has."""
        return -(-self.n // self.chunk_rows)

    @property
    def requested(self) -> dict[str, int]:
        """Rows asked for, by the name of the label."""
        return self.by_label(self.counts or (self.n,))

    def by_label(self, counts: tuple[int, ...] | list[int]) -> dict[str, int]:
        """Counts in the order of the labels, under the labels' names."""
        return dict(zip(self.labels or (ALL,), counts, strict=True))

    def document(self) -> dict[str, Any]:
        """The order as JSON has it; `from_document` reads it back."""
        return asdict(self)

    @property
    def fingerprint(self) -> str:
        """The sha256 of the order without its report: the same for the same bytes of rows."""
        decisive = {key: value for key, value in self.document().items() if key != "report"}
        canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def from_document(document: dict[str, Any]) -> Order:
    """The order that `Order.document` wrote.

    Raises:
        ValueError: a field is missing or unknown; it was written by another version.
    """
    known = {f.name for f in fields(Order)}
    if unknown := document.keys() - known:
        raise ValueError(f"the order has fields that are not known: {', '.join(sorted(unknown))}")
    given = dict(document)
    try:
        given["accept"] = Acceptance(**given["accept"])
        if given.get("report") is not None:
            given["report"] = Reporting(**given["report"])
        for name in ("labels", "counts"):
            given[name] = None if given[name] is None else tuple(given[name])
        return Order(**given)
    except (KeyError, TypeError) as error:
        raise ValueError("the order is not one that this version has written") from error
