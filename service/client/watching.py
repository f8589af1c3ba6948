"""Waiting for an order: what each event means, how long to pause, and what a person sees.

events | polls ──Watch──► OrderStatus ──Bar──► a line that moves
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from httpx_sse import ServerSentEvent

from service.client.errors import DeadlineExceeded
from service.client.ordering import OrderStatus, order, status_of
from service.client.retrying import Deadline
from service.client.wire import Request

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

FIRST_POLL_S = 0.1
LONGEST_POLL_S = 5.0
LONGEST_POLL_ANSWER_S = 60.0
EVENT_STREAM = "text/event-stream"


@dataclass
class Watch:
    """One wait for one order: its newest status, and where its events were last heard."""

    status: OrderStatus
    deadline: Deadline
    last_event_id: str = ""
    streams: bool = True  # until the server turns out to have no events
    _poll_s: float = field(default=FIRST_POLL_S)

    def headers(self) -> dict[str, str]:
        """What to ask for events with: those after the last that was heard."""
        sent = {"Accept": EVENT_STREAM, "Cache-Control": "no-store"}
        return {**sent, "Last-Event-ID": self.last_event_id} if self.last_event_id else sent

    def hears(self, status: int, content_type: str) -> bool:
        """Whether the answer is a stream of events; after a plain refusal there is only polling."""
        found = status == 200 and content_type.startswith(EVENT_STREAM)
        if not found and status < 500 and status != 429:
            self.streams = False
        return found

    def take(self, event: ServerSentEvent) -> None:
        """Note an event; one that tells how the order stands is its newest status."""
        if event.id:
            self.last_event_id = event.id
        self._poll_s = FIRST_POLL_S
        try:
            document = json.loads(event.data)
            self.status = status_of({**self.status.document, **document})
        except (ValueError, LookupError, TypeError, AttributeError):
            return  # news in other words: the next poll says how the order stands

    def pause_s(self) -> float:
        """Seconds until the next poll: longer each time that nothing was heard."""
        pause = min(self._poll_s, self.deadline.remaining_s)
        self._poll_s = min(LONGEST_POLL_S, 1.5 * self._poll_s)
        return pause

    def poll(self) -> Request[OrderStatus]:
        """The request that asks how the order stands.

        Raises:
            DeadlineExceeded: the wait's time is up; the order goes on.
        """
        if self.deadline.remaining_s <= 0:
            raise self.given_up()
        left = min(LONGEST_POLL_ANSWER_S, self.deadline.remaining_s)
        return order(self.status.id, timeout_s=left)

    def given_up(self) -> DeadlineExceeded:
        """The error of a wait that was too short."""
        progress = self.status.progress
        return DeadlineExceeded(
            f"order {self.status.id} is {self.status.state} after {self.deadline.timeout_s:g} s, "
            f"with {progress.rows_done} of {progress.rows_total} rows; wait again, or cancel it"
        )


class Bar:
    """Progress for a person; nothing at all unless it is shown."""

    def __init__(self, label: str, *, shown: bool) -> None:
        self._label = label
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        if shown:
            from rich.progress import (  # noqa: PLC0415  most calls show none
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def at(self, done: int, total: int, *, note: str = "") -> None:
        """Show how far it is."""
        if self._bar is not None and self._task is not None:
            label = f"{self._label} {note}".rstrip()
            self._bar.update(self._task, completed=done, total=total or None, description=label)

    def order(self, status: OrderStatus) -> None:
        """Show how far an order is."""
        at = status.progress
        note = status.state if status.state not in {"running", "done"} else ""
        if status.state == "on_hold" and status.error:
            note = f"on hold: {status.error}"
        self.at(at.rows_done, at.rows_total, note=note)
