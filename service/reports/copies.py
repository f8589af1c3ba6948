"""Has the generator copied? Distances to the closest training row, beside those of the hold-out.

rows ──► nearest training row, how far ──► median, least, shares nearer than real rows are
bytes of a row ──► exact copies

These are checks for copies. That they find none is no guarantee of privacy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from service.domain.fidelity import nearest
from service.domain.ranking import share_interval
from service.reports.figures import Chart, Figure, Series
from service.reports.remembered import Recall, afresh

NEAR_PERCENTILE = 1.0
BINS = 30
BATCH_BYTES = 64 * 2**20  # of distances at a time

Points = Float[np.ndarray, "rows features"]


@dataclass(frozen=True)
class Side:
    """Rows of one kind, as points and as keys that are equal when the rows are."""

    points: Points
    keys: Sequence[bytes]


@dataclass(frozen=True)
class Closest:
    """For every row, its nearest training row and the distance."""

    rows: Int64[np.ndarray, " n"]
    distances: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class CopyChecks:
    """What was found."""

    figures: list[Figure]
    chart: Chart
    synthetic: Closest
    held_out: Closest


def closest(points: Points, training: Points) -> Closest:
    """The nearest training row of each point; equal points are exactly 0 apart."""
    batch = max(BATCH_BYTES // (4 * max(len(training), 1)), 1)
    rows, _ = nearest(points, training, batch=batch)
    # Again without the cancellation of ‖a‖² + ‖b‖² − 2a·b, so that copies have a distance of 0.
    exact = np.sqrt(np.square(points - training[rows]).sum(1, dtype=np.float64))
    return Closest(rows.astype(np.int64), exact)


def copy_checks(
    *, synthetic: Side, held_out: Side, training: Side, twins: Points, recall: Recall = afresh
) -> CopyChecks:
    """Every check, of the synthetic rows and of as many held-out ones.

    Args:
        synthetic: the rows in question.
        held_out: as many real rows that the generator has not seen.
        training: rows that it was trained on.
        twins: training rows whose own neighbours say how near real rows lie to each other.
        recall: what earlier reports have found of the real rows.
    """
    ours = closest(synthetic.points, training.points)
    theirs = Closest(
        **recall("copies.held_out", lambda: vars(closest(held_out.points, training.points)))
    )
    near = float(recall("copies.near", lambda: {"reach": np.asarray(_near_reach(twins))})["reach"])
    return CopyChecks(
        figures=[
            _distance("median", 50, ours, theirs),
            _distance("5th percentile", 5, ours, theirs),
            _exact(synthetic, held_out, training),
            _near(ours, theirs, near),
            _repeated(synthetic, held_out),
        ],
        chart=_chart(ours, theirs, near),
        synthetic=ours,
        held_out=theirs,
    )


def _distance(which: str, percentile: float, ours: Closest, theirs: Closest) -> Figure:
    value, real = (float(np.percentile(c.distances, percentile)) for c in (ours, theirs))
    return Figure(
        id=f"copies.distance_{percentile:g}",
        name=f"Distance to the closest training row, {which}",
        value=value,
        real=real,
        good="as the real one",
        meaning="Much less than the hold-out's: rows lie closer to training rows than new real "
        "rows do. Much more: rows are unlike real ones.",
    )


def _exact(synthetic: Side, held_out: Side, training: Side) -> Figure:
    known = set(training.keys)
    hits, real = (sum(key in known for key in side.keys) for side in (synthetic, held_out))
    return _shares(
        "copies.exact",
        "Exact copies of training rows",
        hits=(hits, len(synthetic.keys)),
        real=(real, len(held_out.keys)),
        meaning="The share of rows that equal a training row in every value.",
        notice=f"{hits:,} of {len(synthetic.keys):,} rows are exact copies of training rows; of as "
        f"many held-out real rows, {real:,} are.",
    )


def _near(ours: Closest, theirs: Closest, reach: float) -> Figure:
    hits, real = (int((c.distances < reach).sum()) for c in (ours, theirs))
    n = len(ours.distances)
    return _shares(
        "copies.near",
        "Near copies of training rows",
        hits=(hits, n),
        real=(real, len(theirs.distances)),
        meaning=f"The share of rows within {reach:.3g} of a training row: nearer than 99 % of "
        "training rows are to each other.",
        notice=f"{hits:,} of {n:,} rows are nearly copies of training rows; of as many held-out "
        f"real rows, {real:,} are.",
    )


def _repeated(synthetic: Side, held_out: Side) -> Figure:
    hits, real = (len(side.keys) - len(set(side.keys)) for side in (synthetic, held_out))
    return _shares(
        "copies.repeated",
        "Rows that repeat an earlier row",
        hits=(hits, len(synthetic.keys)),
        real=(real, len(held_out.keys)),
        meaning="The share of rows that equal an earlier row of the same set.",
        notice=f"{hits:,} of {len(synthetic.keys):,} rows repeat an earlier one; of as many "
        f"held-out real rows, {real:,} do.",
    )


def _shares(
    id_: str, name: str, *, hits: tuple[int, int], real: tuple[int, int], meaning: str, notice: str
) -> Figure:
    """A share that stands out where its interval lies above the hold-out's."""
    interval, real_interval = share_interval(*hits), share_interval(*real)
    return Figure(
        id=id_,
        name=name,
        value=hits[0] / hits[1],
        real=real[0] / real[1],
        interval=interval,
        real_interval=real_interval,
        good="as the real one",
        unit="%",
        meaning=meaning,
        notice=notice if interval[0] > real_interval[1] else None,
    )


def _near_reach(twins: Points) -> float:
    """The distance within which 1 % of training rows have another one."""
    squared = np.square(twins).sum(1)
    reach = np.empty(len(twins))
    for i in range(0, len(twins), 500):
        part = squared[i : i + 500, None] + squared[None, :] - 2.0 * (twins[i : i + 500] @ twins.T)
        part[np.arange(len(part)), i + np.arange(len(part))] = np.inf
        reach[i : i + 500] = np.sqrt(part.min(1).clip(min=0.0))
    return float(np.percentile(reach, NEAR_PERCENTILE))


def _chart(ours: Closest, theirs: Closest, reach: float) -> Chart:
    both = np.concatenate([ours.distances, theirs.distances])
    edges = np.linspace(0.0, float(both.max()) or 1.0, BINS + 1)
    series = [
        Series(name=name, values=(np.histogram(c.distances, edges)[0] / len(c.rows)).tolist())
        for name, c in (("synthetic", ours), ("hold-out", theirs))
    ]
    return Chart(
        id="copies.distances",
        title="Distance to the closest training row",
        kind="histogram",
        x=edges.tolist(),
        series=series,
        x_label="distance",
        y_label="share of rows",
        caption="Copies would stand at the left, where the hold-out has nothing. Nearly copies: "
        f"below {reach:.3g}.",
    )
