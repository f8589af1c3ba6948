"""Noise of chains that are swept together: each row's own stream, drawn some sweeps ahead.

place(seed, row) ──► 16-bit integers [ahead, rows, width] ──sweep by sweep──► noise inputs [rows, …]

A call of a row's generator, and a lookup of logistics, cost by themselves as much as a few hundred
numbers. So a row draws sixteen sweeps at a time, whatever the others do, and logistics are looked
up for as many sweeps at once as make some thousand of them, which for large batches is one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt16

from service.contract import FunctionSpec
from service.domain.arrays import Arrays
from service.domain.feeding import NoiseCut
from service.domain.randomness import RowNoise, Stream

AHEAD = 16  # sweeps drawn in one call of a row's generator
MOST_BYTES = 64 * 2**20  # of integers drawn ahead
LOOKED_UP = 8192  # logistics looked up in one call: few enough to stay in the processor's cache


class ChainNoise:
    """The noise of the rows at places 0 to `capacity` - 1."""

    def __init__(self, spec: FunctionSpec, *, capacity: int) -> None:
        """For the noise inputs of a step function; it may have none."""
        self._cut = NoiseCut(spec)
        bytes_a_sweep = max(2 * capacity * self._cut.width, 1)
        self._ahead = min(max(MOST_BYTES // bytes_a_sweep, 1), AHEAD)
        self._integers = np.empty((self._ahead, capacity, self._cut.width), np.uint16)
        self._handed = 0  # sweeps that the rows at `_places` have been handed since `_next` was set
        self._places = slice(0, 0)
        self._next = np.zeros(capacity, np.int64)  # which sweep ahead a row is handed next
        self._drawn = np.zeros(capacity, np.int64)  # how many of those ahead it has drawn
        self._left = np.zeros(capacity, np.int64)  # sweeps that it has yet to draw
        self._keys = [(0, 0)] * capacity
        self._streams: list[RowNoise | None] = [None] * capacity

    def place(self, at: int, *, seed: int, row: int, sweeps: int) -> None:
        """A row that will go `sweeps` sweeps begins at this place."""
        self._settle()
        self._keys[at], self._streams[at] = (seed, row), None
        self._next[at], self._drawn[at], self._left[at] = 0, 0, sweeps

    def move(self, source: int, to: int) -> None:
        """A row goes on at another place."""
        self._settle()
        self._keys[to], self._streams[to] = self._keys[source], self._streams[source]
        for counts in (self._next, self._drawn, self._left):
            counts[to] = counts[source]
        ahead = slice(self._next[source], self._drawn[source])
        self._integers[ahead, to] = self._integers[ahead, source]

    def sweeps(self, rows: range) -> Iterator[Arrays]:
        """The noise inputs of one sweep after another, while these rows stay where they are.

        A sweep counts as done once its noise is handed out.
        """
        while not self._cut.width:
            yield {}
        self._settle()
        self._places = slice(rows.start, rows.stop)
        together = max(LOOKED_UP // (len(rows) * self._cut.width), 1)
        while True:
            self._settle()
            self._draw(rows)
            for integers in self._drawn_ahead(together):
                noise = self._cut(integers)
                for k in range(len(integers)):
                    self._handed += 1
                    yield {name: array[k] for name, array in noise.items()}

    def _drawn_ahead(self, together: int) -> Iterator[UInt16[np.ndarray, "sweeps rows width"]]:
        """What all these rows have drawn, so many sweeps at a time."""
        places, start = self._places, self._next[self._places]
        count = int((self._drawn[places] - start).min())
        alike = bool((start == start[0]).all())
        for k in range(0, count, together):
            until = min(k + together, count)
            if alike:
                yield self._integers[start[0] + k : start[0] + until, places]
            else:
                sweeps = start + np.arange(k, until)[:, None]
                yield self._integers[sweeps, np.arange(places.start, places.stop)]

    def _settle(self) -> None:
        """Note what was handed out."""
        self._next[self._places] += self._handed
        self._handed = 0

    def _draw(self, rows: range) -> None:
        """Every row that has nothing ahead draws."""
        out = np.flatnonzero(self._next[self._places] == self._drawn[self._places])
        steps = np.minimum(self._ahead, self._left[self._places][out])
        assert steps.all(), "a row is handed no more sweeps than it goes"
        for at, count in zip((rows.start + out).tolist(), steps.tolist(), strict=True):
            self._integers[:count, at] = self._stream(at).take(count)
        self._next[self._places][out] = 0
        self._drawn[self._places][out] = steps
        self._left[self._places][out] -= steps

    def _stream(self, at: int) -> RowNoise:
        found = self._streams[at]
        if found is None:
            seed, row = self._keys[at]
            found = RowNoise(seed=seed, row=row, stream=Stream.SWEEP, width=self._cut.width)
            self._streams[at] = found
        return found
