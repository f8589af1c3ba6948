"""Submissions: rows that wait for a map function, and the pieces of them that batches are made of.

inputs ──Submission──► taken piece by piece ──Piece──► answered or failed, once

A submission is resolved on every path: answered, failed, expired by its deadline, or withdrawn by a
caller who has gone.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np

from service.domain.arrays import Arrays
from service.errors import DeadlineExceeded, ServiceError
from service.queries import Call


@dataclass(eq=False, slots=True)
class Submission:
    """Rows of one caller, and the places of their answers."""

    inputs: Arrays
    rows: int
    call: Call
    future: asyncio.Future[Arrays]
    since: float = field(default_factory=time.monotonic)
    taken: int = 0
    answered: int = 0
    outputs: Arrays = field(default_factory=dict)
    expiry: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Rows that no batch has taken yet."""
        return self.rows - self.taken

    def goes_with(self, other: Submission) -> bool:
        """Whether one batch can hold both: they give the same inputs."""
        return self.inputs.keys() == other.inputs.keys()

    def fail(self, error: ServiceError) -> None:
        """Tell the caller, unless it has been told something already."""
        if not self.future.done():
            self.future.set_exception(error)

    def expire(self) -> None:
        """The deadline has passed before the answer was there."""
        self.fail(
            DeadlineExceeded(
                "the deadline passed before the answer was ready: allow more time with "
                "X-Timeout-Ms, or ask for less"
            )
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive rows of one submission inside one batch."""

    of: Submission
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many."""
        return self.stop - self.start

    def halves(self) -> list[Piece]:
        """Two of half the rows, or itself when it has one."""
        if self.rows == 1:
            return [self]
        middle = self.start + self.rows // 2
        return [Piece(self.of, self.start, middle), Piece(self.of, middle, self.stop)]

    def inputs(self) -> Arrays:
        """The rows' inputs by name."""
        if self.rows == self.of.rows:
            return self.of.inputs
        return {name: array[self.start : self.stop] for name, array in self.of.inputs.items()}

    def answer(self, outputs: Arrays) -> None:
        """These rows are done; the last ones answer the caller."""
        submission = self.of
        if self.rows == submission.rows:
            submission.outputs = outputs
        else:
            for name, part in outputs.items():
                if name not in submission.outputs:
                    shape = (submission.rows, *part.shape[1:])
                    submission.outputs[name] = np.empty(shape, part.dtype)
                submission.outputs[name][self.start : self.stop] = part
        submission.answered += self.rows
        if submission.answered == submission.rows and not submission.future.done():
            submission.future.set_result(submission.outputs)
