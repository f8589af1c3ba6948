"""One training run on disk: configuration, checkpoints, TensorBoard, sheets, progress.

runs/<name>/{config.json, checkpoints/step-N.pt, samples/step-N.png, tensorboard/, metrics.jsonl}

A checkpoint holds tensors, numbers and the random generator's state, so that a resumed run goes
on as if it had never stopped. It is written under a temporary name, synced and renamed: a kill
leaves the previous one whole. It is read with `weights_only=True`: no pickle.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor

KEPT_CHECKPOINTS = 2


class TrainingDiverged(RuntimeError):
    """The loss or the weights are no longer finite, or the model has died; says what to try."""


class Interrupted(RuntimeError):
    """A person or the system asked the training to stop; its checkpoint is written."""


class RunConflict(ValueError):
    """The folder of a run holds another one, or the same with another configuration."""


def newest_checkpoint(directory: Path) -> dict[str, Any] | None:
    """The newest checkpoint of the run in `directory`, on the CPU, or None when there is none."""
    found = sorted((directory / "checkpoints").glob("step-*.pt"))
    if not found:
        return None
    state: dict[str, Any] = torch.load(found[-1], map_location="cpu", weights_only=True)
    return state


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM no longer kill; the function that this gives says whether one came.

    A training loop asks it after each step, and when it is True saves and raises Interrupted. A
    second signal acts as it would have without this.
    """
    came: list[int] = []
    kept: dict[signal.Signals, Any] = {}

    def note(number: int, _frame: object) -> None:
        came.append(number)
        for which, handler in kept.items():
            signal.signal(which, handler)

    for which in (signal.SIGINT, signal.SIGTERM):
        kept[which] = signal.signal(which, note)
    try:
        yield lambda: bool(came)
    finally:
        for which, handler in kept.items():
            signal.signal(which, handler)


class Run:
    """Where one training writes, and where it resumes from."""

    def __init__(self, directory: Path, *, resume: bool, config: dict[str, Any]) -> None:
        """Open `directory` for a new run, or for going on with the one that is there.

        Raises:
            RunConflict: there are checkpoints, and `resume` was not asked for; or it was, with
                another configuration.
        """
        self.directory = directory
        self.checkpoints = directory / "checkpoints"
        self.console = Console(stderr=True)
        if any(self.checkpoints.glob("step-*.pt")) and not resume:
            raise RunConflict(
                f"{directory} already holds a run: go on with --resume, or start again with --fresh"
            )
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        (directory / "samples").mkdir(exist_ok=True)
        recorded = directory / "config.json"
        if resume and recorded.exists() and json.loads(recorded.read_text()) != config:
            raise RunConflict(
                f"{recorded} differs from the configuration given: resume with the same one"
            )
        recorded.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        self.log = directory / "metrics.jsonl"
        self._metrics = self.log.open("a", encoding="utf-8")
        # TensorBoard is slow to import; only trainings pay for it.
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

        self._writer = SummaryWriter(str(directory / "tensorboard"))

    @staticmethod
    def erase(directory: Path) -> None:
        """Remove a run, for `--fresh`."""
        shutil.rmtree(directory, ignore_errors=True)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint of tensors, numbers, strings, lists and dicts at `step`."""
        final = self.checkpoints / f"step-{step:09d}.pt"
        temporary = final.with_suffix(".writing")
        with temporary.open("wb") as file:
            torch.save({"step": step, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(final)
        for old in sorted(self.checkpoints.glob("step-*.pt"))[:-KEPT_CHECKPOINTS]:
            old.unlink()

    def load(self) -> dict[str, Any] | None:
        """The newest checkpoint, or None when there is none."""
        state = newest_checkpoint(self.directory)
        if state is not None:
            self.console.print(f"resuming from step {state['step']:,}")
        return state

    def record(self, step: int, **scalars: float) -> None:
        """Log numbers: to TensorBoard, and as a JSON line, where what is not finite is null."""
        for name, value in scalars.items():
            self._writer.add_scalar(name.replace("__", "/"), value, step)
        finite = {name: v if math.isfinite(v) else None for name, v in scalars.items()}
        line = {"step": step, "time": round(time.time(), 1), **finite}
        self._metrics.write(json.dumps(line) + "\n")
        self._metrics.flush()

    def warn(self, step: int, text: str) -> None:
        """Tell a person something now: a line on the terminal, and a text in TensorBoard."""
        line = f"warning at step {step:,}: {text}"
        self.console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
        self._writer.add_text("warnings", text, step)
        self._writer.flush()

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Log a histogram to TensorBoard."""
        self._writer.add_histogram(name, values.detach().cpu().numpy(), step)

    def sheet(self, name: str, png: bytes, image: UInt8[np.ndarray, "H W C"], step: int) -> None:
        """Keep a sample sheet: `image` holds its pixels, `png` is the same as a file."""
        (self.directory / "samples" / f"{name}-{step:09d}.png").write_bytes(png)
        self._writer.add_image(name, image, step, dataformats="HWC")

    @contextmanager
    def progress(self, description: str, *, total: int, done: int = 0) -> Iterator[ProgressLine]:
        """A progress bar with loss, images a second and time left."""
        bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
            refresh_per_second=2,
        )
        with bar:
            task = bar.add_task(description, total=total, completed=done, figures="")
            yield ProgressLine(bar=bar, task=task, done=done)

    def close(self) -> None:
        """Flush and close the logs."""
        self._metrics.close()
        self._writer.close()


class ProgressLine:
    """The one line that a person watches while a model trains."""

    def __init__(self, *, bar: Progress, task: TaskID, done: int) -> None:
        self._bar, self._task = bar, task
        self._since, self._images = time.monotonic(), 0
        self.steps = done

    def advance(self, *, images: int, **figures: float) -> None:
        """One step further: `images` more examples, and the figures to show beside the bar."""
        self.steps += 1
        self._images += images
        rate = self._images / max(time.monotonic() - self._since, 1e-9)
        shown = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self._bar.update(self._task, advance=1, figures=f"{shown} {rate:,.0f} img/s")


def check_finite(name: str, value: float | Tensor, *, step: int) -> None:
    """Raise TrainingDiverged unless every element of `value` is finite."""
    if not bool(torch.isfinite(torch.as_tensor(value)).all()):
        raise TrainingDiverged(
            f"{name} is not finite at step {step:,}: lower the learning rate "
            "(--set train.learning_rate=…) and resume from an earlier checkpoint"
        )
