"""Are the rows of use? Classifiers trained on them and tested on real rows, with and without.

synthetic | as many real ──► classifier ──► right on real test rows, by class
real training rows + synthetic | + as many real ──► does it help?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from service.domain.ranking import mean_interval, share_interval
from service.reports.figures import Figure, Grid
from service.reports.learners import HOW, Kind, classes_of
from service.reports.remembered import Recall, afresh

Labels = NDArray[np.object_]
FEW_PER_CLASS = 5


@dataclass(frozen=True)
class Labelled:
    """Rows as features, with their classes."""

    x: Float[np.ndarray, "rows features"]
    y: Labels

    def joined(self, other: Labelled) -> Labelled:
        """These rows and others."""
        return Labelled(np.concatenate([self.x, other.x]), np.concatenate([self.y, other.y]))


@dataclass(frozen=True)
class Outcome:
    """Which test rows each way of training got right."""

    synthetic: Bool[np.ndarray, " test"]
    held_out: Bool[np.ndarray, " test"]
    real: Bool[np.ndarray, " test"]
    with_synthetic: Bool[np.ndarray, " test"]
    with_held_out: Bool[np.ndarray, " test"]
    classes: Labels


def outcome(
    *,
    synthetic: Labelled,
    held_out: Labelled,
    real: Labelled,
    test: Labelled,
    kind: Kind,
    recall: Recall = afresh,
) -> Outcome:
    """Train five times, and test on the same real rows.

    Args:
        synthetic: the rows in question.
        held_out: as many real rows.
        real: the real rows that somebody has already.
        test: real rows that none of the others are.
        kind: which classifier.
        recall: what earlier reports have found of the real rows.

    Raises:
        LearnersMissing: scikit-learn is not installed.
    """

    def right(rows: Labelled) -> Bool[np.ndarray, " test"]:
        told: NDArray[Any] = classes_of(rows.x, rows.y, test.x, kind=kind)
        hits: Bool[np.ndarray, " test"] = np.asarray(told == test.y, bool)
        return hits

    def known(name: str, rows: Labelled) -> Bool[np.ndarray, " test"]:
        return recall(f"utility.{name}", lambda: {"right": right(rows)})["right"]

    return Outcome(
        synthetic=right(synthetic),
        held_out=known("held_out", held_out),
        real=known("real", real),
        with_synthetic=right(real.joined(synthetic)),
        with_held_out=known("with_held_out", real.joined(held_out)),
        classes=test.y,
    )


def utility_figures(
    found: Outcome, *, kind: Kind, added: int, classes: Sequence[str]
) -> list[Figure]:
    """Train on synthetic, test on real; and what the rows add to real ones."""
    n = len(found.classes)
    ours, theirs = found.synthetic, found.held_out
    helped = found.with_synthetic.astype(float) - found.real.astype(float)
    real_helped = found.with_held_out.astype(float) - found.real.astype(float)
    interval, real_interval = mean_interval(helped), mean_interval(real_helped)
    return [
        Figure(
            id="utility.tstr",
            name="Trained on synthetic, tested on real: accuracy",
            value=float(ours.mean()),
            interval=share_interval(int(ours.sum()), n),
            real=float(theirs.mean()),
            real_interval=share_interval(int(theirs.sum()), n),
            good="higher",
            unit="%",
            meaning=f"The share of {n:,} real test rows that a classifier gets right which has "
            f"seen these rows alone: {HOW[kind]}. Beside it, one trained on as many real rows.",
            notice=_weak(found, classes),
        ),
        Figure(
            id="utility.gain",
            name="What adding the rows to real training rows gains",
            value=float(helped.mean()),
            interval=interval,
            real=float(real_helped.mean()),
            real_interval=real_interval,
            good="above 0",
            unit="%",
            meaning=f"Accuracy on real test rows with {added:,} rows added to the real training "
            f"rows, less that of the real ones alone ({found.real.mean():.1%}). Beside it, the "
            "same with as many real rows added.",
            notice=None
            if interval[1] >= 0
            else "Adding these rows to real training rows makes a classifier worse.",
        ),
    ]


def by_class(found: Outcome, *, classes: Sequence[str]) -> Grid:
    """The share of each class's test rows that each way of training gets right."""
    columns = (
        "class", "test rows", "synthetic", "as many real", "real alone", "real + synthetic",
        "real + as many real",
    )  # fmt: skip
    ways = (
        found.synthetic, found.held_out, found.real, found.with_synthetic, found.with_held_out
    )  # fmt: skip
    rows: list[list[str | float | int | None]] = []
    for name in classes:
        mine = found.classes == name
        count = int(mine.sum())
        shares = [float(way[mine].mean()) if count else None for way in ways]
        rows.append([name, count, *shares])
    return Grid(
        id="utility.by_class",
        title="Right by class, of real test rows",
        columns=columns,
        rows=rows,
        percent=True,
        caption="Does it help? Compare “real + synthetic” with “real alone”. A class that the "
        "synthetic rows lack or confuse stands low in the column “synthetic”.",
    )


def _weak(found: Outcome, classes: Sequence[str]) -> str | None:
    """A word on classes that synthetic rows teach far worse than real ones do."""
    weak = []
    for name in classes:
        mine = found.classes == name
        n = int(mine.sum())
        if n < FEW_PER_CLASS:
            continue
        above = share_interval(int(found.synthetic[mine].sum()), n)[1]
        if above < 0.75 * found.held_out[mine].mean():
            weak.append(name)
    if not weak:
        return None
    return (
        f"A classifier trained on these rows is weak on class {', '.join(weak)}, where one trained "
        "on as many real rows is not."
    )
