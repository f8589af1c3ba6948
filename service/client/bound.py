"""What an order is besides its requests: the status that was last heard, as attributes.

OrderStatus ──BoundOrder──► blocking.Order, asynchronous.AsyncOrder
"""

from __future__ import annotations

from collections.abc import Mapping

from service.client.ordering import OrderFile, OrderStatus, Progress


class BoundOrder:
    """An order, as it stood when the server was last asked; `refresh` asks again."""

    def __init__(self, status: OrderStatus) -> None:
        self.status = status

    def __repr__(self) -> str:
        at = self.status.progress
        return (
            f"<{type(self).__name__} {self.id}: {self.state}, "
            f"{at.rows_done} of {at.rows_total} rows>"
        )

    @property
    def id(self) -> str:
        """What the server calls it."""
        return self.status.id

    @property
    def state(self) -> str:
        """`queued`, `running`, `on_hold`, `done`, `failed` or `cancelled`."""
        return self.status.state

    @property
    def progress(self) -> Progress:
        """Rows done, rows in all, rate and remaining time."""
        return self.status.progress

    @property
    def seed(self) -> int | None:
        """What to order with to get the same files."""
        return self.status.seed

    @property
    def requested(self) -> Mapping[str, int]:
        """Rows asked for, by label."""
        return self.status.requested

    @property
    def delivered(self) -> Mapping[str, int]:
        """Rows made so far, by label."""
        return self.status.delivered

    @property
    def files(self) -> tuple[OrderFile, ...]:
        """The files that are ready."""
        return self.status.files
