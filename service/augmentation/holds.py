"""Why an order waits, and why it fails: what the runner raises to whoever runs it."""

from __future__ import annotations

from typing import Literal

Reason = Literal["no_space", "model_missing", "model_changed", "model_unloaded", "no_workers"]


class Held(Exception):
    """The order cannot go on now, and can later: nothing that it has is lost."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Failed(Exception):
    """The order cannot be fulfilled; the message says what was delivered of it."""
