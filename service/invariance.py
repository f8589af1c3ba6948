"""At which batch sizes does a row's answer not depend on its batch? Measured when a model loads.

function ──run at 1, 2, 4 … rows──► the sizes whose rows are the same bytes ──► padding

Sums of real numbers depend on their order, and a runtime may order them by batch size. Integer
functions are exact by construction; the others are run here on random rows, in several sizes and
positions. Batches are then padded only to sizes that agree with one another, so that row i of a
seeded answer is the same bytes alone and in company, on this device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from service.contract import FunctionSpec, Role, TensorSpec
from service.domain.arrays import NUMPY_DTYPES, Arrays

MapFunction = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class Padding:
    """The batch sizes that a function is run at.

    `sizes` is empty when any will do; `holds` says whether rows are the same bytes at all of them.
    """

    sizes: tuple[int, ...]
    holds: bool

    @property
    def largest(self) -> int | None:
        """The most rows of one call, when that is bounded."""
        return self.sizes[-1] if self.sizes else None

    def size_for(self, rows: int) -> int:
        """The size that `rows` rows are padded to."""
        return next((size for size in self.sizes if size >= rows), rows)


def measure_padding(function: MapFunction, spec: FunctionSpec, *, max_rows: int) -> Padding:
    """Run `function` on random rows at each power of two up to `max_rows`, and compare bytes."""
    if spec.exact:
        return Padding(sizes=(), holds=True)
    sizes = tuple(2**k for k in range(max_rows.bit_length()) if 2**k <= max_rows)
    largest = sizes[-1]
    rows = random_rows(spec, largest)
    reference = function(rows)
    backwards = function({name: a[::-1].copy() for name, a in rows.items()})
    if not _same(reference, {name: a[::-1] for name, a in backwards.items()}):
        return Padding(sizes=sizes, holds=False)
    agreeing = tuple(size for size in sizes if _agrees(function, rows, reference, size))
    return Padding(sizes=agreeing, holds=True)


def random_rows(spec: FunctionSpec, rows: int) -> Arrays:
    """Plausible inputs by role, the same ones every time."""
    draw = np.random.Generator(np.random.Philox(key=rows))
    return {t.name: _random(t, rows, draw) for t in spec.inputs}


def _random(t: TensorSpec, rows: int, draw: np.random.Generator) -> np.ndarray:
    shape, dtype = (rows, *t.row_shape), NUMPY_DTYPES[t.dtype]
    if t.role is Role.BETA:
        return np.ones(shape, dtype)
    if t.dtype == "uint16":
        return draw.integers(0, 65536, shape).astype(dtype)
    if t.role is Role.LABEL:
        return np.zeros(shape, dtype)
    if t.dtype != "float32" or t.role is Role.MASK:
        return draw.integers(0, 2, shape).astype(dtype)
    if t.role is Role.DATA:
        return draw.random(shape).astype(dtype)
    return np.abs(draw.standard_normal(shape)).astype(dtype)


def _agrees(function: MapFunction, rows: Arrays, reference: Arrays, size: int) -> bool:
    """Whether the first and the last `size` rows alone get the bytes they get among all."""
    largest = len(next(iter(rows.values())))
    for start in (0, largest - size):
        part = function({name: a[start : start + size] for name, a in rows.items()})
        if not _same(part, {name: a[start : start + size] for name, a in reference.items()}):
            return False
    return True


def _same(a: Arrays, b: Arrays) -> bool:
    return all(
        np.ascontiguousarray(a[n]).tobytes() == np.ascontiguousarray(b[n]).tobytes() for n in a
    )
