"""What a person sees of an order on a terminal: a bar while it is made, a summary at its end.

Receipts ──Watch──► bar        manifest ──summary_of──► lines
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from service.augmentation.folder import Receipt
from service.augmentation.manifest import Tally


def summary_of(manifest: dict[str, Any], *, seed: int, shown: str) -> str:
    """What was delivered, for a person."""
    size = sum(file["bytes"] for file in manifest["files"])
    count = len(manifest["files"])
    files = f"{count:,} {'file' if count == 1 else 'files'}, {size / 1e6:,.1f} MB"
    said = [f"{manifest['rows']:,} rows in {files}, seed {seed}: {shown}"]
    if len(manifest["delivered"]) > 1:
        said.append(", ".join(f"{k}: {v:,}" for k, v in manifest["delivered"].items()))
    took = manifest["acceptance"]
    if took["rejected"] or took["duplicates"]:
        said.append(
            f"{took['drawn']:,} draws: {took['rejected']:,} rejected, {took['duplicates']:,} "
            f"duplicates, {took['rate']:.1%} kept"
        )
    said += _report_of(manifest["quality_report"], shown=shown)
    return "\n".join(said)


def _report_of(report: dict[str, Any] | None, *, shown: str) -> list[str]:
    """Where the quality report is, and what stands out in it."""
    if report is None:
        return []
    if report["state"] != "made":
        return [f"no quality report: {report['reason']}"]
    return [*report["notices"], f"quality report: {shown}/{report['files'][0]['name']}"]


class Watch:
    """Moves the bar."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task
        self._tally: Tally | None = None

    def start(self, tally: Tally) -> None:
        """What is there already does not count for the rate."""
        self._tally = tally
        self._bar.reset(self._task, completed=tally.rows)

    def advance(self, _: Receipt) -> None:
        """One more chunk."""
        assert self._tally is not None
        self._bar.update(self._task, completed=self._tally.rows)


class _Rate(ProgressColumn):
    """Rows a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} rows/s")


def progress_bar(console: Console) -> Progress:
    """Rows, rows a second, and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
    )
