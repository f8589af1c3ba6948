"""The manifest of an order: what was asked, what was delivered, and how to check every byte of it.

order + receipts ──► manifest: a function of them, and of the versions that wrote the files
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from service import __version__
from service.augmentation.folder import Receipt
from service.augmentation.formats import SOURCE_TYPE
from service.augmentation.order import Order

VERSIONS = ("numpy", "onnxruntime", "onnxruntime-gpu", "pyarrow", "pillow")
SEED_SCHEME = (
    "Row `row` of `sample` with seed `seed` and the row's label. Draws come in blocks of 64 rows; "
    "seed(block, round) = seed + (4096 * block + round) * 5566755282872655 mod 2^53, and block b "
    "of chunk c is block c * ceil(chunk_rows / 64) + b of the order."
)


class Tally:
    """What an order's receipts come to; it grows with the files, not with the rows."""

    def __init__(self, order: Order, receipts: Iterable[Receipt] = ()) -> None:
        self.order = order
        self.receipts: dict[int, Receipt] = {}
        for receipt in receipts:
            self.add(receipt)

    def add(self, receipt: Receipt) -> None:
        """One more chunk is done, or done again."""
        self.receipts[receipt.chunk] = receipt

    def drop(self, chunks: Iterable[int]) -> None:
        """These chunks are to be made again."""
        for chunk in chunks:
            del self.receipts[chunk]

    @property
    def rows(self) -> int:
        """Rows delivered."""
        return sum(r.rows for r in self.receipts.values())

    @property
    def missing(self) -> list[int]:
        """Chunks that are not done."""
        return [c for c in range(self.order.chunks) if c not in self.receipts]

    @property
    def delivered(self) -> dict[str, int]:
        """Rows delivered, by the name of the label."""
        counts = [r.delivered for r in self.receipts.values()]
        empty = [0] * len(self.order.labels or (0,))
        return self.order.by_label([sum(column) for column in zip(empty, *counts, strict=True)])

    @property
    def files(self) -> list[dict[str, Any]]:
        """Every file, by its chunk."""
        return [self.receipts[chunk].file for chunk in sorted(self.receipts)]

    @property
    def made_on(self) -> list[dict[str, str]]:
        """The runtimes and devices that made the chunks: one, unless they changed on the way."""
        found = {tuple(sorted(r.made_on.items())) for r in self.receipts.values()}
        return [dict(items) for items in sorted(found)]

    @property
    def acceptance(self) -> dict[str, Any]:
        """How many draws it took, and what share was kept."""
        drawn, rejected, duplicates = (
            sum(getattr(r, name) for r in self.receipts.values())
            for name in ("drawn", "rejected", "duplicates")
        )
        return {
            "drawn": drawn,
            "rejected": rejected,
            "duplicates": duplicates,
            "rate": (drawn - rejected - duplicates) / drawn if drawn else None,
        }

    @property
    def short(self) -> str | None:
        """What is said of an order whose chunks are all done, and not full."""
        if self.rows == self.order.n:
            return None
        delivered, requested = self.delivered, self.order.requested
        lacking = [
            f"{label}: {delivered[label]} of {count}"
            for label, count in requested.items()
            if delivered[label] < count
        ]
        return (
            f"{self.rows} of {self.order.n} rows were delivered ({', '.join(lacking)}): after "
            f"max_draws={self.order.accept.max_draws} draws a row, too few had been accepted; "
            "allow more draws, or accept more"
        )


def manifest_of(
    tally: Tally, *, error: str | None, report: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What manifest.json says; `report` is what it says of the quality report."""
    order = tally.order
    return {
        "schema_version": 1,
        "complete": tally.rows == order.n and error is None,
        "error": error,
        "request": order.document(),
        "fingerprint": order.fingerprint,
        "model": order.model,
        "model_digest": order.digest,
        "is_synthetic": True,
        "digital_source_type": SOURCE_TYPE,
        "seed_scheme": SEED_SCHEME,
        "made_on": tally.made_on,
        "versions": versions(),
        "rows": tally.rows,
        "requested": order.requested,
        "delivered": tally.delivered,
        "acceptance": tally.acceptance,
        "files": tally.files,
        "quality_report": report,
    }


@cache
def versions() -> dict[str, str]:
    """What wrote the files, as far as it decides their bytes."""
    found = {"reverie": __version__, "python": platform.python_version()}
    for package in VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
