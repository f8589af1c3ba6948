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
from service.domain.feeding import cut_noise
from service.domain.randomness import RowNoise, Stream

AHEAD = 16  # sweeps drawn in one call of a row's generator
MOST_BYTES = 64 * 2**20  # of integers drawn ahead
LOOKED_UP = 8192  # logistics looked up in one call: few enough to stay in the processor's cache


class ChainNoise:
    """The noise of the rows at places 0 to `capacity` - 1."""

    def __init__(self, spec: FunctionSpec, *, capacity: int) -> None:
        """For the noise inputs of a step function; it may have none."""
        self._spec = spec
        self._width = sum(t.row_size for t in spec.noises)
        bytes_a_sweep = max(2 * capacity * self._width, 1)
        self._ahead = min(max(MOST_BYTES // bytes_a_sweep, 1), AHEAD)
        self._integers = np.empty((self._ahead, capacity, self._width), np.uint16)
        self._next = np.zeros(capacity, np.int64)  # which sweep ahead a row is handed next
        self._drawn = np.zeros(capacity, np.int64)  # how many of those ahead it has drawn
        self._left = np.zeros(capacity, np.int64)  # sweeps that it has yet to draw
        self._keys = [(0, 0)] * capacity
        self._streams: list[RowNoise | None] = [None] * capacity

    def place(self, at: int, *, seed: int, row: int, sweeps: int) -> None:
        """A row that will go `sweeps` sweeps begins at this place."""
        self._keys[at], self._streams[at] = (seed, row), None
        self._next[at], self._drawn[at], self._left[at] = 0, 0, sweeps

    def move(self, source: int, to: int) -> None:
        """A row goes on at another place."""
        self._keys[to], self._streams[to] = self._keys[source], self._streams[source]
        for counts in (self._next, self._drawn, self._left):
            counts[to] = counts[source]
        ahead = slice(self._next[source], self._drawn[source])
        self._integers[ahead, to] = self._integers[ahead, source]

    def sweeps(self, rows: range) -> Iterator[Arrays]:
        """The noise inputs of one sweep after another, while these rows stay where they are.

        A sweep counts as done once its noise is handed out.
        """
        while not self._width:
            yield {}
        places = slice(rows.start, rows.stop)
        most = max(LOOKED_UP // (len(rows) * self._width), 1)
        while True:
            self._draw(rows)
            noise = cut_noise(self._spec, self._taken(places, most))
            for k in range(len(next(iter(noise.values())))):
                self._next[places] += 1
                yield {name: array[k] for name, array in noise.items()}

    def _taken(self, places: slice, most: int) -> UInt16[np.ndarray, "sweeps rows width"]:
        """What these rows are handed in the next `most` sweeps, or in as many as all have drawn."""
        start = self._next[places]
        count = min(most, int((self._drawn[places] - start).min()))
        if (start == start[0]).all():
            return self._integers[start[0] : start[0] + count, places]
        sweeps = start + np.arange(count)[:, None]
        taken: UInt16[np.ndarray, "sweeps rows width"] = self._integers[
            sweeps, np.arange(places.start, places.stop)
        ]
        return taken

    def _draw(self, rows: range) -> None:
        """Every row that has nothing ahead draws."""
        places = slice(rows.start, rows.stop)
        out = np.flatnonzero(self._next[places] == self._drawn[places])
        for at in (rows.start + out).tolist():
            steps = min(self._ahead, int(self._left[at]))
            assert steps, "a row is handed no more sweeps than it goes"
            self._integers[:steps, at] = self._stream(at).take(steps)
            self._next[at], self._drawn[at] = 0, steps
            self._left[at] -= steps

    def _stream(self, at: int) -> RowNoise:
        found = self._streams[at]
        if found is None:
            seed, row = self._keys[at]
            found = RowNoise(seed=seed, row=row, stream=Stream.SWEEP, width=self._width)
            self._streams[at] = found
        return found
