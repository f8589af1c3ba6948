"""What the service remembers of an order beside its files: state, progress, when it ends.

placed: queued ──► running ──► done | failed | cancelled      running ──► on_hold ──► queued
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from service.augmentation.holds import Reason
from service.augmentation.order import Order, from_document

State = Literal["queued", "running", "on_hold", "done", "failed", "cancelled"]
ENDED: frozenset[State] = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class Record:
    """One order as it stands. Times are seconds of the system's clock since 1970."""

    id: str
    order: Order
    created_at: float
    row_bytes: float
    state: State = "queued"
    reason: Reason | None = None
    error: str | None = None
    ended_at: float | None = None
    rows_done: int = 0
    delivered: dict[str, int] = field(default_factory=dict)
    acceptance: dict[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    @property
    def remaining_bytes(self) -> float:
        """About how much disk it will still need."""
        return 0.0 if self.ended else (self.order.n - self.rows_done) * self.row_bytes

    def to_json(self) -> str:
        """What the store keeps; `record_from` reads it."""
        return json.dumps(asdict(self))

    def moved(self, state: State, *, at: float, error: str | None = None) -> Record:
        """The record in another state, with no reason of an earlier one."""
        ended_at = at if state in ENDED else None
        return replace(self, state=state, error=error, reason=None, ended_at=ended_at)

    def document(
        self, *, ttl_s: float, rate: float | None = None, files: list[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """What a client is told; `files` are left out of a list of orders and of events."""
        remaining = self.order.n - self.rows_done
        found: dict[str, Any] = {
            "id": self.id,
            "state": self.state,
            "model": self.order.model,
            "digest": self.order.digest,
            "seed": self.order.seed,
            "format": self.order.format,
            "progress": {
                "rows_done": self.rows_done,
                "rows_total": self.order.n,
                "rows_per_second": None if rate is None else round(rate, 3),
                "eta_seconds": None if not rate else round(remaining / rate, 3),
            },
            "requested": self.order.requested,
            "delivered": self.delivered or dict.fromkeys(self.order.requested, 0),
            "acceptance": self.acceptance or None,
            "request": self.order.document(),
            "created_at": _iso(self.created_at),
        }
        if files is not None:
            found["files"] = files
        if self.reason is not None:
            found["reason"] = self.reason
        if self.error is not None:
            found["error"] = self.error
        if self.ended_at is not None:
            found["ended_at"] = _iso(self.ended_at)
            found["expires_at"] = _iso(self.ended_at + ttl_s)
        return found


def record_from(text: str) -> Record:
    """The record that `Record.to_json` wrote.

    Raises:
        ValueError: it was written by another version.
    """
    found = json.loads(text)
    try:
        return Record(**found | {"order": from_document(found["order"])})
    except (KeyError, TypeError) as error:
        raise ValueError("the record is not one that this version has written") from error


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
