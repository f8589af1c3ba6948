"""A training of several stages: where it stands, when it saves, how it goes on.

begin ──► (updates done, tensors) ──► update … after_update … ──► finish ──► results ──► next stage

A checkpoint holds the stage that is under way, the results of those before it, and the random
generator's state. So a resumed training goes on as if it had never stopped, whatever its stage.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from training.alarms import check_sane
from training.run import Interrupted, Run

Named = Mapping[str, Tensor]


class Stages:
    """Keeps a training's checkpoints; every stage has a name of its own.

    Args:
        run: where they are written.
        generator: of all noise; its state is part of them.
        minutes: between two of them.
        stop: says whether a person or the system asked the training to stop.
    """

    def __init__(
        self, run: Run, generator: torch.Generator, *, minutes: float, stop: Callable[[], bool]
    ) -> None:
        self._run, self._generator = run, generator
        self._minutes, self._stop = minutes, stop
        self._started = self._saved = time.monotonic()
        kept: dict[str, Any] = run.load() or {}
        self.updates: int = kept.get("step", 0)
        self._seconds: float = kept.get("seconds", 0.0)
        self._stage: str = kept.get("stage", "")
        self._done: int = kept.get("done", 0)
        self._tensors: Named = kept.get("tensors", {})
        self._results: dict[str, dict[str, Tensor]] = kept.get("results", {})
        if kept:
            generator.set_state(kept["generator"])

    def results(self, stage: str) -> dict[str, Tensor] | None:
        """What a stage gave, on the generator's device, or None while it is not finished."""
        found = self._results.get(stage)
        return None if found is None else self._placed(found)

    def begin(self, stage: str) -> tuple[int, dict[str, Tensor] | None]:
        """(updates done, the tensors that they left) of the stage; (0, None) if it is a new one."""
        if stage == self._stage:
            return self._done, self._placed(self._tensors)
        self._stage, self._done = stage, 0
        return 0, None

    def after_update(self, tensors: Callable[[], Named], *, last: bool) -> None:
        """Count one update; save when it is time, at the end of the stage, and before stopping.

        Raises:
            Interrupted: it was asked to stop; the checkpoint is written.
            TrainingDiverged: a tensor is not finite, or has grown out of all bounds.
        """
        self.updates += 1
        self._done += 1
        stopping = self._stop()
        if last or stopping or time.monotonic() - self._saved > 60 * self._minutes:
            named = tensors()
            check_sane(named, step=self.updates)
            self._save(named)
        if stopping and not last:
            raise Interrupted(f"stopped at update {self._done:,} of stage {self._stage!r}")

    def finish(self, stage: str, results: Named) -> None:
        """Keep what a stage gave, for those after it."""
        self._results[stage] = dict(results)

    def _save(self, named: Named) -> None:
        state = {
            "stage": self._stage,
            "done": self._done,
            "tensors": dict(named),
            "results": self._results,
            "generator": self._generator.get_state(),
            "seconds": self._seconds + time.monotonic() - self._started,
        }
        self._run.save(self.updates, state)
        self._saved = time.monotonic()

    def _placed(self, named: Named) -> dict[str, Tensor]:
        return {name: tensor.to(self._generator.device) for name, tensor in named.items()}
