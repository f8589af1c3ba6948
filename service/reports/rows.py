"""Rows as reports compare them, and the fixed rules by which rows are taken and split.

Images: 8-bit pixels, with labels where they are known     Table: typed columns
rows ──taken(seed)──► a few thousand        real rows ──Real.split(seed)──► training, hold-out, test
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Float, Int64, UInt8
from numpy.typing import NDArray

from service.errors import InvalidInput
from service.reports.remembered import Recall, afresh

ROWS = 2000  # of each kind, where nothing else is asked
TEST_SHARE = 0.5  # of a hold-out, for the test rows that lie beside it
SHARES = (0.4, 0.4, 0.2)  # training, hold-out, test: of real rows that are all of one kind
MIN_ROWS = 50  # fewer on a side say nothing

Labels = NDArray[np.object_]


@dataclass(frozen=True)
class Images:
    """Images with their labels, if there are any.

    Attributes:
        pixels: uint8 [n, C, H, W].
        labels: the class of each as text, or None.
    """

    pixels: UInt8[np.ndarray, "n C H W"]
    labels: Labels | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W] of one image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    @property
    def flat(self) -> Float[np.ndarray, "n pixels"]:
        """Pixels in [0, 1], float32, a row an image."""
        return self.pixels.reshape(len(self), -1).astype(np.float32) / np.float32(255)

    def take(self, rows: Int64[np.ndarray, " m"] | slice) -> Images:
        """These rows."""
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, pixels=self.pixels[rows], labels=labels)


@dataclass(frozen=True)
class Column:
    """One column: float64 numbers with NaN, or text with None, where a value is missing."""

    values: NDArray[Any]

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers."""
        return self.values.dtype.kind == "f"


@dataclass(frozen=True)
class Table:
    """Rows with named columns, all of one length."""

    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())).values) if self.columns else 0

    def take(self, rows: Int64[np.ndarray, " m"] | slice) -> Table:
        """These rows."""
        return Table({name: Column(c.values[rows]) for name, c in self.columns.items()})

    def without(self, names: Sequence[str]) -> Table:
        """The other columns."""
        return Table({name: c for name, c in self.columns.items() if name not in names})


Rows = Images | Table
R = TypeVar("R", Images, Table)


@dataclass(frozen=True, kw_only=True)
class Real(Generic[R]):
    """Real rows in three parts that share none.

    Attributes:
        train: rows that the generator may have learnt from.
        held_out: rows that it has not seen, to stand in the place of synthetic ones.
        test: further rows that it has not seen, to test classifiers on.
        copied_from: all training rows that copies are looked for in; `train` is among them.
        population: how many rows the generator was trained on; None if that is not known.
        seen: whether `train` is known to have been seen, and the others not.
        source: what they are, in words.
        recall: gives what earlier reports have found of these rows.
    """

    train: R
    held_out: R
    test: R
    copied_from: R
    population: int | None
    seen: bool
    source: str
    recall: Recall = afresh


def chosen(n: int, limit: int, *, seed: int) -> Int64[np.ndarray, " chosen"]:
    """Which of n rows are taken: all, or `limit` of them by a permutation with this seed, rising.

    Not every k-th row: labels may come in a cycle.
    """
    if n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(n)[:limit]).astype(np.int64)


def split(real: R, *, limit: int, seed: int, source: str) -> Real[R]:
    """Training, hold-out and test rows of one data set, 2 : 2 : 1, by a permutation of this seed.

    Raises:
        InvalidInput: there are too few rows.
    """
    order = np.random.default_rng(seed).permutation(len(real))
    parts, begin = [], 0
    for share, most in zip(SHARES, (limit, limit, int(limit * TEST_SHARE)), strict=True):
        size = min(int(len(real) * share), most)
        parts.append(real.take(np.sort(order[begin : begin + size])))
        begin += size
    train, held_out, test = parts
    _check(train, held_out, test)
    return Real(
        train=train,
        held_out=held_out,
        test=test,
        copied_from=train,
        population=None,
        seen=False,
        source=source,
    )


def split_beside(
    train: R, other: R, *, limit: int, seed: int, source: str, population: int | None = None
) -> Real[R]:
    """The same parts of rows that were trained on, and of others that were not.

    Raises:
        InvalidInput: there are too few rows.
    """
    order = np.random.default_rng(seed).permutation(len(other))
    held = min(limit, int(len(other) / (1 + TEST_SHARE)))
    test = min(int(limit * TEST_SHARE), len(other) - held)
    parts = (
        train.take(chosen(len(train), limit, seed=seed)),
        other.take(np.sort(order[:held])),
        other.take(np.sort(order[held : held + test])),
    )
    _check(*parts)
    return Real(
        train=parts[0],
        held_out=parts[1],
        test=parts[2],
        copied_from=train,
        population=len(train) if population is None else population,
        seen=True,
        source=source,
    )


def _check(*parts: Rows) -> None:
    least = min(len(part) for part in parts)
    if least < MIN_ROWS:
        raise InvalidInput(
            f"the real data leaves {least} rows in a part, below {MIN_ROWS}: give more real rows"
        )
